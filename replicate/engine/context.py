"""The surroundings of a running job: its reports, the request to stop, settings of the machine."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

from replicate.errors import UserError

Report = Callable[[dict[str, Any]], None]
Stop = Callable[[], bool]

EVERY = 0.25
"""Seconds between two reports: steps take milliseconds, and a reader needs about 5 a second at most."""


class Progress:
    """Passes a report on when the last one is at least `EVERY` old, or when told to."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._reported = -math.inf

    def __call__(self, fields: dict[str, Any], always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._reported >= EVERY:
            self._report(fields)
            self._reported = now


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
