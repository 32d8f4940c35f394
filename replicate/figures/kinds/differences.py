"""Every row of a table against the row ``base``: margins with their paired 95 % intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from replicate.errors import Fault
from replicate.figures.spec import FigureSpec, Names, register
from replicate.specs.cell import CellRef
from replicate.specs.load import Specs
from replicate.specs.recipe import Positive, Strict
from replicate.specs.table import TableSpec

if TYPE_CHECKING:
    from replicate.figures.model import MarginPanel, Panel
    from replicate.figures.source import Source


class Differences(Strict):
    table: str
    base: str
    columns: tuple[str, ...] = Field(min_length=1, max_length=2)
    rows: tuple[str, ...] = ()
    """Empty: all rows but the base."""
    label: str
    limit: Positive
    """Margins beyond this are drawn at the edge, with their value: one diverged run must not flatten the rest."""


@register
class DifferencesFigure(FigureSpec):
    kind: ClassVar[str] = "differences"
    differences: Differences

    def _rows(self, table: TableSpec) -> list[str]:
        """The keys of the rows that are drawn, in the order of the table."""
        block = self.differences
        return [row.key for row in table.rows if row.key in block.rows or not (block.rows or row.key == block.base)]

    def cells(self, specs: Specs) -> list[CellRef]:
        block = self.differences
        rows = (block.base, *self._rows(specs.table(block.table)))
        return [CellRef(block.table, row, column) for row in rows for column in block.columns]

    def faults(self, names: Names) -> Iterator[Fault]:
        block = self.differences
        yield from names.table("differences.table", block.table)
        for row in (block.base, *block.rows):
            yield from names.row("differences", block.table, row)
        for column in block.columns:
            yield from names.column("differences.columns", block.table, column)

    def panels(self, source: Source) -> tuple[Panel, ...]:
        """A panel for each column; its bars are margins as claims are judged by, with their paired errors."""
        return tuple(self._panel(source, column) for column in self.differences.columns)

    def _panel(self, source: Source, column: str) -> MarginPanel:
        from replicate.figures.model import MarginPanel

        block = self.differences
        table = source.specs.table(block.table)
        keys = self._rows(table)
        rows = [row for row in table.rows if row.key in keys]
        margins = [source.margins(block.table, row.key, block.base, column, at) for at, row in enumerate(rows)]
        bars = tuple(bar for both in margins for bar in both)
        groups = [(at, row.group) for at, row in enumerate(rows) if row.group]
        firsts = tuple((at, group) for at, group in groups if at == 0 or rows[at - 1].group != group)
        header = next(spec.header for spec in table.table.columns if spec.key == column)
        labels = tuple(row.label for row in rows)
        return MarginPanel(header, block.label, labels, bars, block.limit, firsts)
