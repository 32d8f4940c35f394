"""Digits: half up, from exact values, once."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate.text import exact, half_up, signed

decimals_of = st.decimals(-1000, 1000, places=4, allow_nan=False)


@given(decimals_of, st.integers(0, 3))
def test_half_up_is_what_decimal_does(value: Decimal, places: int) -> None:
    expected = value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
    shown = half_up(Fraction(value), places)
    assert Decimal(shown) == expected
    assert shown.partition(".")[2] == str(expected).partition(".")[2]


@given(st.integers(0, 2000))
def test_a_count_of_2000_images(correct: int) -> None:
    """Of 2000 images every other count is a tie at one decimal: 1597 correct are 79.85 %, printed 79.9."""
    shown = half_up(Fraction(100 * correct, 2000), 1)
    assert shown == f"{(correct + 1) // 2 // 10}.{(correct + 1) // 2 % 10}"


@pytest.mark.parametrize(
    ("value", "shown", "with_sign"),
    [
        (Fraction(7985, 100), "79.9", "+79.9"),
        (Fraction(-5, 100), "-0.1", "−0.1"),
        (Fraction(-4, 100), "0.0", "0.0"),
        (Fraction(4, 100), "0.0", "0.0"),
        (Fraction(0), "0.0", "0.0"),
        (Fraction(1, 3), "0.3", "+0.3"),
        (Fraction(100), "100.0", "+100.0"),
    ],
)
def test_by_hand(value: Fraction, shown: str, with_sign: str) -> None:
    assert half_up(value, 1) == shown
    assert signed(value, 1) == with_sign


def test_a_number_as_it_was_written() -> None:
    assert exact(79.85) == Fraction(7985, 100)
    assert half_up(exact(79.85), 1) == "79.9"
    assert f"{79.85:.1f}" == "79.8"
    assert exact(83.1) - exact(83.0) == Fraction(1, 10)
