"""The address of a cell of a table, and what each cell reads."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import NamedTuple

from replicate import metrics
from replicate.metrics.metric import Head
from replicate.specs.run import RunsFile, RunSpec
from replicate.specs.table import (
    CellSource,
    ClaimSpec,
    ColumnSpec,
    MetricName,
    ReferenceSpec,
    Relation,
    RowSpec,
    TableHead,
    TableSpec,
)
from replicate.text import Printed

REFERENCE = "@"
"""Stands in the place of the row for a reference: a number that claims need and no row prints."""


class CellRef(NamedTuple):
    """The address of a number: ``table/row/column``, of a reference ``table/@/key``."""

    table: str
    row: str
    column: str

    def __str__(self) -> str:
        return "/".join(self)

    @classmethod
    def parse(cls, text: str) -> CellRef:
        """Raises ValueError for what is no address."""
        parts = text.split("/")
        if len(parts) != 3 or not all(parts):
            raise ValueError("should be 'table/row/column', or 'table/@/reference'")
        return cls(*parts)

    @property
    def is_reference(self) -> bool:
        return self.row == REFERENCE

    @property
    def within(self) -> str:
        """The address within its table: ``row/column``."""
        return f"{self.row}/{self.column}"


Side = CellRef | Printed
"""A side of a comparison: a cell, or a plain number."""


class UnknownSide(ValueError):
    """A side names something the table does not have: ``args`` are what it is, its name and the known names."""

    def __init__(self, what: str, name: str, known: list[str]) -> None:
        super().__init__(what, name, known)
        self.what, self.name, self.known = what, name, known


def relation(claim: ClaimSpec) -> tuple[Relation, str]:
    """What the claim says, and its right side."""
    sides: dict[Relation, str | None] = {
        "above": claim.above,
        "not-below": claim.not_below,
        "about": claim.about,
        "times": claim.times,
    }
    given = [(name, side) for name, side in sides.items() if side is not None]
    if len(given) != 1:
        raise ValueError("a claim has exactly one of: above, not_below, about, times")
    return given[0]


def pairs(table: TableSpec, claim: ClaimSpec, absent: Collection[CellRef] = ()) -> list[tuple[Side, Side]]:
    """Every comparison of ``claim``; ``absent`` are cells of a network that has no such number, for `neighbours`.

    Raises UnknownSide (a name that is not there) or ValueError.
    """
    right = relation(claim)[1]
    sides = (claim.left, right)
    spread = any(
        side.startswith("*.") or not (is_number(side) or "." in side or side.startswith("@")) for side in sides
    )
    if spread and not claim.where:
        raise ValueError("'where' must list the columns (or, with '*.column', the rows) to compare")
    if claim.neighbours and (len(claim.where) < 2 or not spread):
        raise ValueError("'neighbours' compares each place of 'where' with the one before: it must list two or more")
    if not spread:
        return [(_side(table, claim.left, ""), _side(table, right, ""))]
    both = [(_side(table, claim.left, place), _side(table, right, place)) for place in claim.where]
    if not claim.neighbours:
        return both
    there = [(left, before) for left, before in both if left not in absent and before not in absent]
    return [(left, before) for (_, before), (left, _) in pairwise(there)]


def _side(table: TableSpec, side: str, place: str) -> Side:
    if is_number(side):
        return Printed(side)
    rows = [row.key for row in table.rows]
    columns = [column.key for column in table.table.columns if not column.text]
    if side.startswith("@"):
        references = [reference.key for reference in table.references]
        return CellRef(table.table.id, REFERENCE, _known("reference", side[1:], references))
    row, dot, column = side.partition(".")
    if row == "*":
        row = place
    if not dot:
        column = place
    return CellRef(table.table.id, _known("row", row, rows), _known("column", column, columns))


def _known(what: str, name: str, known: list[str]) -> str:
    if name not in known:
        raise UnknownSide(what, name, known)
    return name


def is_number(side: str) -> bool:
    """Whether a side of a claim is a number and not a name; ``inf`` and ``nan`` are names."""
    return Printed(side).number is not None


TOKEN_HEADS: tuple[Head, ...] = ("class", "distillation", "softmax-sum", "logit-mean")


class ResolvedSource(NamedTuple):
    """Everything that says what one number is. ``against`` is the other network of a disagreement."""

    metric: MetricName
    run: str | None
    head: Head
    on: str | None = None
    field: str | None = None
    against: tuple[str, Head] | None = None


def resolve_source(
    table: TableHead, row: RowSpec | ReferenceSpec, column: ColumnSpec | None = None
) -> ResolvedSource | None:
    """None where neither names what is to be read: the cell is a dash, or printed in the paper only."""
    # No loop over the three: this is asked for each of 100,000 cells.
    under: CellSource = table if column is None else column
    metric = row.metric or under.metric or table.metric
    if metric is None:
        return None
    field = row.field or under.field or table.field
    on = row.on or under.on or table.on
    facts = metrics.find(metric)
    if facts.second == "network":
        if column is None or row.run is None or column.run is None:
            return None
        return ResolvedSource(metric, row.run, row.head or "class", on, field, (column.run, column.head or "class"))
    if row.not_run and facts.trained:
        return None
    run = row.runs.get(column.key) if column is not None and isinstance(row, RowSpec) and row.runs else None
    run = run or _run(row.run, None if column is None else column.run) or table.run
    if run is None and not facts.of_data:
        return None
    return ResolvedSource(metric, run, row.head or under.head or table.head or "class", on, field)


def _run(row: str | None, column: str | None) -> str | None:
    if row is None:
        return None if column is None or "{row}" in column else column
    if column is not None and "{row}" in column:
        return column.replace("{row}", row)
    if "{column}" not in row:
        return row
    return None if column is None else row.replace("{column}", column)


def heads_of(run: RunSpec, runs: RunsFile) -> tuple[Head, ...]:
    """The heads that a network can be read at."""
    how = runs.distillation.get(run.distillation) if run.distillation else None
    return TOKEN_HEADS if how is not None and how.token else ("class",)
