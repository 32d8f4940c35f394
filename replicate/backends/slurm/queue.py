"""What squeue, sacct and scontrol say of the elements of our submissions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from replicate.backends.slurm.client import Client, user
from replicate.backends.slurm.ending import Detail
from replicate.backends.slurm.submission import Submission, Task, submission_of
from replicate.store.lease import HEARTBEAT

LIVE = frozenset(["PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "RESIZING", "SIGNALING", "STOPPED"])
LIVE |= {"POWER_UP_NODE", "EXPEDITING", "UPDATE_DB", "RECONFIG_FAIL"}
LIVE |= {"REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD", "STAGE_OUT"}
WAITING = frozenset(["PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"])

_FIELDS = "%i|%A|%T|%r|%S|%N|%M|%q|%a|%j|%k"
"""The name and the comment stand last: a site or a user may write a bar into them."""
_ACCOUNT = "JobID,JobName,State,ExitCode,NodeList,Elapsed,Reason,ReqMem,End"
_QUIET = 2 * HEARTBEAT
"""Seconds after which the holder of a lease has missed a sign of life."""


@dataclass(frozen=True, slots=True)
class Row:
    """One element as Slurm sees it. ``id`` is what scontrol and scancel take (``12_3``).

    ``reason``: why it waits, or why it ended. ``seconds``: it ran, so far. ``detail``: from accounting only.
    """

    id: str
    state: str
    reason: str = ""
    start: str = ""
    node: str = ""
    detail: Detail | None = None
    seconds: float | None = None

    @property
    def live(self) -> bool:
        return self.state in LIVE

    @property
    def waiting(self) -> bool:
        return self.state in WAITING

    @property
    def unconfirmed(self) -> bool:
        """Whether accounting calls it alive, and squeue does not show it."""
        return self.live and self.detail is not None


@dataclass(slots=True)
class Queue:
    """``rows``: the elements of our submissions that squeue or sacct know. ``live``: how many jobs of this user are
    queued or run, by QOS and account.

    ``accounting``: None before sacct was asked, then whether it answered; ``asked``: about which submissions.
    """

    rows: dict[Task, Row] = field(default_factory=dict)
    live: Counter[tuple[str, str]] = field(default_factory=Counter)
    accounting: bool | None = None
    asked: set[str] = field(default_factory=set)

    def counted(self, qos: str = "", account: str = "") -> int:
        """Jobs of this user that are queued or run; of this QOS, of this account, where they are given."""
        return sum(
            count
            for (its_qos, its_account), count in self.live.items()
            if not (qos and its_qos and its_qos != qos) and not (account and its_account and its_account != account)
        )

    def ended(self, task: Task, silence: float, lost_seconds: float) -> bool:
        """Whether the process of ``task``, which gave a sign of life ``silence`` seconds ago, has surely ended.

        Slurm says so, or neither squeue nor sacct know the task and it missed a sign of life, or, where only squeue
        was asked, it was silent for ``lost_seconds``.
        """
        row = self.rows.get(task)
        if row is not None:
            return not row.live or row.waiting
        return silence > self.patience(task, lost_seconds)

    def patience(self, task: Task, lost_seconds: float) -> float:
        """How long ``task`` may be silent that is in none of ``rows``."""
        return min(_QUIET, lost_seconds) if task.submission in self.asked else lost_seconds


def look(client: Client, names: Collection[str] = ()) -> Queue:
    """One squeue, of hidden partitions too. names: of submissions, to complete those that a site cut short.

    Errors: `ClusterDown`.
    """
    queue = Queue()
    out = client.ask("squeue", "-a", "-h", "-r", "-u", user(), "--states=all", "-o", _FIELDS)
    for line in out.splitlines():
        parts = line.split("|", 9)
        if len(parts) < 10:
            continue
        shown, _, state, reason, start, node, elapsed, qos, account, text = parts
        queue.live[_word(qos), _word(account)] += state in LIVE
        name = submission_of(text, names)
        if name is None:
            continue
        # A site's own squeue may show all that waits in one line, as Slurm's does without -r.
        for index in indices_of(shown):
            task = Task(name, index)
            row = queue.rows.get(task)
            if row is None or not row.live:
                number = f"{shown.partition('_')[0]}_{index}"
                begins = "" if start == "N/A" else start
                queue.rows[task] = Row(number, state, reason, begins, node, seconds=_seconds(elapsed))
    return queue


def ask_accounting(client: Client, queue: Queue, submissions: Iterable[Submission]) -> None:
    """Add what sacct knows of the elements of ``submissions`` that squeue does not show.

    They are matched by the name of the job: numbers come again. Where sacct does not answer, nothing is added.
    """
    wanted = {submission.job_name: submission for submission in submissions}
    if not wanted:
        return
    names = ",".join(wanted)
    # A day is added because the clocks of this machine, the store and the database may differ.
    oldest = datetime.fromtimestamp(min(task.when for task in wanted.values())) - timedelta(days=1)
    since = oldest.strftime("%Y-%m-%dT%H:%M:%S")
    out = client.optional("sacct", "-X", "-P", "-n", "-D", "-u", user(), f"--name={names}", "-S", since, "-o", _ACCOUNT)
    queue.accounting = out is not None
    if out is None:
        return
    queue.asked |= {submission.name for submission in wanted.values()}
    for line in out.splitlines():
        parts = line.split("|")
        if len(parts) != 9 or parts[1] not in wanted:
            continue
        shown, name, state, code, node, elapsed, reason, memory, _ = parts
        for index in indices_of(shown):
            task = Task(wanted[name].name, index)
            if task not in queue.rows or queue.rows[task].detail is not None:
                number = f"{shown.partition('_')[0]}_{index}"
                detail = Detail(code, elapsed, memory)
                queue.rows[task] = Row(number, state.partition(" ")[0], reason, "", node, detail, _seconds(elapsed))


def confirm(client: Client, queue: Queue, submissions: Collection[Submission]) -> None:
    """Ask squeue once more about what accounting calls alive and squeue did not show.

    A job may end between two questions, and a squeue under load, or one that keeps its answers for a while, may say
    nothing of it.
    """
    if any(row.unconfirmed for row in queue.rows.values()):
        again = look(client, [submission.name for submission in submissions])
        queue.rows |= again.rows
        queue.live = again.live


def forget(client: Client, queue: Queue, silent: Iterable[tuple[Task, Row]]) -> None:
    """Call those of ``silent`` lost of which the controller itself says that it does not know them.

    silent: what accounting calls alive. It goes on doing so where the controller lost its state, until an
    administrator repairs it.
    """
    known: dict[str, bool] = {}
    for task, row in silent:
        array = row.id.partition("_")[0]
        if array not in known:
            known[array] = _knows(client, task.submission, array)
        if not known[array] or not _knows(client, task.submission, row.id):
            queue.rows[task] = replace(row, state="LOST")


def _knows(client: Client, name: str, number: str) -> bool:
    answer = client.call("scontrol", "show", "job", "-o", number)
    if answer.code:
        return "Invalid job id" not in answer.said
    # The number may be another job's by now.
    names = re.findall(r"JobName=(\S+)", answer.out)
    return not names or any(submission_of(found, [name]) == name for found in names)


def find(client: Client, name: str) -> str | None:
    """Slurm's number of the array of submission ``name``; None where squeue does not show it. Errors: `ClusterDown`."""
    for task, row in look(client, [name]).rows.items():
        if task.submission == name:
            return row.id.partition("_")[0]
    return None


def _word(column: str) -> str:
    """A name that squeue prints; empty where it has none."""
    return "" if column in ("(null)", "N/A") or column.startswith("%") else column


def _seconds(elapsed: str) -> float | None:
    """``1-02:03:04``, ``02:03`` and the like, as squeue prints how long a job ran."""
    found = re.fullmatch(r"(?:(\d{1,6})-)?(?:(\d{1,3}):)?(\d{1,3}):(\d{2})", elapsed.strip(), re.ASCII)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 86400.0 * days + 3600.0 * hours + 60.0 * minutes + seconds


def indices_of(shown: str) -> list[int]:
    """The elements that an id speaks of: ``7_3``, or ``7_[4-6,9%2]`` of elements that never started."""
    _, _, index = shown.partition("_")
    indices: list[int] = []
    for part in re.sub(r"%\d+", "", index.strip("[]")).split(","):
        # ``0-8:2`` is how sbatch may be asked, and long lists end in dots.
        found = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?(?::(\d{1,9}))?", part, re.ASCII)
        if found:
            first, last = int(found[1]), int(found[2] or found[1])
            indices += range(first, min(last, first + _LONGEST) + 1, int(found[3] or 1) or 1)
    return indices


_LONGEST = 4_000_000
"""Elements of the longest array that Slurm allows (MaxArraySize), so that a garbled line cannot fill the memory."""
