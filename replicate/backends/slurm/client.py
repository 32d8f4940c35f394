"""The commands of Slurm: how they are called, and what squeue and sacct say of jobs."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from replicate.backends.slurm.ending import Detail
from replicate.backends.slurm.submission import Submission, Task, submission_of
from replicate.errors import ClusterDown

PATIENCE = 60.0
"""Seconds that a controller may take to come back: a restart takes a few, and cron should not fail for it."""
_ABSENT = re.compile(r"Unable to contact|Connection refused|Connection timed out|Socket timed out|Zero Bytes", re.I)


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """What it complained about, without the programs' own prefix: ``Invalid account or account/...``."""
        lines = (self.err or self.out).strip().splitlines()
        return "; ".join(re.sub(r"^\w+: (error: )?", "", line).strip() for line in lines) or f"exit code {self.code}"


@dataclass(slots=True)
class Client:
    """Calls with a clean environment (see `Profile.client_environment`).

    seconds: limit of one call. Errors: `ClusterDown` where a program is missing or no controller answers.
    """

    environment: Mapping[str, str]
    seconds: float = 60.0
    patience: float = PATIENCE
    _limits: dict[str, str] = field(default_factory=dict)

    def call(self, *command: str) -> Answer:
        """One call, whatever it says."""
        try:
            done = subprocess.run(
                command, env=dict(self.environment), capture_output=True, text=True, timeout=self.seconds, check=False
            )
        except FileNotFoundError as error:
            raise ClusterDown(
                f"{command[0]}: no such program on this machine\n"
                "  run this where Slurm's client programs are, usually a login node"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ClusterDown(f"{command[0]}: no answer within {self.seconds:.0f} s\n  try again later") from error
        return Answer(done.returncode, done.stdout, done.stderr)

    def ask(self, *command: str) -> str:
        """The answer of a call that only reads, tried again while the controller restarts."""
        deadline = time.monotonic() + self.patience
        while True:
            answer = self.call(*command)
            if answer.code == 0 and not _ABSENT.search(answer.err):
                return answer.out
            if not _ABSENT.search(answer.err) or time.monotonic() > deadline:
                raise ClusterDown(
                    f"{command[0]}: {answer.said}\n  nothing was changed; the same command can be repeated"
                )
            time.sleep(2)

    def limits(self) -> Mapping[str, str]:
        """``scontrol show config``, asked once."""
        if not self._limits:
            for line in self.ask("scontrol", "show", "config").splitlines():
                name, equals, value = line.partition("=")
                if equals:
                    self._limits[name.strip()] = value.strip()
        return self._limits

    @property
    def longest_array(self) -> int:
        """Elements that one array may have; indices stay below it."""
        return max(1, _number(self.limits().get("MaxArraySize", ""), 1001) - 1)

    def most_jobs(self) -> int | None:
        """How many jobs this user may have queued, by accounting and by the controller; None where nothing says."""
        limits = [_number(self.limits().get("MaxJobCount", ""), 0)]
        answer = self.call("sacctmgr", "-n", "-P", "show", "assoc", f"user={user()}", "format=MaxSubmitJobs")
        if answer.code == 0:
            limits += [_number(line, 0) for line in answer.out.split()]
        set_limits = [count for count in limits if count > 0]
        return min(set_limits) if set_limits else None


def user() -> str:
    # Not $USER: it is absent in cron, and somebody else's under sudo.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _number(text: str, default: int) -> int:
    match = re.match(r"\d+", text.strip())
    return int(match[0]) if match else default


LIVE = frozenset(["PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "RESIZING", "SIGNALING", "STOPPED"])
LIVE |= {"REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD", "STAGE_OUT"}
WAITING = frozenset(["PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"])

_FIELDS = "%i|%A|%T|%r|%S|%N|%k"
_ACCOUNT = "JobID,JobName,State,ExitCode,NodeList,Elapsed,Reason,ReqMem,End"


@dataclass(frozen=True, slots=True)
class Row:
    """One element as Slurm sees it. ``id`` is what scontrol and scancel take (``12_3``).

    ``reason``: why it waits, or why it ended. ``detail``: from accounting only.
    """

    id: str
    state: str
    reason: str = ""
    start: str = ""
    node: str = ""
    detail: Detail | None = None

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
            row = queue.rows.get(task)
            if row is None or not row.live:
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
    oldest = datetime.fromtimestamp(min(task.when for task in wanted.values())) - timedelta(days=1)
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
        state = state.partition(" ")[0]
        for index in _indices(shown):
            task = Task(wanted[name].name, index)
            if task not in queue.rows or queue.rows[task].detail is not None:
                # squeue shows all that lives: what accounting still calls alive ended unseen.
                state_now = "LOST" if state in LIVE else state
                queue.rows[task] = Row(shown, state_now, reason, "", node, Detail(code, elapsed, memory))


def _indices(shown: str) -> list[int]:
    """The elements that an id speaks of: ``7_3``, or ``7_[4-6,9%2]`` of elements that never started."""
    _, _, index = shown.partition("_")
    indices: list[int] = []
    for part in re.sub(r"%\d+", "", index.strip("[]")).split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            indices += range(int(first), int(last or first) + 1)
    return indices
