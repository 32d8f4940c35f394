"""Brings tables and figures up to date: runs, or submits to a cluster, the jobs that they lack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from replicate.actions.paper import Paper
from replicate.backends.backend import Reporter, RunReport
from replicate.errors import NotAvailable
from replicate.figures.plan import FigurePlan, plan_figure, with_figures
from replicate.plan.answers import with_answers
from replicate.plan.cells import Plan
from replicate.plan.graph import Graph
from replicate.specs.load import Specs
from replicate.specs.watch import TrackerName
from replicate.store.store import SUSPICIOUS, Store

# Whatever finishes a table or a figure comes with numpy, of which planning needs nothing: imported where it is used.
if TYPE_CHECKING:
    from replicate.figures.model import Figure
    from replicate.judge.table import Table


@dataclass(frozen=True, slots=True)
class RunOptions:
    """run: False only looks. train: False leaves out what rests on a training that is still to be done.

    retry: also run again what diverged. wait: on a cluster, until nothing is queued any more.
    stop_suspicious: end trainings that look doomed; without it those that were ended go on. tracker: who is handed the
    numbers of each epoch.
    """

    run: bool = True
    train: bool = True
    retry: bool = False
    wait: bool = False
    stop_suspicious: bool = False
    tracker: TrackerName | None = None


@dataclass(frozen=True, slots=True)
class UpdatedTables:
    """Tables as they stand after a run."""

    plan: Plan
    store: Store
    tables: list[Table]
    report: RunReport

    @property
    def complete(self) -> bool:
        return all(table.complete for table in self.tables)

    @property
    def failed(self) -> bool:
        return bool(self.report.failed) or any(
            cell.state == "failed" for table in self.tables for cell in table.cells.values()
        )


@dataclass(frozen=True, slots=True)
class UpdatedFigure:
    """A figure as it stands after a run."""

    plan: FigurePlan
    store: Store
    figure: Figure
    report: RunReport

    @property
    def failed(self) -> bool:
        return bool(self.report.failed) or any(self.store.state(key) == "failed" for key in self.plan.keys)


def update_tables(
    paper: Paper,
    ids: Sequence[str],
    options: RunOptions,
    reporter: Reporter | None = None,
    figures: bool = False,
) -> UpdatedTables:
    """Run what ``ids`` lack (and all figures, if asked for), then finish these tables.

    Errors before anything is started: `StoreUnusable`, `NotAvailable`, `ClusterRefused`, `ClusterDown`.
    """
    from replicate.judge.finish import Finisher

    specs = paper.specs()
    for table_id in ids:
        specs.table(table_id)
    plan, store = paper.plan(ids or specs.ordered, specs), paper.store()
    graph = with_figures(plan) if figures else plan.graph
    names = [*ids] or ["all"]
    report = run_missing(paper, graph, store, specs, names, options, reporter, plan.keys)
    finisher = Finisher(plan, store, report.elsewhere)
    return UpdatedTables(plan, store, [finisher.finish(name) for name in ids or specs.ordered], report)


def update_figure(
    paper: Paper, figure_id: str, options: RunOptions, reporter: Reporter | None = None, runs: Sequence[str] = ()
) -> UpdatedFigure:
    """Run what one figure lacks, then finish it. ``runs``: of a figure of curves, in place of its own."""
    from replicate.figures.finish import finish_figure

    specs = paper.specs()
    plan, store = plan_figure(specs, figure_id, paper.seeds, runs), paper.store()
    names = [f"figure-{figure_id}"]
    report = run_missing(paper, plan.graph, store, specs, names, options, reporter, plan.keys)
    return UpdatedFigure(plan, store, finish_figure(plan, store), report)


def run_missing(
    paper: Paper,
    graph: Graph,
    store: Store,
    specs: Specs,
    names: Sequence[str],
    options: RunOptions,
    reporter: Reporter | None = None,
    read: Iterable[str] = (),
) -> RunReport:
    """Run what is missing of ``graph``, or submit it where a cluster was chosen.

    names: what it is wanted for, for squeue. read: see `without_training`.
    """
    if not options.run:
        return RunReport()
    if not options.train:
        graph = without_training(graph, store, read)
    if options.tracker is not None and paper.profile is None:
        check_tracker(options.tracker)
    graph = watched(graph, options.stop_suspicious, options.tracker)
    store.forgive(_suspicious(graph, store))
    planned = with_answers(graph, specs, store)
    return paper.backend(specs.scale, reporter).run(planned, store, names, options.retry, options.wait)


def watched(graph: Graph, stop: bool, tracker: TrackerName | None) -> Graph:
    """``graph`` with trainings that ``stop`` when they become suspicious, and hand their epochs to ``tracker``."""
    update = ({"stop": True} if stop else {}) | ({"tracker": tracker} if tracker else {})
    if not update:
        return graph
    changed = {
        key: replace(job, watch=job.watch.model_copy(update=update))
        for key, job in graph.jobs.items()
        if job.watch is not None
    }
    return Graph({**graph.jobs, **changed}, graph.aids)


def check_tracker(name: TrackerName) -> None:
    """Raises NotAvailable where its package is not installed here."""
    if find_spec(name) is None:
        raise NotAvailable(f"the tracker {name} is not installed\n  python -m pip install {name}")


def _suspicious(graph: Graph, store: Store) -> list[str]:
    """Trainings that were ended for being suspicious, and would not be this time."""
    states = store.states(job.key for job in graph if job.watch is not None and not job.watch.stop)
    failed = [key for key, state in states.items() if state == "failed"]
    return [key for key in failed if store.failure(key).get("kind") == SUSPICIOUS]


def without_training(graph: Graph, store: Store, read: Iterable[str]) -> Graph:
    """The part of ``graph`` that rests on no training which is still to be done.

    read: keys of data sets that are numbers of their own (Table 6). Of the others, what only a training would read
    is left out with it: the images of a training set need not be there.
    """
    states = store.states(graph.jobs)
    held: set[str] = set()
    for job in graph:
        if (job.trains and states[job.key] != "done") or not held.isdisjoint(job.inputs.values()):
            held.add(job.key)
    directly, inputs = {*read}, {key for job in graph for key in job.inputs.values()}
    return graph.needed_for(key for key in graph.jobs if key not in held and (key not in inputs or key in directly))
