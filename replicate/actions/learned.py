"""What jobs take on a device, learned from the finished ones; estimates of a scale are another device's.

A file by itself: it reads results, while `replicate.actions.estimate` adds up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from replicate.errors import Unreadable
from replicate.jobs.job import Job
from replicate.specs.load import Specs
from replicate.store.provenance import processor_name
from replicate.store.result import Result
from replicate.store.store import Store

Likeness = tuple[str, ...]
"""What two jobs have in common: their kind, then their network and resolution, or their run."""


@dataclass(slots=True)
class Took:
    """Seconds that jobs were expected to take, and that they took."""

    jobs: int = 0
    expected: float = 0.0
    taken: float = 0.0


@dataclass(slots=True)
class Learned:
    """What finished jobs took on ``device``, by what they have in common with others."""

    specs: Specs
    device: str
    took: dict[Likeness, Took] = field(default_factory=dict)
    jobs: int = 0

    def add(self, job: Job, seconds: float) -> None:
        """Learn that ``job`` took ``seconds`` of one processor."""
        self.jobs += 1
        for likeness in self._likenesses(job):
            took = self.took.setdefault(likeness, Took())
            took.jobs, took.taken = took.jobs + 1, took.taken + seconds
            took.expected += job.seconds

    def seconds(self, job: Job) -> float | None:
        """Seconds of one processor that ``job`` takes; None if nobody knows.

        By the finished jobs of the same run and another seed, else of the same network, else of the same kind, as they
        took more or less than was expected of them; without any, as the scale says.
        """
        for likeness in self._likenesses(job):
            took = self.took.get(likeness)
            if took is None:
                continue
            if not job.estimated:
                # What nobody expected of a network of another run is no measure.
                return took.taken / took.jobs if len(likeness) == _RUN else None
            if took.expected > 0:
                return job.seconds * took.taken / took.expected
        return job.seconds if job.estimated else None

    def knows(self, job: Job) -> bool:
        """Whether a finished job says what ``job`` takes."""
        return any(likeness in self.took for likeness in self._likenesses(job))

    def _likenesses(self, job: Job) -> Iterable[Likeness]:
        """From the closest one on."""
        run = self.specs.runs.runs.get(job.run)
        if run is not None:
            yield (job.kind, run.model, str(run.resolution), job.run)
            yield (job.kind, run.model, str(run.resolution))
        yield (job.kind,)


_RUN = 4


def learn(specs: Specs, store: Store, finished: Iterable[Job]) -> Learned:
    """Learn from ``finished`` jobs: at a scale for CPUs on this processor, else on the GPU that made most of them."""
    results = [(job, result) for job in finished if (result := _result(store, job.key)) is not None]
    if specs.scale.device == "cpu":
        device = processor_name()
    else:
        made = Counter(result.made.device for _, result in results if result.made.machine.kind == "cuda")
        device = made.most_common(1)[0][0] if made else processor_name()
    learned = Learned(specs, device)
    for job, result in results:
        seconds = _seconds(store, job, result)
        if device and result.made.device == device and seconds > 0:
            learned.add(job, seconds)
    return learned


def _result(store: Store, key: str) -> Result | None:
    try:
        return store.result(key)
    except Unreadable:
        return None


def _seconds(store: Store, job: Job, result: Result) -> float:
    """Seconds of one processor. The cost is of the last process alone, epochs are of all that a training had."""
    epochs = sum(line.seconds for line in store.epochs(job.key)) if job.resumable else 0.0
    return max(result.cost.get("wall_seconds", 0.0), epochs) * (result.made.machine.processes or 1)
