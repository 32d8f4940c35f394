"""What is due tonight: by each job kind's cadence, by what is missing, and within a budget."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from replicate.jobs.job import HOUR, Job, kinds
from replicate.nightly.history import Checked
from replicate.nightly.snapshot import JobRecord
from replicate.plan.graph import Graph
from replicate.store.provenance import differences

Progress = Literal["done", "busy", "stuck", "open"]
"""``busy``: running or queued. ``stuck``: failed for good, or blocked by one that did. ``open``: can be computed."""


@dataclass(frozen=True, slots=True)
class DueJob:
    """``seconds``: expected, on one processor of the scale, with what has to be computed before it."""

    job: Job
    reason: str
    seconds: float

    @property
    def hours(self) -> float:
        return self.seconds / HOUR


@dataclass(slots=True)
class Agenda:
    """``missing`` have no result, ``again`` have one that is to be compared with a new one.

    ``over_budget`` did not fit into the budget. ``skipped`` are trainings that only ``--train`` begins.
    ``unfinished`` are trainings that a night has to bring to an end, tonight or later.
    """

    missing: list[DueJob] = field(default_factory=list)
    again: list[DueJob] = field(default_factory=list)
    over_budget: list[DueJob] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def hours(self) -> float:
        return self.seconds / HOUR


@dataclass(frozen=True, slots=True)
class AgendaInputs:
    """What a night knows when it decides. ``progress_of`` and ``begun`` are asked for keys of the graph.

    past: jobs of the last night, by key. unfinished: its trainings that are not done. made: provenance of what would
    be computed now. checked: see `replicate.nightly.history.Nights.checked`. written: provenance of a result and when
    it was finished. underway: being computed again already. chained: whether jobs can wait for busy ones (Slurm), or
    not (here). now: seconds since 1970. read: jobs that a cell reads itself.
    """

    progress_of: Callable[[str], Progress]
    begun: Callable[[str], bool]
    past: Mapping[str, JobRecord]
    unfinished: Sequence[str]
    made: Mapping[str, object]
    checked: Mapping[str, Checked]
    written: Callable[[str], tuple[Mapping[str, object], float]]
    now: float
    underway: frozenset[str]
    chained: bool
    read: frozenset[str] = frozenset()
    train: bool = False
    again: bool = False


def agenda(graph: Graph, night: AgendaInputs, budget: float) -> Agenda:
    """Return what is due of ``graph``, the most useful first, as far as ``budget`` (seconds of one processor) goes."""
    planned = Agenda()
    wanted = _trainings(graph, night, planned)
    for due in [*_evaluations(graph, night), *_rechecks(graph, night), *_new_trainings(graph, wanted, night)]:
        again = night.progress_of(due.job.key) == "done"
        chosen = {missing.job.key for missing in planned.missing}
        jobs = [due.job] if again else [job for job in _open(graph, due.job, night) if job.key not in chosen]
        seconds = sum(job.seconds for job in jobs)
        if planned.seconds + seconds > budget:
            planned.over_budget.append(DueJob(due.job, due.reason, seconds))
            continue
        planned.seconds += seconds
        (planned.again if again else planned.missing).extend(DueJob(job, due.reason, job.seconds) for job in jobs)
    return planned


def _trainings(graph: Graph, night: AgendaInputs, planned: Agenda) -> dict[str, str]:
    """Return the trainings without a result that may run, with the reason; fill ``skipped`` and ``unfinished``."""
    moved = _moved(graph, night)
    open_trainings = [job for job in graph if job.trains and night.progress_of(job.key) in ("open", "busy")]
    wanted: dict[str, str] = {}
    for job in open_trainings:
        if night.train:
            wanted[job.key] = "asked for"
        elif night.begun(job.key) or night.progress_of(job.key) == "busy":
            wanted[job.key] = "begun earlier"
        elif job.key in moved or job.key in night.unfinished:
            wanted[job.key] = "its recipe changed"
    # A student cannot be trained without its teacher.
    for key in list(wanted):
        for job in _open(graph, graph.jobs[key], night):
            if job.trains:
                wanted.setdefault(job.key, f"needed for {key}")
    planned.unfinished = [job.key for job in open_trainings if job.key in wanted]
    planned.skipped = [job for job in open_trainings if job.key not in wanted]
    return wanted


def _moved(graph: Graph, night: AgendaInputs) -> set[str]:
    """Trainings whose run was trained before under another key: the recipe, or its version, changed."""
    trainings = {name for name, kind in kinds().items() if kind.trains}
    before = {
        (past.run, past.seed)
        for key, past in night.past.items()
        if past.kind in trainings and past.state == "done" and key not in graph.jobs
    }
    return {job.key for job in graph if job.trains and (job.run, job.seed) in before}


def _open(graph: Graph, job: Job, night: AgendaInputs) -> list[Job]:
    """The jobs to be computed for ``job``, itself included, inputs first."""
    return [each for each in graph.needed_for([job.key]) if night.progress_of(each.key) == "open"]


def _possible(graph: Graph, job: Job, trainings: Container[str], night: AgendaInputs) -> bool:
    """Whether ``job`` can be computed where of all open trainings only ``trainings`` run."""
    # Without the answers of a teacher it goes on, so nothing of them keeps it from being computed.
    for needed in Graph(graph.jobs).needed_for([job.key]):
        progress = night.progress_of(needed.key)
        if progress == "stuck" or (progress == "busy" and not night.chained):
            return False
        if progress == "open" and needed.trains and needed.key not in trainings:
            return False
    return True


def _evaluations(graph: Graph, night: AgendaInputs) -> list[DueJob]:
    """Evaluations without a result of networks that are trained: cheap, and each fills a cell.

    So does a data set that is a number of its own (Table 6) or the labels of one (ReaL); any other is made with the
    first job that reads it.
    """
    computed = (job for job in graph if not job.trains and (not job.source or job.key in night.read))
    missing = [job for job in computed if night.progress_of(job.key) == "open"]
    return [DueJob(job, "not computed yet", job.seconds) for job in missing if _possible(graph, job, (), night)]


def _new_trainings(graph: Graph, wanted: Mapping[str, str], night: AgendaInputs) -> list[DueJob]:
    """Trainings, and the evaluations that wait for one of them."""
    dues = []
    for job in graph:
        if job.source or night.progress_of(job.key) != "open" or not _possible(graph, job, wanted, night):
            continue
        if job.trains:
            dues.append(DueJob(job, wanted[job.key], job.seconds))
        elif not _possible(graph, job, (), night):
            dues.append(DueJob(job, "reads a new network", job.seconds))
    return dues


def _dated(when: float, night: AgendaInputs) -> bool:
    """Whether ``when`` is in the past. The clock of a file server may be a little ahead of this machine's."""
    return when <= night.now + HOUR


def _rechecks(graph: Graph, night: AgendaInputs) -> list[DueJob]:
    """Results to be computed again: first what other code or packages made, then the longest unseen."""
    dues: list[tuple[int, float, DueJob]] = []
    for job in graph:
        cadence = job.stale_seconds
        if cadence is None or night.progress_of(job.key) != "done" or job.key in night.underway:
            continue
        if any(night.progress_of(key) != "done" for key in job.inputs.values()):
            continue
        made, when = night.written(job.key)
        seen = night.checked.get(job.key)
        if seen is not None and (_dated(seen.when, night), seen.when) > (_dated(when, night), when):
            made, when = seen.asked, seen.when
        changed = differences(made, night.made)
        if changed:
            dues.append((0, when, DueJob(job, f"changed since: {', '.join(changed)}", job.seconds)))
        elif not _dated(when, night):
            # A clock was ahead, or is behind: its age is unknown.
            dues.append((1, 0.0, DueJob(job, "last made or compared at a time that is still to come", job.seconds)))
        elif night.again or night.now - when > cadence:
            reason = f"last made or compared {(night.now - when) / HOUR:.0f} h ago"
            dues.append((1, when, DueJob(job, reason, job.seconds)))
    return [due for _, _, due in sorted(dues, key=lambda entry: (entry[0], entry[1], entry[2].job.key))]
