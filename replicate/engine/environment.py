"""What the environment says of the machine: settings that are no part of a result."""

from __future__ import annotations

import os

from replicate.errors import UserError


def whole_number(variable: str, of: str) -> int | None:
    """The number ``of`` something that ``variable`` gives; None where it is unset or empty.

    Raises UserError, which names the variable, for anything but a number from 1 on.
    """
    text = os.environ.get(variable, "")
    if not text:
        return None
    if not (text.isdecimal() and int(text) > 0):
        raise UserError(f"{variable}: a number of {of} from 1 on, got '{text}'\n  correct it, or unset it")
    return int(text)
