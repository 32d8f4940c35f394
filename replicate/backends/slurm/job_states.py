"""The state of every job of a graph, from the store and from Slurm's queue."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, assert_never

from replicate.backends.backend import JobStates, JobView, State
from replicate.backends.slurm.client import Queue, Row
from replicate.backends.slurm.ending import ENDINGS, Detail, advice, killed_for_memory, meaning, task_logs
from replicate.backends.slurm.prologue import SETUP, SetupFailure, note_of
from replicate.backends.slurm.submission import Submission, Task, mine
from replicate.jobs.job import Job
from replicate.store import lease
from replicate.store.lease import Owner
from replicate.store.store import PROGRESS, RETRIED, Store

if TYPE_CHECKING:
    from replicate.judge.table import State as CellState

TRIES = 3
"""How often a job is submitted that ends without a result, before somebody has to look (`retry` begins anew)."""
_AHEAD = 3600.0
"""Seconds by which the clock of a file server may be ahead of this machine's."""


@dataclass(slots=True)
class QueuedStates(JobStates):
    """States of jobs that may be in Slurm's queue.

    submissions: those not put away, oldest first. lost_seconds: how long a job may give no sign of life.
    """

    queue: Queue
    submissions: list[Submission]
    lost_seconds: float
    _of_key: dict[str, list[tuple[Submission, int]]] = field(default_factory=dict)

    ABSENT: ClassVar[str] = "not submitted"

    def __post_init__(self) -> None:
        since = {job.key: _dated(_retried(self.store, job.key)) for job in self.graph}
        for submission in self.submissions:
            when = _dated(submission.when)
            for index, keys in submission.tasks.items():
                row = self.queue.rows.get(Task(submission.name, index))
                for key in keys:
                    if key not in since:
                        continue
                    if not since[key] or when > since[key] or (row is not None and row.live):
                        self._of_key.setdefault(key, []).append((submission, index))
        self.store.gone = self.gone
        for job in self.graph:
            self.views[job.key] = self._view(job)

    def gone(self, owner: Owner) -> bool:
        """Whether the task that took a lease has ended, by squeue: see `replicate.store.lease.Gone`."""
        task = Task.of(owner.task)
        if task is None or not mine(self.store.root, task.submission):
            return False
        row = self.queue.rows.get(task)
        return row is None or not row.live or row.waiting

    def live(self, submission: Submission) -> dict[int, Row]:
        """The elements of ``submission`` that are queued or run."""
        rows = {index: self.queue.rows.get(Task(submission.name, index)) for index in submission.tasks}
        return {index: row for index, row in rows.items() if row is not None and row.live}

    def unseen(self) -> list[Submission]:
        """Submissions with jobs that have no result and that the queue does not show: what sacct is asked about."""
        return [
            submission
            for submission in self.submissions
            if any(
                Task(submission.name, index) not in self.queue.rows
                and any(key in self.views and self.views[key].state != "done" for key in keys)
                for index, keys in submission.tasks.items()
            )
        ]

    def settled(self) -> list[Submission]:
        """Submissions that need not be read again: none of their jobs is queued or runs, and all have results."""
        return [
            submission
            for submission in self.submissions
            if not self.live(submission)
            and all(self.store.result(key) is not None for keys in submission.tasks.values() for key in keys)
        ]

    def submissions_of(self, key: str) -> list[Submission]:
        return [submission for submission, _ in self._of_key.get(key, [])]

    @property
    def accounting(self) -> bool | None:
        return self.queue.accounting

    def failures(self) -> dict[str, str]:
        return {key: view.why for key, view in self.views.items() if _given_up(view)}

    def elsewhere(self) -> dict[str, tuple[CellState, str]]:
        found: dict[str, tuple[CellState, str]] = {}
        for key, view in self.views.items():
            match view.state:
                case "pending" | "running":
                    found[key] = (view.state, self.line(key))
                case "blocked":
                    found[key] = ("failed", view.why)
                case "failed" | "lost":
                    found[key] = ("failed" if _given_up(view) else "pending", view.why)
                case "done" | "damaged" | "absent":
                    continue
                case _:
                    assert_never(view.state)
        return found

    def in_a_table(self, key: str) -> str:
        view = self.views[key]
        if view.state in ("failed", "lost"):
            return "failed" if _given_up(view) else "pending"
        return "absent" if view.state in ("damaged", "blocked") else view.state

    def line(self, key: str) -> str:
        view = self.views[key]
        number = f", job {view.row.id}" if view.row else ""
        if view.state == "pending":
            reason = f" ({meaning(view.why)})" if view.row else ""
            start = f", expected {view.row.start}" if view.row and view.row.start else ""
            return f"queued: {view.why}{reason}{start}{number}"
        return JobStates.line(self, key) + (number if view.state == "running" else "")

    def _view(self, job: Job) -> JobView:
        if self.store.result(job.key) is not None:
            return JobView("done")
        elements = [(Task(submission.name, index), submission) for submission, index in self._of_key.get(job.key, [])]
        rows = [(task, row) for task, _ in elements if (row := self.queue.rows.get(task)) is not None]
        for task, row in rows:
            if row.live:
                return self._live(job, task, row)
        if lease.holder_alive(self.store.folder(job.key), self.store.gone):
            return JobView("running", "computed by a process outside the queue")
        if job.key in self.store.damage:
            return JobView("damaged", self.store.damage[job.key])
        stopped = self._stopped(job)
        if stopped:
            return self._held(job, stopped)
        failure = self.store.failure(job.key)
        last = elements[-1][0] if elements else None
        row = self.queue.rows.get(last) if last else None
        if failure:
            again = bool(failure.get("retry", True)) and self._tries(job.key) < TRIES
            kind = str(failure.get("kind", "error"))
            return self._held(job, JobView("failed", self.store.trouble(job.key), kind, again, row, last))
        if last is None:
            return self._held(job, JobView("absent"))
        return self._held(job, self._ended(job, last, row, self._tries(job.key)))

    def _live(self, job: Job, task: Task, row: Row) -> JobView:
        if row.waiting:
            return JobView("pending", row.reason, row=row, task=task)
        owner = lease.holder(self.store.folder(job.key))
        if owner is not None and owner.task == str(task):
            return JobView("running", f"on {row.node}", row=row, task=task)
        # It shares its allocation with others, which come first, or is still loading torch.
        return JobView("running", f"starting on {row.node}", row=row, task=task)

    def _stopped(self, job: Job) -> JobView | None:
        """An ending that counts whatever the job itself wrote: out of memory, what would have written was killed."""
        for submission, index in self._of_key.get(job.key, [])[-1:]:
            task = Task(submission.name, index)
            row = self.queue.rows.get(task)
            setup = SetupFailure.read(note_of(submission.folder, index))
            if setup is not None:
                # It would fail again, on every node: whoever corrects the profile says `retry`.
                node = f" on {row.node}" if row is not None and row.node else ""
                return JobView("failed", f"{setup.what}{node}; {setup.help}, then: retry", SETUP, False, row, task)
            if row is not None and row.state == "FAILED" and not self.store.failure(job.key):
                memory = killed_for_memory(submission, job.key)
                if memory is not None:
                    detail = replace(row.detail or memory, memory=memory.memory, peak=memory.peak)
                    row = replace(row, state="OUT_OF_MEMORY", detail=detail)
            if row is not None and row.state == "OUT_OF_MEMORY":
                return self._from(job, row, task, tries=1)
        return None

    def _ended(self, job: Job, task: Task, row: Row | None, tries: int) -> JobView:
        if row is None:
            age = self._silence(job)
            if age is not None and age < self.lost_seconds:
                return JobView("running", f"not in the queue, but gave a sign of life {age:.0f} s ago", task=task)
            if not self._of_key[job.key][-1][0].job:
                # Its submitter was stopped before sbatch, or Slurm lost everything it knew.
                return JobView("absent", "its submission did not reach Slurm", task=task)
            if not task_logs(self._of_key[job.key][-1][0], job.key):
                # Accounting does not list what was cancelled while it waited for others.
                return JobView("absent", "it left the queue before it started", "cancelled", task=task)
            row = Row(str(task), "LOST")
        return self._from(job, row, task, tries)

    def _from(self, job: Job, row: Row, task: Task, tries: int) -> JobView:
        ending = ENDINGS.get(row.state, ENDINGS["FAILED"])
        at = f" on {row.node}" if row.node and row.node != "None assigned" else ""
        detail = row.detail or Detail()
        after = f" after {detail.elapsed}" if detail.elapsed else ""
        code = f" (exit {detail.exit})" if ending.kind == "error" and detail.exit else ""
        hint = advice(ending.kind, detail, job.kind)
        why = f"{row.state}{at}{after}{code}: {ending.meaning}" + (f"; {hint}" if hint else "")
        again = ending.action == "again" and tries < TRIES
        if ending.action == "again" and not again:
            why += f"; submitted {tries} times: look at its log, then: retry"
        state: State = "lost" if row.state == "LOST" else "failed"
        if row.state == "CANCELLED":
            state = "absent" if again else "failed"
        return JobView(state, why, ending.kind, again, row, task)

    def _held(self, job: Job, view: JobView) -> JobView:
        """``view``, unless an input failed for good: then the job waits for it."""
        if view.state == "failed" and not view.again:
            return view
        for key in job.inputs.values():
            other = self.views[key]
            if other.state == "blocked" or (other.state in ("failed", "lost") and not other.again):
                culprit = other.why if other.state == "blocked" else f"blocked by {key}: {other.why}"
                return JobView("blocked", culprit, again=False, row=view.row, task=view.task)
        return view

    def _tries(self, key: str) -> int:
        """Submissions of ``key`` that ended without a result, except those cancelled because an input failed."""
        tries = 0
        for submission, index in self._of_key.get(key, []):
            row = self.queue.rows.get(Task(submission.name, index))
            tries += bool(task_logs(submission, key)) if row is None else row.state != "CANCELLED"
        return tries

    def _silence(self, job: Job) -> float | None:
        """Seconds since ``job`` last wrote its progress, by the file system's clock; None where it never did."""
        folder = self.store.folder(job.key)
        try:
            return lease.file_clock(self.store.root) - (folder / PROGRESS).stat().st_mtime
        except OSError:
            return None


def _given_up(view: JobView) -> bool:
    return view.state in ("failed", "lost") and not view.again


def _dated(when: float) -> float:
    """``when``, or 0 where it is still to come: the clock that gave it was ahead, so it says nothing of the order."""
    return when if when < time.time() + _AHEAD else 0.0


def _retried(store: Store, key: str) -> float:
    try:
        return (store.folder(key) / RETRIED).stat().st_mtime
    except OSError:
        return 0.0
