"""Figures to the cells they read, in the same graph of jobs as the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from replicate.figures.load import figures_of
from replicate.figures.spec import FigureSpec
from replicate.plan.cells import CellPlan, Plan, plan_tables
from replicate.plan.graph import Graph
from replicate.specs.cell import REFERENCE, CellRef
from replicate.specs.load import Specs


@dataclass(frozen=True, slots=True)
class FigurePlan:
    """``cells`` are those the figure reads, in its order.

    ``tables`` plans the tables that they are cells of; ``direct`` are jobs that a figure reads without a cell: the
    curve of a training, the layers of a probe.
    """

    spec: FigureSpec
    tables: Plan
    cells: dict[CellRef, CellPlan]
    direct: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Of all jobs that are read, each once."""
        found = [key for cell in self.cells.values() for key in cell.keys]
        return tuple(dict.fromkeys([*found, *self.direct]))

    @property
    def graph(self) -> Graph:
        """What the figure needs and nothing else of its tables."""
        return self.tables.graph.needed_for(self.keys)


def plan_figure(specs: Specs, figure_id: str, seeds: Sequence[int], curves: Sequence[str] = ()) -> FigurePlan:
    """Plan one figure. ``curves``: the runs that a figure of curves shows, in place of those in its spec."""
    figures = figures_of(specs)
    spec = figures.spec(figure_id)
    if spec.curves is not None and curves:
        spec = spec.model_copy(update={"curves": spec.curves.model_copy(update={"runs": tuple(curves)})})
    own = spec.own_table()
    if own is not None:
        # Points that no table prints are planned and finished exactly as cells are.
        files = {**specs.files, own.table.id: figures.files[figure_id]}
        specs = replace(specs, tables={**specs.tables, own.table.id: own}, files=files)
    places = _places(spec, specs)
    tables = dict.fromkeys(place.table for place in [*places, *_looked_up(spec)])
    plan = plan_tables(specs, list(tables), seeds)
    planned = {cell.ref: cell for cells in plan.cells.values() for cell in cells}
    return FigurePlan(spec, plan, {place: planned[place] for place in places}, _direct(spec, plan))


def with_figures(plan: Plan) -> Graph:
    """The graph of ``plan`` and what the figures need beside it: Figure 3 has networks that no table prints."""
    graph = Graph(dict(plan.graph.jobs))
    for figure_id in figures_of(plan.specs).specs:
        for job in plan_figure(plan.specs, figure_id, plan.seeds).graph:
            graph.add(job)
    return graph


def _places(spec: FigureSpec, specs: Specs) -> list[CellRef]:
    """The places of all cells a figure reads, each once."""
    found = list(spec.places())
    if spec.lines:
        axes = [axis for panel in spec.lines.panels for axis in (panel.x, panel.y)]
        found += [axis.relative_to for axis in axes if axis.relative_to]
    if spec.scatter:
        scatter = spec.scatter
        found += [axis.relative_to for axis in (scatter.x, scatter.y) if axis.relative_to]
        for series in scatter.series:
            columns = (scatter.x.column, series.y or scatter.y.column)
            found += [CellRef(scatter.table, row, column) for row in series.rows for column in columns]
    if spec.heatmap:
        found += _all(specs, spec.heatmap.table)
    if spec.differences:
        block = spec.differences
        rows = block.rows or tuple(row.key for row in specs.table(block.table).rows)
        found += [CellRef(block.table, row, column) for row in (block.base, *rows) for column in block.columns]
    if spec.identity:
        found += [place for table_id in specs.tables for place in _all(specs, table_id)]
    return list(dict.fromkeys(found))


def _looked_up(spec: FigureSpec) -> list[CellRef]:
    """Cells of which only the paper's value is drawn: nothing has to run for them."""
    series = spec.profile.series if spec.profile else ()
    return [place for one in series for place in (one.paper_input, one.paper_last) if place]


def _all(specs: Specs, table_id: str) -> list[CellRef]:
    table = specs.table(table_id)
    numbers = [column.key for column in table.table.columns if not column.text]
    cells = [CellRef(table_id, row.key, column) for row in table.rows for column in numbers]
    return cells + [CellRef(table_id, REFERENCE, reference.key) for reference in table.references]


def _direct(spec: FigureSpec, plan: Plan) -> tuple[str, ...]:
    jobs = []
    if spec.profile:
        jobs += [plan.expander.job("probe", series.run, seed) for series in spec.profile.series for seed in plan.seeds]
    if spec.curves:
        # Published weights have no curve, and their accuracy without one would be a label of nothing.
        for name in spec.curves.names:
            for seed in plan.seeds if name not in plan.specs.scale.released else ():
                jobs += [plan.expander.network(name, seed), plan.expander.job("predict", name, seed)]
    return tuple(dict.fromkeys(job.key for job in jobs))
