"""Values over a number, in one or more panels: cells of tables, and points that no table prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from replicate.errors import Fault
from replicate.figures.spec import AxisSpec, FigureSpec, Names, Place, register
from replicate.specs.cell import CellRef, resolve_source
from replicate.specs.check import check_source
from replicate.specs.load import Specs
from replicate.specs.recipe import Strict
from replicate.specs.table import CellSource, ColumnSpec, MetricName, RowSpec, TableHead, TableSpec, Written

if TYPE_CHECKING:
    from replicate.figures.model import Panel, XYPanel
    from replicate.figures.source import Source

OWN_COLUMN = "value"


class PointSpec(CellSource):
    """A value at ``x``: a ``cell`` of a table, or read by itself, with the paper's value beside it."""

    x: float = 0.0
    cell: Place | None = None
    paper: float | None = None
    source: str = ""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        own = [name for name in ("run", "head", "metric", "on", "field", "paper") if getattr(self, name) is not None]
        if self.cell is not None and own:
            raise ValueError(f"'cell' already says what is read; '{own[0]}' cannot stand beside it")
        if self.cell is None and self.run is None and self.paper is None:
            raise ValueError("reads nothing: 'cell', 'run' or 'paper' is needed")
        return self

    def row(self, key: str) -> RowSpec:
        """A point that is no cell, as the row of a table."""
        paper: dict[str, Written] = {} if self.paper is None else {OWN_COLUMN: self.paper}
        read = self.model_dump(include=set(CellSource.model_fields))
        return RowSpec(key=key, label="", paper=paper, source=self.source or None, **read)


class LineSeries(Strict):
    label: str = ""
    """Empty where the panel's title says it: then the legend leaves it out."""
    points: tuple[PointSpec, ...] = Field(min_length=1)


class LevelSpec(PointSpec):
    """A horizontal line."""

    label: str


class LinePanel(Strict):
    title: str = ""
    x: AxisSpec
    y: AxisSpec
    series: tuple[LineSeries, ...] = Field(min_length=1)
    levels: tuple[LevelSpec, ...] = ()


class Lines(Strict):
    metric: MetricName = "top1"
    """Of the points that are no cells."""
    panels: tuple[LinePanel, ...] = Field(min_length=1, max_length=3)


@register
class LinesFigure(FigureSpec):
    kind: ClassVar[str] = "lines"
    lines: Lines

    def _points(self) -> list[tuple[str, PointSpec]]:
        """All points and levels, with their places in the file."""
        points: list[tuple[str, PointSpec]] = []
        for index, panel in enumerate(self.lines.panels):
            at = f"lines.panels[{index}]"
            for number, series in enumerate(panel.series):
                points += [(f"{at}.series[{number}].points[{i}]", point) for i, point in enumerate(series.points)]
            points += [(f"{at}.levels[{number}]", level) for number, level in enumerate(panel.levels)]
        return points

    def _own(self) -> list[PointSpec]:
        """The points that are no cells; two that read the same are one."""
        return list(dict.fromkeys(point for _, point in self._points() if point.cell is None))

    def _place(self, point: PointSpec) -> CellRef:
        """The cell of ``point``: of a table that is printed, or of `own_table`."""
        return point.cell or CellRef(self._head().id, f"p{self._own().index(point)}", OWN_COLUMN)

    def own_table(self) -> TableSpec | None:
        rows = tuple(point.row(f"p{index}") for index, point in enumerate(self._own()))
        return TableSpec(table=self._head(), rows=rows) if rows else None

    def _head(self) -> TableHead:
        return TableHead(
            id=f"figure_{self.figure.id}",
            source=self.figure.source,
            caption=self.figure.caption,
            metric=self.lines.metric,
            tolerance={"default": 0.3},
            tolerance_reason="a rerun moves about 0.2 points (deit#32, said of DeiT-Ti)",
            columns=(ColumnSpec(key=OWN_COLUMN, header=""),),
        )

    def cells(self, specs: Specs) -> list[CellRef]:
        axes = [axis for panel in self.lines.panels for axis in (panel.x, panel.y)]
        bases = [axis.relative_to for axis in axes if axis.relative_to]
        return [self._place(point) for _, point in self._points()] + bases

    def faults(self, names: Names) -> Iterator[Fault]:
        head = self._head()
        for where, point in self._points():
            yield from names.cell(f"{where}.cell", point.cell)
            read = resolve_source(head, point.row("p"), head.columns[0]) if point.cell is None else None
            if read is not None:
                yield from check_source(where, "point", read, names.runs, names.scale)
        for index, panel in enumerate(self.lines.panels):
            for name, axis in (("x", panel.x), ("y", panel.y)):
                yield from names.cell(f"lines.panels[{index}].{name}.relative_to", axis.relative_to)

    def panels(self, source: Source) -> tuple[Panel, ...]:
        from replicate.figures.model import by_side

        return by_side([self._panel(source, panel) for panel in self.lines.panels], source.comparable)

    def _panel(self, source: Source, spec: LinePanel) -> XYPanel:
        from replicate.figures.model import SIDES, Level, Series, XYPanel

        base = spec.y.relative_to
        drawn: list[Series] = []
        for side in SIDES:
            for family, series in enumerate(spec.series):
                points = [source.point(side, point.x, self._place(point), relative_to=base) for point in series.points]
                drawn.append(Series(series.label, side, family, tuple(point for point in points if point is not None)))
        levels = []
        for level in spec.levels:
            for side in SIDES:
                value = source.value(self._place(level), side, base)
                if value is not None:
                    levels.append(Level(level.label, side, value.value))
        return XYPanel(spec.title, spec.x.axis, spec.y.axis, tuple(drawn), tuple(levels), dodged=True)
