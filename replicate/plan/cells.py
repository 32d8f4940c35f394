"""Tables to cells, and cells to the jobs their numbers are read from."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

from replicate import metrics
from replicate.errors import UserError
from replicate.jobs.expand import Expander
from replicate.jobs.job import TEACHER_SEED, Job
from replicate.jobs.measure import Measure
from replicate.metrics.metric import Head
from replicate.plan.graph import Graph
from replicate.specs.cell import REFERENCE, CellRef, ResolvedSource, resolve_source
from replicate.specs.load import Specs
from replicate.specs.table import TableSpec
from replicate.text import Printed


class CellPlan(NamedTuple):
    """A number of a table and where it comes from.

    ``read`` is None where nothing here makes the number.
    ``jobs`` are read for the value, one a seed (one in all where seeds make no difference, and of a run that only
    teaches); ``others`` likewise for the second network of a disagreement, or the corrected labels; of a throughput it
    is the measurement of the network that the scale measures all others beside, whose rate is the unit.
    """

    ref: CellRef
    read: ResolvedSource | None
    paper: Printed | None
    paper_source: str
    jobs: tuple[Job, ...] = ()
    others: tuple[Job, ...] = ()

    @property
    def table(self) -> str:
        return self.ref.table

    @property
    def row(self) -> str:
        return self.ref.row

    @property
    def column(self) -> str:
        return self.ref.column

    @property
    def keys(self) -> tuple[str, ...]:
        """Of all jobs the number is read from, each once."""
        return tuple(dict.fromkeys(job.key for job in (*self.jobs, *self.others)))


@dataclass(slots=True)
class Plan:
    """The cells of some tables and the graph of jobs behind all of them."""

    specs: Specs
    seeds: tuple[int, ...]
    graph: Graph
    expander: Expander
    """Adds to ``graph``."""
    cells: dict[str, list[CellPlan]] = field(default_factory=dict)

    @property
    def keys(self) -> frozenset[str]:
        """Of all jobs that a cell reads itself."""
        return frozenset(key for cells in self.cells.values() for cell in cells for key in cell.keys)

    def cell(self, ref: CellRef) -> CellPlan:
        for cell in self.cells[ref.table]:
            if cell.ref == ref:
                return cell
        raise KeyError(ref)

    def served(self, graph: Graph | None = None) -> dict[str, int]:
        """How many cells rest on each job, directly or through others; also on those that only ``graph`` has."""
        readers = Counter(cell.keys for cells in self.cells.values() for cell in cells)
        served = self.graph.served(readers)
        if graph is not None and not graph.jobs.keys() <= served.keys():
            there = Counter(keys for keys in readers.elements() if graph.jobs.keys() >= {*keys})
            served = graph.served(there) | served
        return served


def plan_tables(specs: Specs, tables: Sequence[str], seeds: Sequence[int]) -> Plan:
    """Plan the cells of ``tables`` for ``seeds``."""
    graph = Graph()
    plan = Plan(specs, tuple(seeds), graph, Expander(specs, graph.add))
    # Nothing made here is garbage; searching for some among 100,000 jobs takes a third of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        for table_id in tables:
            plan.cells[table_id] = _cells(specs.table(table_id), plan)
    finally:
        if collecting:
            gc.enable()
    return plan


def _cells(spec: TableSpec, plan: Plan) -> list[CellPlan]:
    table = spec.table
    cells = []
    for row in spec.rows:
        source = row.source or table.source
        for column in table.columns:
            if not column.text:
                read = resolve_source(table, row, column)
                written = row.paper.get(column.key)
                paper = None if written is None else Printed(written, table.places(column))
                cells.append(_cell(plan, CellRef(table.id, row.key, column.key), read, paper, source))
    for reference in spec.references:
        read = resolve_source(table, reference)
        paper = None if reference.paper is None else Printed(reference.paper, table.decimals)
        cells.append(_cell(plan, CellRef(table.id, REFERENCE, reference.key), read, paper, reference.source))
    return cells


def _cell(plan: Plan, ref: CellRef, read: ResolvedSource | None, paper: Printed | None, source: str) -> CellPlan:
    jobs, others = _jobs(plan.expander, read, plan.seeds) if read else ((), ())
    return CellPlan(ref, read, paper, source, jobs, others)


def _jobs(expander: Expander, read: ResolvedSource, seeds: Sequence[int]) -> tuple[tuple[Job, ...], tuple[Job, ...]]:
    """The jobs of a reading: ``(jobs, others)`` as CellPlan says."""
    metric = metrics.find(read.metric)
    kind, second = metric.job, metric.second
    if not kind:
        return (), ()
    if second == "network":
        return _both(expander, read, kind, seeds)
    on = None if second == "labels" else read.on
    own = expander.seeds_of(read.run or "", seeds) if metric.trained else (0,)
    jobs = tuple([expander.job(kind, read.run or "", seed, on) for seed in own])
    match second:
        case "none":
            return jobs, ()
        case "labels":
            assert read.on is not None
            return jobs, (expander.data(read.on),)
        case "reference":
            return jobs, _reference(expander, jobs[0])
        case _:
            assert_never(second)


def _both(
    expander: Expander, read: ResolvedSource, kind: str, seeds: Sequence[int]
) -> tuple[tuple[Job, ...], tuple[Job, ...]]:
    """The jobs of a network and of the one that it is compared with, seed by seed."""
    assert read.run is not None
    assert read.against is not None
    run, other = read.run, read.against[0]
    runs = expander.specs.runs.runs

    def read_at(name: str, head: Head, beside: str) -> Sequence[int]:
        if head == "truth":
            # Decisions of every seed have the same labels.
            return seeds[:1]
        # A student of any seed is compared with the teacher it learned from, which has one.
        return (TEACHER_SEED,) if runs[beside].teacher == name else expander.seeds_of(name, seeds)

    own, theirs = read_at(run, read.head, other), read_at(other, read.against[1], run)
    # What has one seed is compared with every one of the other's.
    count = max(len(own), len(theirs))
    return (
        tuple(expander.job(kind, run, seed, read.on) for seed in _of_each(own, count)),
        tuple(expander.job(kind, other, seed, read.on) for seed in _of_each(theirs, count)),
    )


def _of_each(seeds: Sequence[int], count: int) -> Sequence[int]:
    """``seeds``, or the only one of them ``count`` times."""
    return [seeds[0]] * count if len(seeds) == 1 else seeds


def _reference(expander: Expander, job: Job) -> tuple[Job, ...]:
    """The measurement of the network that ``job`` is measured beside; none under a protocol without pairs."""
    if not isinstance(job, Measure) or job.protocol.reference is None:
        return ()
    how, runs = expander.specs.scale.measure, expander.specs.runs.runs
    for name, run in runs.items():
        named = (run.model, run.resolution) == (how.reference, how.reference_resolution)
        if named and run.data == "imagenet" and run.distillation is None:
            return (expander.job("measure", name),)
    raise UserError(
        f"no run trains measure.reference, '{how.reference}' at {how.reference_resolution}\n"
        "  add one to runs.toml, on imagenet and without distillation: its images/s are the unit of all others"
    )
