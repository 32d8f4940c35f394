"""Where jobs run: what this machine and Slurm have in common, and what both say of jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from replicate.errors import Fault
from replicate.jobs.job import Job
from replicate.plan.graph import Graph
from replicate.store.store import LOG, SUSPICIOUS, Store

if TYPE_CHECKING:
    from replicate.backends.slurm.queue import Row
    from replicate.backends.slurm.submission import Submission, Task
    from replicate.judge.table import State as CellState

State = Literal["done", "running", "pending", "failed", "blocked", "lost", "damaged", "absent"]
"""``pending``: in Slurm's queue. ``lost``: Slurm no longer knows it. ``blocked``: one of its inputs failed."""

MARKS: Mapping[State, str] = {
    "done": "●",
    "running": "◐",
    "pending": "◔",
    "absent": "○",
    "failed": "⚠",
    "lost": "⚠",
    "damaged": "⚠",
    "blocked": "⊘",
}
"""In the order in which they are counted."""


@dataclass(frozen=True, slots=True)
class JobView:
    """The state of one job. ``kind``: class of a failure. ``why``: for people.

    again: whether the next run takes the job up by itself. row, task: of its newest submission to Slurm.
    """

    state: State
    why: str = ""
    kind: str = ""
    again: bool = True
    row: Row | None = None
    task: Task | None = None


@dataclass(slots=True)
class JobStates:
    """The state of every job of ``graph`` as ``store`` tells it. It only looks, and changes nothing."""

    graph: Graph
    store: Store
    views: dict[str, JobView] = field(default_factory=dict, init=False)

    ABSENT: ClassVar[str] = "not run"

    def __post_init__(self) -> None:
        for key, state in self.store.states(self.graph.jobs).items():
            if state == "failed":
                kind = str(self.store.failure(key).get("kind", "error"))
                self.views[key] = JobView(state, self.store.trouble(key), kind, not self.store.fails_again(key))
            else:
                self.views[key] = JobView(state, self.store.damage.get(key, ""))

    def of(self, keys: Iterable[str]) -> dict[str, JobView]:
        return {key: self.views[key] for key in keys}

    @property
    def accounting(self) -> bool | None:
        """Whether Slurm's accounting answered; None where it was not asked."""
        return None

    @property
    def done(self) -> bool:
        return all(view.state == "done" for view in self.views.values())

    def suspicious(self) -> dict[str, str]:
        """Trainings that run and look doomed: key -> why."""
        running = [key for key, view in self.views.items() if view.state == "running"]
        return {key: why for key in running if (why := self.store.suspicion(key))}

    def failures(self) -> dict[str, str]:
        """Jobs that somebody has to look at: key -> why."""
        return {key: view.why for key, view in self.views.items() if view.state in ("failed", "damaged")}

    def elsewhere(self) -> dict[str, tuple[CellState, str]]:
        """State and reason of jobs that the store alone does not know (see `replicate.judge.finish.Finisher`)."""
        return {}

    def in_a_table(self, key: str) -> str:
        """The state of a job in the words that are used of cells, and ``absent``."""
        state = self.views[key].state
        return "absent" if state == "damaged" else state

    def summary(self) -> str:
        """``3 done, 1 running (deit-s-224-none-s0 40%), 8 not run``."""
        counts = Counter(view.state for view in self.views.values())
        running = [key for key, view in self.views.items() if view.state == "running"]
        shares = [f"{key.rpartition('-')[0]} {share_of(self.store.progress(key)):.0%}" for key in running[:4]]
        parts = [
            f"{count} {self.ABSENT if state == 'absent' else state}" for state in MARKS if (count := counts[state])
        ]
        return ", ".join(parts) + (f"  ({', '.join(shares)})" if shares else "")

    def remarks(self) -> list[str]:
        """What else a person should know of where jobs run."""
        return []

    def line(self, key: str) -> str:
        """One line on a job, to stand behind its key."""
        view = self.views[key]
        if view.state == "done":
            result = self.store.result(key)
            seconds = result.cost.get("wall_seconds") if result else None
            return "" if seconds is None else f"{seconds:.1f} s"
        if view.state == "running":
            progress = self.store.progress(key)
            loss = f", loss {progress['loss']:.3f}" if "loss" in progress else ""
            epoch = (
                f", epoch {progress['epoch']}/{progress['epochs']}" if {"epoch", "epochs"} <= progress.keys() else ""
            )
            counted = "".join(f", {word} {progress[word]:g} of {progress['of']:g}" for word in _counted(progress))
            ended = "".join(f", {line.short}" for line in self.store.epochs(key)[-1:])
            suspicion = "".join(f", {SUSPICIOUS}: {why}" for why in [self.store.suspicion(key)] if why)
            share = f"{share_of(progress):.0%}{counted}{epoch}{loss}{ended}{suspicion}"
            where = str(self.store.place(key))
            return f"running{where and f' {where}'}{view.why and f' ({view.why})'}, {share}"
        return view.why

    def submissions_of(self, key: str) -> list[Submission]:
        """Submissions of ``key`` to Slurm that were not put away, oldest first."""
        from replicate.backends.slurm.submission import read_submissions

        every = read_submissions(self.store.root)
        return [submission for submission in every if any(key in keys for keys in submission.tasks.values())]

    def logs(self, key: str) -> list[Path]:
        """The files that are not empty: its log, those of its newest attempt, then of its newest submission."""
        from replicate.backends.slurm.attempt import logs

        return logs(self.store, key, self.submissions_of(key))

    def first_log(self, key: str) -> Path:
        """The file to read first."""
        files = self.logs(key)
        errors = [path for path in files if path.name.endswith("err")]
        return [self.store.folder(key) / LOG, *files[-1:], *errors[-1:]][-1]


def share_of(progress: Mapping[str, Any]) -> float:
    """How much of a job is done, from 0 to 1, by the progress that it writes."""
    for word in _counted(progress):
        return float(min(1.0, max(0.0, progress[word] / progress["of"])))
    steps, step = progress.get("steps"), progress.get("step")
    epochs, epoch = progress.get("epochs", 1), progress.get("epoch", 1)
    if not steps or not epochs or step is None:
        return 0.0
    return float(min(1.0, max(0.0, (epoch - 1 + step / steps) / epochs)))


def _counted(progress: Mapping[str, Any]) -> list[str]:
    """What a job without epochs counts: the runs or windows of a measurement, the images of an evaluation."""
    if not progress.get("of"):
        return []
    return [word for word in ("run", "window", "images") if word in progress][:1]


class Listener:
    """Is told what happens to the jobs of a run. This one shows nothing; nothing depends on what another one does."""

    def started(self, job: Job) -> None:
        return

    def progressed(self, job: Job, progress: Mapping[str, Any]) -> None:
        return

    def finished(self, job: Job, seconds: float, processors: int = 1) -> None:
        """``seconds`` on the clock, on so many ``processors``."""
        return

    def failed(self, job: Job, reason: str) -> None:
        return

    def said(self, message: str) -> None:
        return


class Reporter:
    """Shows runs to a person. This one shows nothing."""

    def say(self, message: str) -> None:
        return

    def jobs(self, workers: int, seconds: Mapping[str, float]) -> AbstractContextManager[Listener]:
        """The listener of one run of ``workers`` jobs at once. ``seconds``: expected, of each job that can run."""
        return nullcontext(Listener())


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run did, and where its jobs stand now.

    done: jobs that it computed. submitted: jobs that it handed to Slurm, with the number of each. failed: jobs that
    somebody has to look at, with the reason; logs: the file to read first of each. notes: what a person should know.
    refused: requests of a profile that Slurm will not run; their jobs wait, others do not. stuck: why nothing could be
    submitted although nothing is queued.
    """

    done: Sequence[str] = ()
    submitted: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    logs: Mapping[str, Path] = field(default_factory=dict)
    notes: Sequence[str] = ()
    states: JobStates | None = None
    refused: Sequence[Fault] = ()
    stuck: str = ""

    @property
    def elsewhere(self) -> Mapping[str, tuple[CellState, str]]:
        """See `JobStates.elsewhere`."""
        return self.states.elsewhere() if self.states else {}


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many jobs run at once; None is no limit. ``no_gpu``: they need a GPU, and there is none."""

    at_once: int | None
    no_gpu: bool = False


class Backend(Protocol):
    """Runs the jobs of a graph. Its two members are `replicate.backends.local.Local` and
    `replicate.backends.slurm.backend.Slurm`. Errors of all methods: `UserError`."""

    @property
    def name(self) -> str: ...

    @property
    def chains(self) -> bool:
        """Whether jobs can be handed over while others that they read from are still busy."""
        ...

    def prepare(self, store: Store) -> None:
        """Make sure that results can be written, before anything begins."""
        ...

    def look(self, graph: Graph, store: Store) -> JobStates:
        """The state of every job now. Changes nothing."""
        ...

    def capacity(self, jobs: Sequence[Job]) -> Capacity: ...

    def run(
        self, graph: Graph, store: Store, names: Sequence[str], retry: bool = False, wait: bool = False
    ) -> RunReport:
        """Run, or submit, what ``store`` lacks of ``graph``.

        names: what it is wanted for. retry: also what would fail again by itself. wait: until nothing is queued.
        """
        ...

    def rerun(self, graph: Graph, store: Store, names: Sequence[str], wait: bool = False) -> RunReport:
        """As `run`, of results that are computed again in a store of their own: what failed is tried anew."""
        ...
