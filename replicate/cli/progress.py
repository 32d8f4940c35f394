"""Progress of running jobs, as a person sees it: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from replicate.backends.backend import Listener, Reporter, share_of
from replicate.text import duration, plural

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from replicate.jobs.job import Job


@dataclass(slots=True)
class Estimate:
    """Seconds of work left, corrected by how the jobs so far compared with what was expected of them."""

    workers: int
    left: dict[str, float]
    expected: float = 0.0
    taken: float = 0.0

    def done(self, job: Job, seconds: float) -> None:
        self.left.pop(job.key, None)
        self.expected += job.seconds
        self.taken += seconds

    def progressed(self, job: Job, share: float) -> None:
        if job.key in self.left:
            self.left[job.key] = job.seconds * (1.0 - share)

    @property
    def seconds(self) -> float:
        ratio = self.taken / self.expected if self.expected > 0 else 1.0
        return ratio * sum(self.left.values()) / self.workers


@dataclass(slots=True)
class Lines(Listener):
    """For logs and pipes: a line when a job ends."""

    estimate: Estimate
    total: int
    quiet: bool = False
    count: int = 0

    def __enter__(self) -> Lines:
        self.said(f"{plural(self.total, 'job')} to run; loading torch (once)")
        return self

    def __exit__(self, *_: object) -> None:
        return

    def progressed(self, job: Job, progress: Mapping[str, object]) -> None:
        self.estimate.progressed(job, share_of(progress))

    def finished(self, job: Job, seconds: float, processors: int = 1) -> None:
        self.count += 1
        self.estimate.done(job, seconds * processors)
        left = f", about {duration(self.estimate.seconds)} left" if self.count < self.total else ""
        self.said(f"[{self.count}/{self.total}] {job.key} {seconds:.1f} s{left}")

    def failed(self, job: Job, reason: str) -> None:
        self.estimate.done(job, 0.0)
        self.said(f"{job.key} failed: {reason}")

    def said(self, message: str) -> None:
        if not self.quiet:
            print(message, flush=True)


@dataclass(slots=True)
class Bars(Listener):
    """For a terminal: a bar for the whole, and one for each running job."""

    estimate: Estimate
    total: int
    _progress: Progress = field(init=False)
    _whole: TaskID = field(init=False)
    _bars: dict[str, TaskID] = field(default_factory=dict)
    _shown: float = 0.0

    def __enter__(self) -> Bars:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            transient=True,
        )
        self._whole = self._progress.add_task("loading torch (once)", total=self.total, note="")
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def started(self, job: Job) -> None:
        name = job.key.rpartition("-")[0]
        self._bars[job.key] = self._progress.add_task(f"  {name}", total=1.0, note="")
        self._tell()

    def progressed(self, job: Job, progress: Mapping[str, object]) -> None:
        share = share_of(progress)
        self.estimate.progressed(job, share)
        note = f"loss {progress['loss']:.3f}" if "loss" in progress else ""
        if job.key in self._bars:
            self._progress.update(self._bars[job.key], completed=share, note=note)
        # The estimate moves slowly; redrawn twice a second it would only flicker.
        if time.monotonic() - self._shown > 1.0:
            self._tell()

    def finished(self, job: Job, seconds: float, processors: int = 1) -> None:
        self.estimate.done(job, seconds * processors)
        self._drop(job)
        self._progress.advance(self._whole)
        self._tell()

    def failed(self, job: Job, reason: str) -> None:
        self.estimate.done(job, 0.0)
        self._drop(job)
        self._progress.console.print(f"[red]{job.key} failed:[/red] {reason}", markup=True, highlight=False)

    def said(self, message: str) -> None:
        self._progress.console.print(message, markup=False, highlight=False)

    def _drop(self, job: Job) -> None:
        if job.key in self._bars:
            self._progress.remove_task(self._bars.pop(job.key))

    def _tell(self) -> None:
        self._shown = time.monotonic()
        done = int(self._progress.tasks[0].completed)
        self._progress.update(
            self._whole,
            description=f"{done}/{self.total} jobs",
            note=f"about {duration(self.estimate.seconds)} left",
        )


@dataclass(frozen=True, slots=True)
class Terminal(Reporter):
    """Reports on standard output, of which with ``quiet`` (--json) nothing is used: it is for another program."""

    quiet: bool = False

    def say(self, message: str) -> None:
        if not self.quiet:
            click.echo(message)

    def jobs(self, workers: int, seconds: Mapping[str, float]) -> Bars | Lines:
        estimate = Estimate(workers, dict(seconds))
        if sys.stderr.isatty() and sys.stdout.isatty() and not self.quiet:
            return Bars(estimate, len(seconds))
        return Lines(estimate, len(seconds), quiet=self.quiet)
