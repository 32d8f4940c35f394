"""Two columns of one table against each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from replicate.errors import Fault
from replicate.figures.spec import AxisSpec, FigureSpec, Names, register
from replicate.specs.cell import CellRef
from replicate.specs.load import Specs
from replicate.specs.recipe import Strict

if TYPE_CHECKING:
    from replicate.figures.model import Panel, Point, Side
    from replicate.figures.source import Source


class ScatterAxis(AxisSpec):
    """``column``: what is read along this axis, for each row of a series."""

    column: str


class ScatterSeries(Strict):
    """A family of networks: one point a row. ``names`` are printed beside the points (empty: no name)."""

    label: str
    rows: tuple[str, ...] = Field(min_length=1)
    names: tuple[str, ...] = ()
    y: str | None = None
    """Another column than the figure's for this series."""
    joined: bool = True


class Scatter(Strict):
    table: str
    x: ScatterAxis
    y: ScatterAxis
    series: tuple[ScatterSeries, ...] = Field(min_length=1)


@register
class ScatterFigure(FigureSpec):
    kind: ClassVar[str] = "scatter"
    scatter: Scatter

    def _places(self, series: ScatterSeries) -> list[tuple[CellRef, CellRef]]:
        """The cells of x and of y, row by row."""
        block = self.scatter
        x, y = block.x.column, series.y or block.y.column
        return [(CellRef(block.table, row, x), CellRef(block.table, row, y)) for row in series.rows]

    def cells(self, specs: Specs) -> list[CellRef]:
        axes = (self.scatter.x, self.scatter.y)
        bases = [axis.relative_to for axis in axes if axis.relative_to]
        return bases + [place for family in self.scatter.series for both in self._places(family) for place in both]

    def faults(self, names: Names) -> Iterator[Fault]:
        block = self.scatter
        yield from names.table("scatter.table", block.table)
        for where, axis in (("scatter.x", block.x), ("scatter.y", block.y)):
            yield from names.cell(f"{where}.relative_to", axis.relative_to)
            yield from names.column(f"{where}.column", block.table, axis.column)
        for index, series in enumerate(block.series):
            where = f"scatter.series[{index}]"
            for row in series.rows:
                yield from names.row(f"{where}.rows", block.table, row)
            if series.y is not None:
                yield from names.column(f"{where}.y", block.table, series.y)
            if series.names and len(series.names) != len(series.rows):
                yield Fault(f"{where}.names", f"not one name a row: {len(series.names)} for {len(series.rows)} rows")

    def panels(self, source: Source) -> tuple[Panel, ...]:
        """One panel; a point needs both of its values from the same side."""
        from replicate.figures.model import SIDES, Series, XYPanel, by_side

        series = tuple(
            Series(spec.label, side, family, self._points(source, spec, side), spec.joined)
            for side in SIDES
            for family, spec in enumerate(self.scatter.series)
        )
        panel = XYPanel("", self.scatter.x.axis, self.scatter.y.axis, series)
        return by_side([panel], source.comparable)

    def _points(self, source: Source, series: ScatterSeries, side: Side) -> tuple[Point, ...]:
        # Where both sides share a panel, the paper's points carry the names: the shapes say which of ours is which.
        named = series.names and not (source.comparable and side == "here")
        names = series.names if named else ("",) * len(series.rows)
        points = []
        for (across, up), name in zip(self._places(series), names, strict=True):
            x = source.value(across, side, self.scatter.x.relative_to)
            point = source.point(side, x, up, name=name, relative_to=self.scatter.y.relative_to, also=(across,))
            if point is not None:
                points.append(point)
        return tuple(sorted(points, key=lambda point: (point.x, point.y)))
