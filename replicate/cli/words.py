"""Counts and values as a reader expects them: no bare Python, no ``1 jobs``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
