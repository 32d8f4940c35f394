"""What the pages say: tables, figures, jobs and runs, with what each rests on and where it stands in the site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.util import find_spec

from replicate.figures.finish import finish_figure
from replicate.figures.load import figures_of
from replicate.figures.model import Figure
from replicate.figures.plan import FigurePlan, plan_figure
from replicate.jobs.job import Job
from replicate.jobs.train import CURVE
from replicate.judge.finish import Finisher
from replicate.judge.table import Cell, Table
from replicate.plan.answers import with_answers
from replicate.plan.cells import Plan
from replicate.plan.graph import Graph
from replicate.render.format_html import ClaimLine, claim_lines
from replicate.site.addresses import Addresses, command, file_names
from replicate.site.curve import Epoch, read
from replicate.site.recipe import Sources, read_sources
from replicate.specs.cell import CellRef
from replicate.store.epochs import EpochLine
from replicate.store.files import parsed
from replicate.store.result import Result
from replicate.store.store import State, Store

STATES: Mapping[State, str] = {
    "done": "done",
    "running": "running",
    "failed": "failed",
    "damaged": "damaged",
    "absent": "not run",
}


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A job as it stands. ``trouble``: what went wrong. ``readers`` read it directly, ``served`` counts all.

    ``so_far``: the epochs of a training that has no result yet, and ``suspicion`` why it looks doomed.

    ``seed`` is None where no seed decides it or nobody here knows it (`Graph.seed_of`).
    """

    job: Job
    seed: int | None
    state: State
    result: Result | None
    trouble: str
    readers: tuple[CellRef, ...]
    served: int
    command: str
    so_far: Sequence[EpochLine] = ()
    suspicion: str = ""

    @property
    def shown(self) -> str:
        return STATES[self.state]

    @property
    def title(self) -> str:
        """What a reader calls a job of its kind, with its seed."""
        kind = self.job.title or self.job.kind
        return kind if self.seed is None else f"{kind}, seed {self.seed}"

    @property
    def wall(self) -> float | None:
        """Seconds that it took; None without a result, as the other costs."""
        return self.result.cost.get("wall_seconds") if self.result else None

    @property
    def cpu(self) -> float | None:
        return self.result.cost.get("cpu_seconds") if self.result else None

    @property
    def peak(self) -> float | None:
        """Megabytes of memory."""
        return self.result.cost.get("peak_mb") if self.result else None

    def curve(self) -> tuple[Epoch, ...]:
        """The epochs of a training, so far where it still runs; empty where the job left none."""
        if self.so_far:
            return tuple(Epoch(line.epoch, line.rate, line.loss, line.images, line.top1) for line in self.so_far)
        if self.result is None or CURVE not in self.result.files:
            return ()
        try:
            raw = parsed(self.result.path(CURVE).read_bytes())
        except (OSError, ValueError):
            return ()
        return read(raw)

    def files(self) -> list[tuple[str, int, str]]:
        """Name, bytes and SHA-256 of what it left; 0 bytes for a file that is gone."""
        sizes = []
        for name, digest in self.result.files.items() if self.result else ():
            try:
                size = self.result.path(name).stat().st_size if self.result else 0
            except OSError:
                size = 0
            sizes.append((f"{self.job.key}/{name}", size, digest))
        return sizes


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished figure with its drawing, and the cells and jobs that it shows."""

    figure: Figure
    svg: bytes
    plan: FigurePlan


def draw_all(
    plan: Plan, store: Store, part: Callable[[str], AbstractContextManager[None]]
) -> tuple[list[Picture], str]:
    """Draw every figure as it stands now, each within a ``part``. The text says which are left out, and why."""
    specs = plan.specs
    figures = figures_of(specs).specs
    if not figures:
        return [], ""
    if absent := [name for name in ("matplotlib", "seaborn") if find_spec(name) is None]:
        return [], f"the figures are left out: {' and '.join(absent)} not installed"
    from replicate.figures.draw import render

    pictures = []
    for figure_id in sorted(figures, key=lambda name: (figures[name].figure.number or 99, name)):
        with part(f"figure {figure_id}"):
            planned = plan_figure(specs, figure_id, plan.seeds)
            figure = finish_figure(planned, store)
            pictures.append(Picture(figure, render(figure, "svg"), planned))
    missing = [name for name in figures if name not in {picture.figure.id for picture in pictures}]
    return pictures, f"left out, since they could not be drawn: {', '.join(missing)}" if missing else ""


@dataclass(frozen=True, slots=True)
class Book:
    """``runs`` maps the name of a run to the keys of its jobs, inputs first; ``without_figures`` says why."""

    plan: Plan
    store: Store
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]
    jobs: Mapping[str, JobFacts]
    runs: Mapping[str, tuple[str, ...]]
    sources: Sources
    addresses: Addresses
    without_figures: str = ""
    _by_id: Mapping[str, Table] = field(default_factory=dict)
    _read_runs: Mapping[CellRef, str] = field(default_factory=dict)

    @property
    def banner(self) -> str:
        return self.plan.specs.scale.banner

    @property
    def comparable(self) -> bool:
        """Whether the numbers may be compared with the paper's."""
        return self.plan.specs.scale.comparable

    @property
    def results(self) -> list[Result]:
        return [facts.result for facts in self.jobs.values() if facts.result is not None]

    @property
    def spent(self) -> float | None:
        """Seconds that all results took; None where there is none."""
        return sum(facts.wall or 0.0 for facts in self.jobs.values()) if self.results else None

    @property
    def states(self) -> list[tuple[str, int]]:
        """How many jobs are in each state that occurs."""
        counts = Counter(facts.state for facts in self.jobs.values())
        return [(shown, counts[state]) for state, shown in STATES.items() if counts[state]]

    def table(self, table_id: str) -> Table:
        return self._by_id[table_id]

    @property
    def claims(self) -> list[ClaimLine]:
        """The claims of all tables, each with the address of its line on its table's page."""
        return [line for table in self.tables for line in claim_lines(table, self.addresses.table(table.id))]

    def job(self, key: str) -> str:
        """Where the page about a job is."""
        return self.addresses.job(key)

    def command(self, *words: str) -> str:
        """``python -m replicate WORDS`` as it finds what this site shows."""
        return command(self.plan, *words)

    def jobs_of(self, kind: str) -> list[JobFacts]:
        """All jobs of one kind, in the order of the graph."""
        return [facts for facts in self.jobs.values() if facts.job.kind == kind]

    def run_of(self, cell: Cell) -> str | None:
        """The run that a number is read from; None for data sets and for what nothing here makes."""
        return self._read_runs.get(cell.ref)

    def evidence(self, cell: Cell) -> str:
        """Where a reader of a number goes to see how it was made: its run, or the line that says why there is none."""
        run = self.run_of(cell)
        if run is not None and run in self.runs:
            key = next((key for key in cell.jobs if key in self.runs[run]), None)
            return self.addresses.run(run) + (f"#{self.addresses.job(key).partition('#')[2]}" if key else "")
        if cell.jobs:
            return self.addresses.job(cell.jobs[0])
        return self.addresses.cell(cell.ref)


def gather(plan: Plan, store: Store, pictures: Sequence[Picture] = (), without_figures: str = "") -> Book:
    """Collect everything the site says of the tables of ``plan``; what is damaged is noted in ``store``."""
    finisher = Finisher(plan, store)
    ids = sorted(plan.cells, key=lambda name: (plan.specs.table(name).table.place, name))
    tables = tuple(finisher.finish(name) for name in ids)
    graph = Graph(dict(plan.graph.jobs))
    for picture in pictures:
        for job in picture.plan.graph:
            graph.add(job)
    graph = with_answers(graph, plan.specs, store)
    served, readers = plan.served(graph), _readers(plan)
    jobs = {
        job.key: _facts(plan, store, job, graph.seed_of(job), readers.get(job.key, ()), served.get(job.key, 0))
        for job in graph
    }
    runs = _runs(plan, graph)
    addresses = _addresses(tables, pictures, graph, runs)
    by_id = {table.id: table for table in tables}
    sources = read_sources(plan.specs)
    read = {
        cell.ref: cell.read.run
        for cells in plan.cells.values()
        for cell in cells
        if cell.read is not None and cell.read.run is not None
    }
    return Book(plan, store, tables, tuple(pictures), jobs, runs, sources, addresses, without_figures, by_id, read)


def _readers(plan: Plan) -> dict[str, tuple[CellRef, ...]]:
    readers: dict[str, list[CellRef]] = {}
    for cells in plan.cells.values():
        for cell in cells:
            for key in cell.keys:
                readers.setdefault(key, []).append(cell.ref)
    return {key: tuple(places) for key, places in readers.items()}


def _facts(plan: Plan, store: Store, job: Job, seed: int | None, readers: tuple[CellRef, ...], served: int) -> JobFacts:
    state = store.state(job.key)
    trouble = store.damage.get(job.key, "") if state == "damaged" else ""
    if state == "failed":
        trouble = store.trouble(job.key)
    again = ["--again"] if state == "done" else []
    # A job that no seed decides is among those of any seed.
    made_by = command(plan, "run", job.key, *again, seed=seed or 0)
    result = store.result(job.key)
    so_far = () if result else store.epochs(job.key)
    suspicion = store.suspicion(job.key) if state == "running" else ""
    return JobFacts(job, seed, state, result, trouble, readers, served, made_by, so_far, suspicion)


def _runs(plan: Plan, graph: Graph) -> dict[str, tuple[str, ...]]:
    """By run, its jobs. Two runs that need the same job (the same network is measured once) both show it."""
    keys_of: dict[str, set[str]] = {}
    for job in graph:
        if job.run:
            keys_of.setdefault(job.run, set()).add(job.key)
    for cells in plan.cells.values():
        for cell in cells:
            if cell.read is None or cell.read.run is None:
                continue
            keys = keys_of.setdefault(cell.read.run, set())
            for job in cell.jobs:
                keys |= {job.key, *(key for role, key in job.inputs.items() if role == "network")}
    order = list(plan.specs.runs.runs)
    names = sorted(keys_of, key=lambda name: order.index(name) if name in order else len(order))
    return {name: tuple(job.key for job in graph if job.key in keys_of[name]) for name in names}


def _addresses(
    tables: Iterable[Table], pictures: Iterable[Picture], graph: Graph, runs: Mapping[str, tuple[str, ...]]
) -> Addresses:
    pages = file_names(runs)
    data = file_names(job.key for job in graph if not job.run)
    jobs = {key: f"data/{name}.html" for key, name in data.items()}
    for name, keys in runs.items():
        for key in keys:
            jobs.setdefault(key, f"runs/{pages[name]}.html")
    ids = file_names(table.id for table in tables)
    return Addresses(ids, file_names(picture.figure.id for picture in pictures), pages, data, jobs)
