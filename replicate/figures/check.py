"""Faults of a figure that its file alone does not show: tables, rows, columns and runs that are not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from replicate.errors import Fault, unknown_name
from replicate.figures.spec import AxisSpec, FigureSpec
from replicate.specs.cell import TOKEN_HEADS, CellRef, heads_of, resolve_source
from replicate.specs.check import check_source
from replicate.specs.run import RunsFile
from replicate.specs.scale import Scale
from replicate.specs.table import TableSpec

Tables = Mapping[str, TableSpec]


def check_figure(file: str, spec: FigureSpec, tables: Tables, runs: RunsFile, scale: Scale | None) -> list[Fault]:
    """All faults of ``spec``, each with its place in ``file``."""
    return [*_places(file, spec, tables), *_whole_tables(file, spec, tables), *_runs(file, spec, runs, scale)]


def _cell(where: str, ref: CellRef, tables: Tables) -> Iterator[Fault]:
    if ref.table not in tables:
        yield from unknown_name(where, "table", ref.table, tables)
    elif ref.is_reference:
        yield from unknown_name(where, "reference", ref.column, [one.key for one in tables[ref.table].references])
    else:
        yield from _row(where, ref.row, tables[ref.table])
        yield from _column(where, ref.column, tables[ref.table])


def _row(where: str, row: str, table: TableSpec) -> Iterator[Fault]:
    yield from unknown_name(where, "row", row, [one.key for one in table.rows])


def _column(where: str, column: str, table: TableSpec) -> Iterator[Fault]:
    words = [one.key for one in table.table.columns if one.text]
    if column in words:
        yield Fault(where, f"column '{column}' holds words")
    else:
        yield from unknown_name(where, "column", column, [one.key for one in table.table.columns if not one.text])


def _places(file: str, spec: FigureSpec, tables: Tables) -> Iterator[Fault]:
    """Cells that are named one by one."""
    for where, point in spec.points():
        if point.cell is not None:
            yield from _cell(f"{file}: {where}.cell", point.cell, tables)
    axes: list[tuple[str, AxisSpec]] = []
    if spec.lines:
        for index, panel in enumerate(spec.lines.panels):
            axes += [(f"lines.panels[{index}].x", panel.x), (f"lines.panels[{index}].y", panel.y)]
    if spec.scatter:
        axes += [("scatter.x", spec.scatter.x), ("scatter.y", spec.scatter.y)]
    for where, axis in axes:
        if axis.relative_to is not None:
            yield from _cell(f"{file}: {where}.relative_to", axis.relative_to, tables)
    for index, series in enumerate(spec.profile.series if spec.profile else ()):
        for field in ("paper_input", "paper_last"):
            place = getattr(series, field)
            if place is not None:
                yield from _cell(f"{file}: profile.series[{index}].{field}", place, tables)


def _whole_tables(file: str, spec: FigureSpec, tables: Tables) -> Iterator[Fault]:
    """Rows and columns of the one table that a kind reads."""
    block = spec.scatter or spec.heatmap or spec.differences
    if block is not None:
        yield from unknown_name(f"{file}: {spec.kind}.table", "table", block.table, tables)
        if block.table not in tables:
            return
    if spec.scatter:
        table = tables[spec.scatter.table]
        yield from _column(f"{file}: scatter.x.column", spec.scatter.x.column, table)
        yield from _column(f"{file}: scatter.y.column", spec.scatter.y.column, table)
        for index, series in enumerate(spec.scatter.series):
            where = f"{file}: scatter.series[{index}]"
            for row in series.rows:
                yield from _row(f"{where}.rows", row, table)
            if series.y is not None:
                yield from _column(f"{where}.y", series.y, table)
            if series.names and len(series.names) != len(series.rows):
                yield Fault(f"{where}.names", f"one name a row, got {len(series.names)} for {len(series.rows)} rows")
    if spec.heatmap and spec.heatmap.names:
        numbers = [column for column in tables[spec.heatmap.table].table.columns if not column.text]
        if len(spec.heatmap.names) != len(numbers):
            got = f"got {len(spec.heatmap.names)} for {len(numbers)} columns"
            yield Fault(f"{file}: heatmap.names", f"one name a column, {got}")
    if spec.differences:
        table = tables[spec.differences.table]
        for row in (spec.differences.base, *spec.differences.rows):
            yield from _row(f"{file}: differences", row, table)
        for column in spec.differences.columns:
            yield from _column(f"{file}: differences.columns", column, table)
    for index, panel in enumerate(spec.identity.panels if spec.identity else ()):
        for name, row in panel.relative_to_rows.items():
            where = f"{file}: identity.panels[{index}].relative_to_rows"
            yield from unknown_name(where, "table", name, tables)
            if name in tables:
                yield from _row(f"{where}.{name}", row, tables[name])


def _runs(file: str, spec: FigureSpec, runs: RunsFile, scale: Scale | None) -> Iterator[Fault]:
    """Runs that the figure reads by itself."""
    own = spec.own_table()
    places = [where for where, point in spec.points() if point.cell is None]
    for where, row in zip(places, own.rows if own else (), strict=True):
        read = resolve_source(own.table, row, own.table.columns[0]) if own else None
        if read is not None:
            yield from check_source(f"{file}: {where}", "point", read, runs, scale)
    for index, series in enumerate(spec.profile.series if spec.profile else ()):
        where = f"{file}: profile.series[{index}].run"
        yield from unknown_name(where, "run", series.run, runs.runs)
        if series.run in runs.runs and heads_of(runs.runs[series.run], runs) != TOKEN_HEADS:
            yield Fault(where, f"the network of run '{series.run}' has one token only, so nothing to compare")
    if spec.curves:
        for name in spec.curves.runs:
            yield from _curve(f"{file}: curves.runs", name, runs)
        if spec.curves.reference is not None:
            yield from _curve(f"{file}: curves.reference", spec.curves.reference, runs)


def _curve(where: str, name: str, runs: RunsFile) -> Iterator[Fault]:
    yield from unknown_name(where, "run", name, runs.runs)
    if name in runs.runs and not runs.runs[name].trainable:
        yield Fault(where, f"the network of run '{name}' is never trained")
