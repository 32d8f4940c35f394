"""Tables to cells, and cells to the jobs their numbers are read from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from replicate.plan.expand import Expander
from replicate.plan.graph import Graph
from replicate.plan.job import Job
from replicate.spec.crosscheck import run_name
from replicate.spec.load import Specs
from replicate.spec.table import Head, Metric, TableSpec


@dataclass(frozen=True, slots=True)
class CellPlan:
    """A number of a table: ``metric`` of the network ``run``, read at ``head``, one job a seed.

    ``row`` is ``@`` for a reference that only claims use. ``jobs`` is empty where nothing here makes the number.
    """

    table: str
    row: str
    column: str
    metric: Metric
    head: Head
    run: str | None
    paper: float | None
    paper_source: str
    jobs: tuple[Job, ...] = ()


@dataclass(slots=True)
class Plan:
    """The cells of some tables and the graph of jobs behind all of them."""

    specs: Specs
    seeds: tuple[int, ...]
    cells: dict[str, list[CellPlan]] = field(default_factory=dict)
    graph: Graph = field(default_factory=Graph)

    def cell(self, table: str, row: str, column: str) -> CellPlan:
        for cell in self.cells[table]:
            if (cell.row, cell.column) == (row, column):
                return cell
        raise KeyError((table, row, column))

    def served(self) -> dict[str, int]:
        """How many printed cells rest on each job, directly or through others."""
        readers: dict[str, int] = dict.fromkeys(self.graph.jobs, 0)
        direct: dict[str, set[tuple[str, str, str]]] = {key: set() for key in self.graph.jobs}
        for cells in self.cells.values():
            for cell in cells:
                for job in cell.jobs:
                    direct[job.key].add((cell.table, cell.row, cell.column))
        for job in reversed(list(self.graph)):
            readers[job.key] = len(direct[job.key])
            for key in job.inputs.values():
                direct[key] |= direct[job.key]
        return readers


def plan_tables(specs: Specs, tables: Sequence[str], seeds: Sequence[int]) -> Plan:
    """Plan the cells of ``tables`` for ``seeds``."""
    expander = Expander(specs)
    plan = Plan(specs, tuple(seeds), graph=expander.graph)
    for table_id in tables:
        plan.cells[table_id] = _cells(specs.table(table_id), expander, seeds)
    return plan


def _cells(spec: TableSpec, expander: Expander, seeds: Sequence[int]) -> list[CellPlan]:
    table = spec.table
    cells = []
    for row in spec.rows:
        for column in table.columns:
            if column.text:
                continue
            run = run_name(row, column.run)
            jobs = tuple(expander.predict(run, seed) for seed in seeds) if run else ()
            head, metric = row.head or table.head or "class", row.metric or table.metric
            paper = row.paper.get(column.key)
            cells.append(CellPlan(table.id, row.key, column.key, metric, head, run, paper, table.source, jobs))
    for reference in spec.references:
        jobs = tuple(expander.predict(reference.run, seed) for seed in seeds[:1])
        cells.append(
            CellPlan(
                table.id,
                "@",
                reference.key,
                reference.metric or table.metric,
                reference.head,
                reference.run,
                reference.paper,
                reference.source,
                jobs,
            )
        )
    return cells
