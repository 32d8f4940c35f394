"""The state of every job of a graph, from the store and from Slurm's queue."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, assert_never

from replicate.backends.backend import JobStates, JobView, State
from replicate.backends.slurm import cancelled
from replicate.backends.slurm.attempt import ENVIRONMENT, attempts
from replicate.backends.slurm.bad_nodes import bad_nodes
from replicate.backends.slurm.ending import CANCELLED, ENDINGS, Detail, advice, killed_for_memory, meaning, task_logs
from replicate.backends.slurm.prologue import SETUP, SETUP_FAILED, SetupFailure, note_of
from replicate.backends.slurm.queue import Queue, Row
from replicate.backends.slurm.submission import Submission, Task, mine, note_job
from replicate.backends.worker import Outcome
from replicate.jobs.job import Job
from replicate.store import lease
from replicate.store.files import read_json
from replicate.store.lease import Owner
from replicate.store.store import PROGRESS, RETRIED
from replicate.text import plural

if TYPE_CHECKING:
    from replicate.judge.table import State as CellState

_YOUNG = 60.0
"""Seconds for which a squeue that shows no submission says nothing: sites keep its answers for a while."""
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
    _missing: dict[str, set[int]] = field(default_factory=dict)
    """By submission: elements that never started and are in no answer of Slurm's."""
    _cancelled: Mapping[str, str] = field(default_factory=dict)
    _clock: float = 0.0

    ABSENT: ClassVar[str] = "not submitted"

    def __post_init__(self) -> None:
        self.store.note_absent(self.graph.jobs)
        # What is done has no use for its history.
        since = {key: _dated(self._retried(key)) for key in self.graph.jobs if self.store.result(key) is None}
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
        self._cancelled = cancelled.read(self.store.root, self.graph.jobs)
        for job in self.graph:
            self.views[job.key] = self._view(job)

    def _retried(self, key: str) -> float:
        """When `retry` last forgave ``key``, by the file system's clock."""
        if key in self.store.absent:
            return 0.0
        try:
            return (self.store.folder(key) / RETRIED).stat().st_mtime
        except OSError:
            return 0.0

    def gone(self, owner: Owner, silence: float) -> bool:
        """Whether the task that took a lease has ended, by Slurm: see `replicate.store.lease.Gone`."""
        task = Task.of(owner.task)
        if task is None or not mine(self.store.root, task.submission):
            return False
        return self.queue.ended(task, silence, self.lost_seconds)

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

    def silent(self) -> list[tuple[Task, Row]]:
        """What accounting alone calls alive, and what gave no sign of life for long: for `queue.forget`."""
        return [
            (view.task, view.row)
            for key, view in self.views.items()
            if view.task is not None and view.row is not None and view.row.unconfirmed
            if min(self._silence(key), self._age(view.task)) > self.lost_seconds
            if not lease.holder(self.store.folder(key)) or lease.silence(self.store.folder(key)) > self.lost_seconds
        ]

    def note_unseen(self) -> None:
        """Write down since when elements are in no answer of Slurm's, so that a later step knows how long that is."""
        for submission in self.submissions:
            missing = self._missing.get(submission.name, ())
            others = {
                index: since
                for index, since in submission.unseen.items()
                if not any(key in self.views for key in submission.tasks.get(index, ()))
            }
            unseen = others | {index: self._unseen_since(submission, index) for index in missing}
            if unseen != submission.unseen:
                note_job(submission.folder, submission.job, submission.doubt, unseen)

    def doubts(self) -> list[str]:
        """What squeue alone does not say, in one line for each reason."""
        found: dict[str, list[str]] = {}
        for view in self.views.values():
            if view.state in ("pending", "running") and view.task and (view.row is None or view.row.unconfirmed):
                found.setdefault(re.sub(r"[\d.]+", "", view.why), []).append(view.why)
        return [f"{plural(len(every), 'job')}: {every[0]}" for every in found.values()]

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

    def remarks(self) -> list[str]:
        return [str(node) for node in bad_nodes(self.store.root)]

    def line(self, key: str) -> str:
        view = self.views[key]
        number = f", job {view.row.id}" if view.row else ""
        if view.state == "pending":
            reason = f" ({meaning(view.why)})" if view.row and view.why == view.row.reason else ""
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
        begun = job.key not in self.store.absent
        if begun and lease.holder_alive(self.store.folder(job.key), self.store.gone):
            return self._held_by(job)
        if job.key in self.store.damage:
            return JobView("damaged", self.store.damage[job.key])
        if job.key in self._cancelled:
            row = rows[-1][1] if rows else None
            why = f"cancelled by {self._cancelled[job.key]}; `table` or `retry` submits it again"
            return JobView("absent", why, CANCELLED, again=False, row=row, task=elements[-1][0] if elements else None)
        stopped = self._stopped(job)
        if stopped:
            return self._held(job, stopped)
        failure = self.store.failure(job.key) if begun else {}
        last = elements[-1][0] if elements else None
        row = self.queue.rows.get(last) if last else None
        if failure:
            again = bool(failure.get("retry", True)) and self._tries(job.key) < TRIES
            kind = str(failure.get("kind", "error"))
            return self._held(job, JobView("failed", self.store.trouble(job.key), kind, again, row, last))
        if last is None:
            return self._held(job, JobView("absent"))
        return self._held(job, self._ended(job, last, row, self._tries(job.key)))

    def _held_by(self, job: Job) -> JobView:
        """The view of a job that squeue does not show, and whose claim a living process holds."""
        owner = lease.holder(self.store.folder(job.key))
        if owner is None or not owner.task:
            return JobView("running", "computed by a process outside the queue")
        silence = lease.silence(self.store.folder(job.key))
        return JobView("running", f"squeue does not show it, but it gave a sign of life {silence:.0f} s ago")

    def _live(self, job: Job, task: Task, row: Row) -> JobView:
        if row.unconfirmed:
            why = f"sacct says {row.state}, though squeue does not show it"
            return JobView("pending" if row.waiting else "running", why, row=row, task=task)
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
            if setup is None and row and row.detail and row.detail.exit.startswith(f"{SETUP_FAILED}:"):
                # The disk had no room for the note.
                setup = SetupFailure()
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
        if row is not None:
            full = row.state == "FAILED" and self._disk_was_full(job.key, task)
            return self._from(job, replace(row, state="DISK_FULL") if full else row, task, tries)
        silence, patience = self._silence(job.key), self.queue.patience(task, self.lost_seconds)
        if silence < patience:
            return JobView("running", f"not in the queue, but gave a sign of life {silence:.0f} s ago", task=task)
        # Silence alone means little: squeue may be a site's copy that is a minute old, or have had too much to do.
        two = task.submission in self.queue.asked
        known = "neither squeue nor sacct shows it" if two else "squeue does not show it, and sacct does not answer"
        submission = self._of_key[job.key][-1][0]
        if silence < math.inf or task_logs(submission, job.key):
            lost = self._from(job, Row(str(task), "LOST"), task, tries)
            return replace(lost, why=f"{lost.why} ({known}; silent for {_time(silence)})")
        age = self._age(task)
        if not submission.job:
            if submission.doubt and age < self.lost_seconds:
                why = f"Slurm did not say whether it took it ({submission.doubt}); it is looked for by its name"
                return JobView("pending", why, task=task)
            # Its submitter was stopped before sbatch, or Slurm lost everything it knew.
            return JobView("absent", "its submission did not reach Slurm", task=task)
        if age < _YOUNG:
            return JobView("pending", f"submitted {age:.0f} s ago, and not shown by squeue yet", task=task)
        # What waits for a job that failed is cancelled by Slurm (--kill-on-invalid-dep).
        if not two and not any(self.views[key].state in ("failed", "lost") for key in job.inputs.values()):
            self._missing.setdefault(submission.name, set()).add(task.index)
            gone = self._now() - self._unseen_since(submission, task.index)
            if gone < self.lost_seconds:
                left = _time(self.lost_seconds - gone)
                return JobView("pending", f"{known}; submitted again if that is so for {left} more", task=task)
        # Accounting does not list what was cancelled while it waited for others.
        return JobView("absent", f"it left the queue before it started ({known})", CANCELLED, task=task)

    def _disk_was_full(self, key: str, task: Task) -> bool:
        """Whether an exit code says what no file could: none can be made where the disk has no inode left."""
        for folder in attempts(self.store.folder(key))[-1:]:
            noted = read_json(folder / ENVIRONMENT)
            if noted.get("task") == str(task) and "exit" in noted:
                return bool(noted["exit"] == Outcome.DISK_FULL)
        row = self.queue.rows.get(task)
        return row is not None and row.detail is not None and row.detail.exit.startswith(f"{Outcome.DISK_FULL}:")

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
            if other.kind == CANCELLED and not other.again:
                why = f"it waits for {key}, which was cancelled"
                return JobView("absent", why, CANCELLED, again=False, row=view.row, task=view.task)
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

    def _silence(self, key: str) -> float:
        """Seconds since ``key`` last wrote its progress, else its logs; endless where it never wrote."""
        paths = [self.store.folder(key) / PROGRESS, *(task_logs(self._of_key[key][-1][0], key))]
        for path in paths:
            with suppress(OSError):
                silence = self._now() - path.stat().st_mtime
                if silence < -_AHEAD:
                    # Dated by a clock that was ahead, it would be a sign of life until then. From now on it ages.
                    os.utime(path)
                return max(silence, 0.0)
        return math.inf

    def _age(self, task: Task) -> float:
        """Seconds since ``task`` was submitted."""
        when = next(each.when for each in self.submissions if each.name == task.submission)
        return self._now() - _dated(when)

    def _unseen_since(self, submission: Submission, index: int) -> float:
        since = submission.unseen.get(index, math.inf)
        return since if since < self._now() + _AHEAD else self._now()

    def _now(self) -> float:
        """The time by the file system's clock, read once."""
        if not self._clock:
            try:
                self._clock = lease.file_clock(self.store.root)
            except OSError:
                self._clock = time.time()
        return self._clock


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _given_up(view: JobView) -> bool:
    return view.state in ("failed", "lost") and not view.again


def _dated(when: float) -> float:
    """``when``, or 0 where it is still to come: the clock that gave it was ahead, so it says nothing of the order."""
    return when if when < time.time() + _AHEAD else 0.0
