"""What a job says while it runs, and how it hears that it should stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

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
