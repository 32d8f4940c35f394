"""What Slurm says of our jobs: one squeue for all of them, one sacct for those that squeue has forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from replicate.errors import ClusterDown
from replicate.launch.slurm.client import Client, user
from replicate.launch.slurm.submission import Submission, Task, submission_of

LIVE = frozenset(["PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "RESIZING", "SIGNALING", "STOPPED"])
LIVE |= {"REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD", "STAGE_OUT"}
WAITING = frozenset(["PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"])

_FIELDS = "%i|%A|%T|%r|%S|%N|%k"
_ACCOUNT = "JobID,JobName,State,ExitCode,NodeList,Elapsed,Reason,ReqMem,End"


@dataclass(frozen=True, slots=True)
class Row:
    """One element as Slurm sees it. ``id`` is what scontrol and scancel take (``12_3``).

    ``reason``: why it waits, or why it ended. ``detail``: exit code and memory, from accounting only.
    """

    id: str
    state: str
    reason: str = ""
    start: str = ""
    node: str = ""
    detail: Mapping[str, str] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        return self.state in LIVE

    @property
    def waiting(self) -> bool:
        return self.state in WAITING


@dataclass(slots=True)
class Queue:
    """``rows``: the elements of our submissions that squeue or sacct know. ``count``: all this user's live jobs.

    ``accounting``: None before sacct was asked, then whether it answered.
    """

    rows: dict[Task, Row] = field(default_factory=dict)
    count: int = 0
    accounting: bool | None = None


def look(client: Client) -> Queue:
    """One squeue. Errors: `ClusterDown`."""
    queue = Queue()
    out = client.ask("squeue", "-h", "-r", "-u", user(), "--states=all", "-o", _FIELDS)
    for line in out.splitlines():
        parts = line.split("|", 6)
        if len(parts) < 7:
            continue
        shown, _, state, reason, start, node, text = parts
        queue.count += state in LIVE
        name, index = submission_of(text), re.search(r"_(\d+)$", shown)
        if name and index:
            task = Task(name, int(index[1]))
            known = queue.rows.get(task)
            if known is None or not known.live:
                queue.rows[task] = Row(shown, state, reason, "" if start == "N/A" else start, node)
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
    oldest = datetime.fromtimestamp(min(one.when for one in wanted.values())) - timedelta(days=1)
    since = oldest.strftime("%Y-%m-%dT%H:%M:%S")
    try:
        answer = client.call(
            "sacct", "-X", "-P", "-n", "-D", "-u", user(), f"--name={names}", "-S", since, "-o", _ACCOUNT
        )
    except ClusterDown:
        queue.accounting = False
        return
    queue.accounting = answer.code == 0 and not answer.err.strip()
    if not queue.accounting:
        return
    for line in answer.out.splitlines():
        parts = line.split("|")
        if len(parts) != 9 or parts[1] not in wanted:
            continue
        shown, name, state, code, node, elapsed, reason, memory, _ = parts
        state, _, more = state.partition(" ")
        for index in _indices(shown):
            task = Task(wanted[name].name, index)
            if task not in queue.rows or queue.rows[task].detail:
                detail = {"exit": code, "elapsed": elapsed, "memory": memory, "more": more}
                # squeue shows all that lives: what accounting still calls alive ended unseen.
                state_now = "LOST" if state in LIVE else state
                queue.rows[task] = Row(shown, state_now, reason, "", node, detail)


def _indices(shown: str) -> list[int]:
    """The elements that an id speaks of: ``7_3``, or ``7_[4-6,9%2]`` of elements that never started."""
    _, _, index = shown.partition("_")
    found: list[int] = []
    for part in re.sub(r"%\d+", "", index.strip("[]")).split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            found += range(int(first), int(last or first) + 1)
    return found
