"""Figures with two axes: points of a table, values over a number, all numbers against the paper's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

from replicate.figures.model import Axis, Level, Panel, Point, Series, Side, XYPanel, by_side
from replicate.figures.source import Source
from replicate.figures.spec import AxisSpec, Identity, IdentityPanel, LinePanel, Lines, Scatter, ScatterSeries
from replicate.specs.cell import CellRef

SIDES: tuple[Side, ...] = get_args(Side)


def axis(spec: AxisSpec) -> Axis:
    return Axis(spec.label, spec.log, tuple((tick, f"{tick:g}") for tick in spec.ticks))


def scatter(source: Source, spec: Scatter, comparable: bool) -> tuple[Panel, ...]:
    """One panel; a point needs both of its values from the same side."""
    # Where both sides share a panel, the paper's points carry the names: the shapes say which of ours is which.
    silent = ("here",) if comparable else ()
    series = tuple(
        Series(one.label, side, family, _points(source, spec, one, side, side not in silent), one.joined)
        for side in SIDES
        for family, one in enumerate(spec.series)
    )
    return by_side([XYPanel("", axis(spec.x), axis(spec.y), series)], comparable)


def _points(source: Source, spec: Scatter, series: ScatterSeries, side: Side, named: bool) -> tuple[Point, ...]:
    found = []
    names = series.names if named and series.names else tuple("" for _ in series.rows)
    for row, name in zip(series.rows, names, strict=True):
        across = CellRef(spec.table, row, spec.x.column)
        place = CellRef(spec.table, row, series.y or spec.y.column)
        x = source.value(across, side, spec.x.relative_to)
        point = source.point(side, x, place, name=name, relative_to=spec.y.relative_to, also=(across,))
        if point is not None:
            found.append(point)
    return tuple(sorted(found, key=lambda point: (point.x, point.y)))


def lines(source: Source, spec: Lines, comparable: bool) -> tuple[Panel, ...]:
    places = iter(source.plan.spec.places())
    return by_side([_line_panel(source, panel, places) for panel in spec.panels], comparable)


def _line_panel(source: Source, spec: LinePanel, places: Iterator[CellRef]) -> XYPanel:
    found: list[Series] = []
    for family, one in enumerate(spec.series):
        at = [(point.x, next(places)) for point in one.points]
        for side in SIDES:
            points = [source.point(side, x, place, relative_to=spec.y.relative_to) for x, place in at]
            drawn = tuple(point for point in points if point is not None)
            found.append(Series(one.label, side, family, drawn))
    levels = []
    for level in spec.levels:
        place = next(places)
        for side in SIDES:
            value = source.value(place, side, spec.y.relative_to)
            if value is not None:
                levels.append(Level(level.label, side, value.value))
    found.sort(key=lambda series: SIDES.index(series.side))
    return XYPanel(spec.title, axis(spec.x), axis(spec.y), tuple(found), tuple(levels), dodged=True)


def identity(source: Source, spec: Identity, comparable: bool) -> tuple[Panel, ...]:
    """A panel for each unit; one family of points a table, so that a table that is off can be seen.

    There is no band where nothing may be compared: the values are of another experiment, and none is judged.
    """
    return tuple(_identity_panel(source, panel, comparable) for panel in spec.panels)


def _identity_panel(source: Source, spec: IdentityPanel, comparable: bool) -> XYPanel:
    tables: dict[str, list[Point]] = {}
    tolerances: Counter[float] = Counter()
    for place, planned in source.plan.cells.items():
        if planned.read is None or planned.read.metric not in spec.metrics:
            continue
        base = None
        if spec.relative_to_rows:
            row = spec.relative_to_rows.get(planned.table)
            if row is None or planned.ref.is_reference or planned.row == row:
                continue
            base = CellRef(planned.table, row, planned.column)
        printed = source.value(place, "paper", base)
        point = source.point("here", printed, place, relative_to=base)
        if point is None or (spec.log and min(point.x, point.y) <= 0):
            continue
        tables.setdefault(planned.table, []).append(replace(point, low=None, high=None))
        head = source.plan.tables.specs.table(planned.table).table
        tolerances[head.tolerance.get(planned.column, head.tolerance["default"])] += 1
    order = sorted(source.plan.tables.cells, key=lambda table: (source.table(table).number or 99, table))
    series = tuple(
        Series(_heading(source, table), "here", order.index(table), tuple(points), joined=False)
        for table, points in sorted(tables.items(), key=lambda one: order.index(one[0]))
    )
    # Of a band with several widths the commonest is drawn: the verdict of each cell uses its own.
    band = tolerances.most_common(1)[0][0] if tolerances and not spec.log else None
    if not comparable:
        band = None
    both = [point for one in series for point in one.points]
    floor = None if spec.log else _floor([min(point.x, point.y) for point in both], [point.x for point in both])
    axes = Axis("the paper", spec.log), Axis("here", spec.log)
    return XYPanel(spec.label, *axes, series, identity=True, band=band, floor=floor)


def _floor(lows: list[float], highs: list[float]) -> float | None:
    """Where the axes may start so that at most one point in twenty stands at the edge; None if that gains little.

    Two collapsed trainings at 4 % would squeeze two hundred numbers between 60 and 100 into a corner.
    """
    if not lows:
        return None
    lowest, top = min(lows), max(*highs, *lows)
    kept = sorted(lows)[len(lows) // 20]
    floor = 5.0 * (kept // 5.0)
    return floor if top - floor < 0.6 * (top - lowest) and floor > lowest else None


def _heading(source: Source, table_id: str) -> str:
    number = source.table(table_id).number
    return f"Table {number}" if number is not None else table_id.replace("_", " ")
