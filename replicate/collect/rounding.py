"""Exact values to printed digits: half up, once, from integers.

``f"{79.85:.1f}"`` is 79.8, because 79.85 is no binary number and ties go to even; 1597 of 2000 images is 79.9.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction


def half_up(value: Fraction, decimals: int) -> str:
    """``value`` with ``decimals`` digits after the point; halves go away from zero, and zero has no sign."""
    scale = 10**decimals
    digits = (abs(value.numerator) * scale * 2 + value.denominator) // (2 * value.denominator)
    whole, rest = divmod(digits, scale)
    sign = "-" if value < 0 and digits else ""
    return f"{sign}{whole}.{rest:0{decimals}d}" if decimals else f"{sign}{whole}"


def signed(value: Fraction, decimals: int) -> str:
    """With its sign: ``+0.3``, ``−0.3`` (a minus, not a hyphen), ``0.0``."""
    text = half_up(value, decimals)
    if text.startswith("-"):
        return f"−{text[1:]}"
    return f"+{text}" if any(digit in "123456789" for digit in text) else text


def exact(value: float) -> Fraction:
    """The decimal number that was written down, not its binary neighbour."""
    return Fraction(Decimal(repr(value)))
