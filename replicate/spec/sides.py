"""The two sides of a claim, spelt out as pairs of cells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite

from replicate.spec.table import ClaimSpec, TableSpec

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class CellRef:
    """A cell of the table; with ``row == '@'`` a reference, with ``row == '='`` the plain number ``column``."""

    row: str
    column: str

    def __str__(self) -> str:
        if self.row == "=":
            return self.column
        return f"@{self.column}" if self.row == "@" else f"{self.row}.{self.column}"


class UnknownSide(ValueError):
    """A side names something the table does not have: ``args`` are what it is, its name and the known names."""

    def __init__(self, what: str, name: str, known: list[str]) -> None:
        super().__init__(what, name, known)
        self.what, self.name, self.known = what, name, known


def relation(claim: ClaimSpec) -> tuple[str, str]:
    """``("above" | "not-below" | "about" | "times", right side)``."""
    sides = {"above": claim.above, "not-below": claim.not_below, "about": claim.about, "times": claim.times}
    given = [(name, side) for name, side in sides.items() if side is not None]
    if len(given) != 1:
        raise ValueError("a claim has exactly one of: above, not_below, about, times")
    return given[0]


def pairs(table: TableSpec, claim: ClaimSpec) -> list[tuple[CellRef, CellRef]]:
    """Every comparison of ``claim``. Raises UnknownSide (a name that is not there) or ValueError."""
    right = relation(claim)[1]
    sides = (claim.left, right)
    spread = any(
        side.startswith("*.") or not (is_number(side) or "." in side or side.startswith("@")) for side in sides
    )
    if spread and not claim.where:
        raise ValueError("'where' must list the columns (or, with '*.column', the rows) to compare")
    if not spread:
        return [(_ref(table, claim.left, ""), _ref(table, right, ""))]
    return [(_ref(table, claim.left, place), _ref(table, right, place)) for place in claim.where]


def _ref(table: TableSpec, side: str, place: str) -> CellRef:
    rows = [row.key for row in table.rows]
    columns = [column.key for column in table.table.columns if not column.text]
    if is_number(side):
        return CellRef("=", side)
    if side.startswith("@"):
        return CellRef("@", _known("reference", side[1:], [reference.key for reference in table.references]))
    row, dot, column = side.partition(".")
    if row == "*":
        row = place
    if not dot:
        column = place
    return CellRef(_known("row", row, rows), _known("column", column, columns))


def _known(what: str, name: str, known: list[str]) -> str:
    if name not in known:
        raise UnknownSide(what, name, known)
    return name


def is_number(side: str) -> bool:
    """Whether a side of a claim is a number and not a name; ``inf`` and ``nan`` are names."""
    return bool(_NUMBER.fullmatch(side)) and isfinite(float(side))
