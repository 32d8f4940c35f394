"""Text for people: printed numbers, plurals, settings, durations and sizes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isfinite
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


def duration(seconds: float) -> str:
    """A rough time: ``8 s``, ``2 min``, ``31 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.0f} h"


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


_LINE_END = re.compile("[ \t]*[\n\r\t\u2028\u2029][\n\r\t\u2028\u2029 ]*")
_CLEANED = {
    "\u2010": "-",
    "\N{NON-BREAKING HYPHEN}": "-",
    "\N{FIGURE SPACE}": "\N{NO-BREAK SPACE}",
    "\N{NARROW NO-BREAK SPACE}": "\N{NO-BREAK SPACE}",
    "\N{THIN SPACE}": "\N{THIN SPACE}",
    "\N{NO-BREAK SPACE}": "\N{NO-BREAK SPACE}",
    "\N{COMBINING GRAPHEME JOINER}": "",
    **{chr(ligature): unicodedata.normalize("NFKC", chr(ligature)) for ligature in range(0xFB00, 0xFB07)},
    **{chr(selector): "" for selector in range(0xFE00, 0xFE10)},
}


def cleaned(text: str) -> str:
    """``text`` without what nobody sees, as it comes along with a copy from a PDF, a web page or a Mac.

    Zero-width spaces and joiners, soft hyphens, byte-order marks and marks of direction are dropped, accents composed
    (NFC), ligatures taken apart. Spaces are plain, thin or non-breaking ones; the end of a line is a space.
    """
    if text.isascii() and text.isprintable():
        return text
    lines = _LINE_END.sub(" ", text)
    text = lines if lines == text else lines.strip(" ")
    return unicodedata.normalize("NFC", "".join(map(_cleaned, text)))


def _cleaned(character: str) -> str:
    if character.isascii():
        return character
    kind = unicodedata.category(character)
    return _CLEANED.get(character, "" if kind == "Cf" else " " if kind == "Zs" else character)


def named(character: str) -> str:
    """A character as a message shows it: ``'中' (U+4E2D CJK UNIFIED IDEOGRAPH-4E2D)``."""
    code = f"U+{ord(character):04X} {unicodedata.name(character, 'without a name')}"
    if unicodedata.category(character) == "Cc":
        return f"U+{ord(character):04X}, a control character"
    return f"'{character}' ({code})" if character.isprintable() else code


FOOTNOTE_MARKS = "*†‡§¶"
"""What a paper sets behind a number to explain it elsewhere."""
_DIGITS = r"(?:\d+\.?\d*|\.\d+)"
_NUMBER = re.compile(
    rf"([+−-]?{_DIGITS}(?:[eE][+-]?\d+)?)([kM]?)(?: ?± ?{_DIGITS})?(?: ?[{FOOTNOTE_MARKS}]+)?", re.ASCII
)
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6}


@dataclass(frozen=True, slots=True)
class Printed:
    """What is printed in a cell: a number, or a text where the digits are not all there is.

    A unit (``86M``) scales the number; a spread (``79.9 ± 0.1``) and footnote marks (``4.3*``) are printed and change
    nothing.

    ``decimals``: the digits after the point that a number is printed with.
    """

    written: float | str
    decimals: int = 0

    @property
    def text(self) -> str:
        return self.written if isinstance(self.written, str) else half_up(exact(self.written), self.decimals)

    @property
    def number(self) -> float | None:
        """86e6 for ``86M``, 4.3 for ``4.3*``, 79.9 for ``79.9 ± 0.1†``; None for ``9/0.5``, ``nan`` and other words."""
        if not isinstance(self.written, str):
            return self.written
        match = _NUMBER.fullmatch(self.written)
        number = float(match[1].replace("−", "-")) * _UNITS[match[2]] if match else None
        return number if number is not None and isfinite(number) else None

    def __str__(self) -> str:
        return self.text


def leading_number(text: str, default: int) -> int:
    """The whole number that ``text`` begins with, as in ``1001 (limit)``; ``default`` where there is none."""
    match = re.match(r"\d+", text)
    return int(match[0]) if match else default
