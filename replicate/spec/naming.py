"""Names that become part of a folder: those of models, data sets, distillations and runs."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MADE_OF = "letters, digits, '.', '_' and '-', a letter or digit first"


def _word(name: str) -> str:
    if not _WORD.fullmatch(name):
        raise ValueError(f"a name that can be part of a folder's: {_MADE_OF}")
    return name


def _words(name: str) -> str:
    if not all(_WORD.fullmatch(part) for part in name.split("/")):
        raise ValueError(f"a name, or several with '/' between: {_MADE_OF}")
    return name


Word = Annotated[str, AfterValidator(_word)]
"""Of a model, a data set or a distillation: the keys of jobs are made of them, and a key is a folder's name."""

RunName = Annotated[str, AfterValidator(_words)]
"""``deit-b-224/token``: words with slashes between. No folder has it, but addresses of pages do."""
