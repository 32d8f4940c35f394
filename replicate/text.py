"""Words for people: plurals, numbers, settings, durations and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plural(number: int, noun: str, plural: str = "") -> str:
    """``1 job``, ``2 jobs``, ``1,234 jobs``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


STATES = ("done", "running", "pending", "failed", "paper-only")
"""Of cells, in the order they are always counted in."""


def number(value: float, digits: int = 4) -> str:
    """So many significant digits, and never fewer than stand before the point: ``12,346``, ``0.7015``."""
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def said(value: Any) -> str:
    """A setting or a fact, exact enough to be told from another."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], (), {}):
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return f"({pairs(value)})"
    if isinstance(value, list | tuple):
        return ("–" if len(value) == 2 else " / ").join(map(said, value))
    return str(value)


def pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {said(value)}" for name, value in values.items())


def seconds(value: float) -> str:
    """``0.6 s``, ``24 s``, ``2 min 5 s``, ``3 h 20 min``, with a space that keeps number and unit on one line."""
    if value < 9.95:
        return _with(f"{value:.1f}", "s")
    whole = round(value)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (0 if hours else rest, "s"))
    return " ".join(_with(f"{number:,}", unit) for number, unit in parts if number)


def megabytes(value: float) -> str:
    return _with(f"{value / 1000:.1f}", "GB") if value >= 1000 else _with(f"{value:.0f}", "MB")


def size(count: int) -> str:
    """Bytes: ``612 B``, ``1.4 kB``, ``22 MB``."""
    amount, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5 or unit == "GB":
            break
        amount /= 1000
    return _with(f"{amount:.0f}" if unit == "B" or amount >= 9.95 else f"{amount:.1f}", unit)


def value(given: Any) -> str:
    """A value of a spec or a summary: ``0.0005``, ``on``, ``0.75 to 1.33``, ``none`` for nothing."""
    if given is None or given == "":
        return "none"
    if isinstance(given, bool):
        return "on" if given else "off"
    if isinstance(given, int):
        return f"{given:,}"
    if isinstance(given, float):
        return f"{given:.6g}"
    if isinstance(given, list | tuple):
        return ", ".join(value(item) for item in given)
    if isinstance(given, dict):
        return ", ".join(f"{name} {value(item)}" for name, item in given.items())
    return str(given)


def _with(number: str, unit: str) -> str:
    return f"{number}\N{NO-BREAK SPACE}{unit}"
