"""Slurm's own logs of a task: what the setup lines said, a Python that did not start, and slurmstepd."""

from __future__ import annotations

import re
from pathlib import Path

from replicate.launch.slurm.submission import Submission

_KILLED = re.compile(r"oom[-_ ]kill|(?<!CUDA )(?<!HIP )Out Of Memory|[Ee]xceeded (job|step)? ?memory limit", re.I)
"""Not torch's own "CUDA out of memory", which is the GPU's."""
_AMOUNTS = re.compile(r"memory limit \((\d+) > (\d+)\)")
_END = 20_000
"""Bytes at the end of a log that are searched: slurmstepd speaks last."""


def task_logs(submission: Submission, key: str) -> list[Path]:
    """The files of the tasks that run ``key``, by name."""
    indices = [index for index, keys in submission.tasks.items() if key in keys]
    return sorted(path for index in indices for path in submission.folder.glob(f"*_{index}_*_log.*"))


def killed_for_memory(submission: Submission, key: str) -> dict[str, str] | None:
    """``memory`` asked for and ``peak``, as far as known; None unless slurmstepd wrote that it killed the task for it.

    Where Slurm has no memory cgroup the state of such a job is FAILED, and nothing else tells it from others.
    """
    for path in task_logs(submission, key):
        text = _end_of(path)
        if _KILLED.search(text):
            asked = submission.body.get("request", {}).get("mem", "")
            found = _AMOUNTS.findall(text)
            peak = f"{max(int(used) for used, _ in found) / 2**20:.0f}M" if found else ""
            return {"memory": str(asked), "peak": peak}
    return None


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _END))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
