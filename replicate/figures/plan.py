"""Figures to the cells they read, in the same graph of jobs as the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from replicate.figures.load import figures_of
from replicate.figures.spec import FigureSpec
from replicate.plan.cells import CellPlan, Plan, plan_tables
from replicate.plan.graph import Graph
from replicate.specs.cell import CellRef
from replicate.specs.load import Specs


@dataclass(frozen=True, slots=True)
class FigurePlan:
    """``cells`` are those that the figure reads, in its order.

    ``tables`` plans the tables that they are cells of, ``planned`` holds all of those; ``direct`` are jobs that a
    figure reads without a cell: the curve of a training, the layers of a probe.
    """

    spec: FigureSpec
    tables: Plan
    planned: dict[CellRef, CellPlan]
    cells: dict[CellRef, CellPlan]
    direct: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Of all jobs that are read, each once."""
        read = [key for cell in self.cells.values() for key in cell.keys]
        return tuple(dict.fromkeys([*read, *self.direct]))

    @property
    def graph(self) -> Graph:
        """What the figure needs and nothing else of its tables."""
        return self.tables.graph.needed_for(self.keys)


def plan_figure(specs: Specs, figure_id: str, seeds: Sequence[int], runs: Sequence[str] = ()) -> FigurePlan:
    """Plan one figure. ``runs``: shown by a figure of curves, in place of those in its spec."""
    figures = figures_of(specs)
    spec = figures.spec(figure_id)
    if runs:
        spec = spec.of_runs(tuple(runs), specs.runs)
    own = spec.own_table()
    if own is not None:
        # Points that no table prints are planned and finished exactly as cells are.
        files = {**specs.files, own.table.id: figures.files[figure_id]}
        specs = replace(specs, tables={**specs.tables, own.table.id: own}, files=files)
    places = list(dict.fromkeys(spec.cells(specs)))
    tables = dict.fromkeys(place.table for place in [*places, *spec.printed()])
    plan = plan_tables(specs, list(tables), seeds)
    planned = {cell.ref: cell for cells in plan.cells.values() for cell in cells}
    direct = tuple(dict.fromkeys(job.key for job in spec.jobs(plan)))
    return FigurePlan(spec, plan, planned, {place: planned[place] for place in places}, direct)


def with_figures(plan: Plan) -> Graph:
    """The graph of ``plan`` and what the figures need beside it: Figure 3 has networks that no table prints."""
    graph = Graph(dict(plan.graph.jobs))
    for figure_id in figures_of(plan.specs).specs:
        for job in plan_figure(plan.specs, figure_id, plan.seeds).graph:
            graph.add(job)
    return graph
