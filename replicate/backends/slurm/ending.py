"""How a job of Slurm ended: its state, its memory, its log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from replicate.backends.slurm.submission import Submission
from replicate.backends.worker import GPU_MEMORY, RANK_LOST
from replicate.store.store import SUSPICIOUS

Action = Literal["again", "stop"]
"""``again``: the next call submits the job, which goes on from its checkpoint. ``stop``: only `retry` does."""


@dataclass(frozen=True, slots=True)
class Detail:
    """What is known of an ending besides the state. memory: asked for. peak: used, by the log of slurmstepd."""

    exit: str = ""
    elapsed: str = ""
    memory: str = ""
    peak: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """``kind`` is what `retry --class` takes."""

    kind: str
    meaning: str
    action: Action


CANCELLED = "cancelled"
"""The class of jobs that somebody took out of the queue."""

ENDINGS: Mapping[str, Ending] = {
    "OUT_OF_MEMORY": Ending("OOM", "it used more memory than it asked for", "stop"),
    "TIMEOUT": Ending("time limit", "its time was over before it could be put back into the queue", "again"),
    "NODE_FAIL": Ending("node failure", "its node was lost", "again"),
    "BOOT_FAIL": Ending("node failure", "its node did not start", "again"),
    "PREEMPTED": Ending("preempted", "a job of higher priority took its place", "again"),
    "CANCELLED": Ending(CANCELLED, "somebody cancelled it, or a job it waited for failed", "again"),
    "DEADLINE": Ending("deadline", "its deadline passed", "stop"),
    "FAILED": Ending("error", "its program ended with an error", "again"),
    "COMPLETED": Ending("no result", "it ended well and left no result", "again"),
    "DISK_FULL": Ending("disk full", "the disk was full, or had no room for another file: make room", "again"),
    "LOST": Ending("lost", "Slurm knows it no more, and it gives no sign of life", "again"),
}
"""By the state Slurm gives, DISK_FULL and LOST."""

KINDS = sorted(
    {ending.kind for ending in ENDINGS.values()}
    | {"diverged", "killed", "disk full", "restarts used up", "setup", "GPUs", GPU_MEMORY, RANK_LOST, SUSPICIOUS}
)
"""Classes of failure: those above, and those that a job finds itself (`replicate.backends.worker.failure_kind`)."""

REASONS: Mapping[str, str] = {
    "None": "it has not been looked at yet, or nothing holds it",
    "Priority": "jobs of higher priority are before it",
    "Resources": "it is next, and waits until enough is free",
    "Dependency": "it waits for the jobs it reads from",
    "DependencyNeverSatisfied": "a job it reads from failed: it will be cancelled, and submitted again with that",
    "BeginTime": "it was put back into the queue and may start again after a short pause (about two minutes)",
    "JobArrayTaskLimit": "as many of its wave run as the profile's max_running allows",
    "QOSMaxJobsPerUserLimit": "you run as many jobs as the QOS allows",
    "QOSMaxGRESPerUser": "you use as many GPUs as the QOS allows",
    "QOSMaxSubmitJobPerUserLimit": "you have as many jobs queued as the QOS allows",
    "AssocGrpGRES": "your account uses as many GPUs as it may",
    "AssocGrpCpuLimit": "your account uses as many cores as it may",
    "AssocGrpBillingMinutes": "your account's hours are used up",
    "AssocMaxJobsLimit": "your account runs as many jobs as it may",
    "PartitionTimeLimit": "it asks for more time than the partition allows: lower `time` in the profile",
    "PartitionNodeLimit": "it asks for more nodes than the partition has",
    "PartitionDown": "the partition is closed; an administrator has to open it",
    "PartitionInactive": "the partition is closed to new jobs",
    "ReqNodeNotAvail": "a node it asks for is down, drained or reserved",
    "NodeDown": "its node is down",
    "Reservation": "it waits for its reservation to begin",
    "Licenses": "it waits for a licence",
    "JobHeldUser": "you hold it: scontrol release JOB",
    "JobHeldAdmin": "an administrator holds it: ask them",
    "launch failed requeued held": "it could not be started on its node, and is held: scontrol release JOB",
    "BadConstraints": "no node satisfies what it asks for: see the profile",
    "InvalidAccount": "its account is not valid any more: see the profile",
    "InvalidQOS": "its QOS is not valid any more: see the profile",
    "JobLaunchFailure": "it could not be started on its node",
    "RaisedSignal": "a signal ended it",
    "OutOfMemory": "it used more memory than it asked for",
    "TimeLimit": "its time was over",
    "NonZeroExitCode": "its program ended with an error",
}
"""squeue's reasons, in one line each (man squeue, JOB REASON CODES)."""


def meaning(reason: str) -> str:
    """One line on ``reason``; squeue appends details after a comma or a bracket."""
    words = REASONS.get(reason)
    if words:
        return words
    near = [name for name in REASONS if reason.startswith(name)]
    if near:
        return REASONS[max(near, key=len)]
    if reason.startswith(("QOS", "Assoc")):
        return "a limit of your QOS or account holds it: sacctmgr show qos, sacctmgr show assoc"
    return "see 'JOB REASON CODES' in man squeue"


def advice(kind: str, detail: Detail, job_kind: str) -> str:
    """What to do about a failure of class ``kind``; empty where nothing but trying again."""
    if kind == "OOM":
        stated = (("asked", detail.memory), ("peak", detail.peak))
        amounts = ", ".join(f"{name} {amount}" for name, amount in stated if amount)
        before = f"{amounts}; " if amounts else ""
        return f"{before}raise mem in [kinds.{job_kind}] of the profile, then: retry --class OOM"
    if kind == "restarts used up":
        return f"raise time in [kinds.{job_kind}] or requeue of the profile, then: retry"
    return ""


ROOT = Path("/sys/fs/cgroup")


def kills_counted(groups: str | None = None, root: Path = ROOT) -> str:
    """``asked 4.0 GB, peak 4.0 GB`` where the counter of kills is not zero; else empty.

    groups: the text of /proc/self/cgroup. Counters are those of the job's own group: cgroup v2, else v1.
    """
    try:
        text = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace") if groups is None else groups
    except OSError:
        return ""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if "/job_" not in path:
            # A group that is not the job's own counts the kills of others, too.
            continue
        if not controllers:
            amounts = _told(root / path.lstrip("/"), "memory.events", "memory.max", "memory.peak")
        elif "memory" in controllers.split(","):
            folder = root / "memory" / path.lstrip("/")
            amounts = _told(folder, "memory.oom_control", "memory.limit_in_bytes", "memory.max_usage_in_bytes")
        else:
            continue
        if amounts:
            return amounts
    return ""


def _told(folder: Path, events: str, limit: str, peak: str) -> str:
    kills = re.search(r"^oom_kill (\d+)", _read(folder / events), re.M)
    if not kills or kills[1] == "0":
        return ""
    return f"asked {_gigabytes(_read(folder / limit))}, peak {_gigabytes(_read(folder / peak))}"


def _gigabytes(text: str) -> str:
    return f"{int(text) / 1e9:.1f} GB" if text.strip().isdigit() else "unknown"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


_KILLED = re.compile(r"oom[-_ ]kill|(?<!CUDA )(?<!HIP )Out Of Memory|[Ee]xceeded (job|step)? ?memory limit", re.I)
"""Not torch's own "CUDA out of memory", which is the GPU's."""
_AMOUNTS = re.compile(r"memory limit \((\d+) > (\d+)\)")
_END = 20_000
"""Bytes at the end of a log that are searched: slurmstepd speaks last."""


def task_logs(submission: Submission, key: str) -> list[Path]:
    """The files of the tasks that run ``key``, by name."""
    indices = [index for index, keys in submission.tasks.items() if key in keys]
    return sorted(path for index in indices for path in submission.folder.glob(f"*_{index}_*_log.*"))


def killed_for_memory(submission: Submission, key: str) -> Detail | None:
    """``memory`` asked for and ``peak``, as far as known; None unless slurmstepd wrote that it killed the task for it.

    Where Slurm has no memory cgroup the state of such a job is FAILED, and nothing else tells it from others.
    """
    for path in task_logs(submission, key):
        text = _end_of(path)
        if _KILLED.search(text):
            asked = submission.map.request.get("mem", "")
            amounts = _AMOUNTS.findall(text)
            peak = f"{max(int(used) for used, _ in amounts) / 2**20:.0f}M" if amounts else ""
            return Detail(memory=str(asked), peak=peak)
    return None


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _END))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
