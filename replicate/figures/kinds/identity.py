"""Every number of every table: the paper's against ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from replicate.errors import Fault
from replicate.figures.spec import FigureSpec, Names, all_cells, register
from replicate.plan.cells import CellPlan
from replicate.specs.cell import CellRef
from replicate.specs.load import Specs
from replicate.specs.recipe import Strict
from replicate.specs.table import MetricName, TableHead

if TYPE_CHECKING:
    from replicate.figures.model import Panel, Point, XYPanel
    from replicate.figures.source import Source


class IdentityPanel(Strict):
    """All cells of these metrics, of all tables."""

    label: str
    metrics: tuple[MetricName, ...] = Field(min_length=1)
    log: bool = False
    relative_to_rows: dict[str, str] = {}
    """By table, the row that its numbers are divided by (images/s)."""

    def base(self, cell: CellPlan) -> CellRef | None:
        """The cell that the number of ``cell`` is divided by, itself for a number that is not drawn."""
        if not self.relative_to_rows:
            return None
        row = self.relative_to_rows.get(cell.table)
        return cell.ref if row is None or cell.ref.is_reference else CellRef(cell.table, row, cell.column)


class Identity(Strict):
    panels: tuple[IdentityPanel, ...] = Field(min_length=1, max_length=6)


@register
class IdentityFigure(FigureSpec):
    kind: ClassVar[str] = "identity"
    identity: Identity

    def cells(self, specs: Specs) -> list[CellRef]:
        return [place for table in specs.tables.values() for place in all_cells(table)]

    def faults(self, names: Names) -> Iterator[Fault]:
        for index, panel in enumerate(self.identity.panels):
            where = f"identity.panels[{index}].relative_to_rows"
            for table, row in panel.relative_to_rows.items():
                yield from names.table(where, table)
                yield from names.row(f"{where}.{table}", table, row)

    def panels(self, source: Source) -> tuple[Panel, ...]:
        """A panel for each unit; one family of points a table, so that a table that is off can be seen.

        There is no band where nothing may be compared: the values are of another experiment, and none is judged.
        """
        return tuple(_panel(source, panel) for panel in self.identity.panels)


def _panel(source: Source, spec: IdentityPanel) -> XYPanel:
    from replicate.figures.model import Axis, Series, XYPanel

    points: dict[str, list[Point]] = {}
    tolerances: Counter[float] = Counter()
    for place, cell in source.plan.cells.items():
        base = spec.base(cell)
        if cell.read is None or cell.read.metric not in spec.metrics or base == place:
            continue
        point = source.point("here", source.value(place, "paper", base), place, relative_to=base)
        if point is None or (spec.log and min(point.x, point.y) <= 0):
            continue
        points.setdefault(cell.table, []).append(replace(point, low=None, high=None))
        tolerance = source.specs.table(cell.table).table.tolerance
        tolerances[tolerance.get(cell.column, tolerance["default"])] += 1
    heads = [source.specs.table(table_id).table for table_id in source.plan.tables.cells]
    order = sorted(heads, key=lambda head: (head.number or 99, head.id))
    series = tuple(
        Series(_heading(head), "here", family, tuple(points[head.id]), joined=False)
        for family, head in enumerate(order)
        if head.id in points
    )
    # Of a band with several widths the commonest is drawn: the verdict of each cell uses its own.
    banded = tolerances and source.comparable and not spec.log
    band = tolerances.most_common(1)[0][0] if banded else None
    floor = None if spec.log else _floor([point for drawn in series for point in drawn.points])
    axes = Axis("the paper", spec.log), Axis("here", spec.log)
    return XYPanel(spec.label, *axes, series, identity=True, band=band, floor=floor)


def _floor(points: list[Point]) -> float | None:
    """Where the axes may start so that at most one point in twenty stands at the edge; None if that gains little.

    Two collapsed trainings at 4 % would squeeze two hundred numbers between 60 and 100 into a corner.
    """
    if not points:
        return None
    lows = sorted(min(point.x, point.y) for point in points)
    top = max(max(point.x, point.y) for point in points)
    floor = 5.0 * (lows[len(lows) // 20] // 5.0)
    return floor if top - floor < 0.6 * (top - lows[0]) and floor > lows[0] else None


def _heading(table: TableHead) -> str:
    return f"Table {table.number}" if table.number is not None else table.id.replace("_", " ")
