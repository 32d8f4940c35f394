"""Counts as a reader expects them."""

from __future__ import annotations


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 job``, ``2 jobs``, ``1,234 jobs``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
