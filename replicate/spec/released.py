"""Published weights of a run: which file, where from, and the digits that tell it from any other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

FOLDER = "weights"
"""In ``$REPLICATE_DATA``: where a file is looked for before it is downloaded."""

_FILE = re.compile(
    r"(?:https://[A-Za-z0-9._-]+(?::\d+)?/(?:[A-Za-z0-9._~-]+/)*)?"
    r"(?P<file>[A-Za-z0-9][A-Za-z0-9._-]*-(?P<sha256>[0-9a-f]{8,64})\.(?:pth|safetensors))"
)


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """``file`` is its name on disk, ``sha256`` the first digits of its checksum, ``url`` empty where there is none."""

    file: str
    sha256: str
    url: str

    @classmethod
    def of(cls, text: str) -> PublishedFile:
        """Errors: ValueError for what no `Weights` can be."""
        found = _FILE.fullmatch(text)
        if found is None:
            raise ValueError(
                "the name of a file or its https address, ending as torch.hub's do in - and the first 8 or more hex "
                "digits of its SHA-256, then .pth or .safetensors"
            )
        return cls(found["file"], found["sha256"], text if "/" in text else "")


def _checked(text: str) -> str:
    PublishedFile.of(text)
    return text


Weights = Annotated[str, AfterValidator(_checked)]
"""What `PublishedFile.of` reads, as an entry of ``[released]`` writes it."""
