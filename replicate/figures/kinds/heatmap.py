"""A table as a field of colours, its numbers printed in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, assert_never

from replicate.errors import Fault
from replicate.figures.spec import FigureSpec, Names, all_cells, register
from replicate.specs.cell import CellRef
from replicate.specs.load import Specs
from replicate.specs.recipe import Strict
from replicate.specs.table import ColumnSpec, TableSpec

if TYPE_CHECKING:
    from replicate.figures.model import HeatmapPanel, Panel, Side
    from replicate.figures.source import Source

NOTHING = "–"


class Heatmap(Strict):
    table: str
    label: str
    names: tuple[str, ...] = ()
    """Of the columns, where their headers are too long or need their group to be understood."""


@register
class HeatmapFigure(FigureSpec):
    kind: ClassVar[str] = "heatmap"
    heatmap: Heatmap

    def cells(self, specs: Specs) -> list[CellRef]:
        return all_cells(specs.table(self.heatmap.table))

    def faults(self, names: Names) -> Iterator[Fault]:
        block = self.heatmap
        yield from names.table("heatmap.table", block.table)
        if block.names and block.table in names.tables:
            columns = _columns(names.tables[block.table])
            if len(block.names) != len(columns):
                count = f"{len(block.names)} for {len(columns)} columns"
                yield Fault("heatmap.names", f"not one name a column: {count}")

    def panels(self, source: Source) -> tuple[Panel, ...]:
        """Ours and the paper's in a panel each."""
        here = "here" if source.comparable else "here: miniature"
        return (self._panel(source, "here", here), self._panel(source, "paper", "the paper, as printed"))

    def _panel(self, source: Source, side: Side, title: str) -> HeatmapPanel:
        from replicate.figures.model import HeatmapPanel
        from replicate.judge.table import MARKS

        table = source.specs.table(self.heatmap.table)
        columns = _columns(table)
        values: list[tuple[float | None, ...]] = []
        shown: list[tuple[str, ...]] = []
        for row in table.rows:
            cells = [source.cell(CellRef(table.table.id, row.key, column.key)) for column in columns]
            match side:
                case "here":
                    values.append(tuple(None if cell.value is None else float(cell.value) for cell in cells))
                    shown.append(tuple(cell.shown or MARKS.get(cell.state, NOTHING) for cell in cells))
                case "paper":
                    values.append(tuple(cell.paper.number if cell.paper else None for cell in cells))
                    shown.append(tuple(cell.paper_shown or NOTHING for cell in cells))
                case _:
                    assert_never(side)
        rows = tuple(row.label for row in table.rows)
        headers = self.heatmap.names or tuple(column.header for column in columns)
        return HeatmapPanel(title, self.heatmap.label, rows, headers, tuple(values), tuple(shown))


def _columns(table: TableSpec) -> list[ColumnSpec]:
    return [column for column in table.table.columns if not column.text]
