"""Whether the kernel killed something of this job for its memory, where the job has a memory cgroup."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def killed_for_memory(groups: str | None = None, root: Path = ROOT) -> str:
    """``asked 4.0 GB, peak 4.0 GB`` where the counter of kills is not zero; else empty.

    groups: the text of /proc/self/cgroup. Counters are those of the job's own group: cgroup v2, else v1.
    """
    try:
        text = Path("/proc/self/cgroup").read_text() if groups is None else groups
    except OSError:
        return ""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if "/job_" not in path:
            # A group that is not the job's own counts the kills of others, too.
            continue
        if not controllers:
            found = _told(root / path.lstrip("/"), "memory.events", "memory.max", "memory.peak")
        elif "memory" in controllers.split(","):
            folder = root / "memory" / path.lstrip("/")
            found = _told(folder, "memory.oom_control", "memory.limit_in_bytes", "memory.max_usage_in_bytes")
        else:
            continue
        if found:
            return found
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
        return path.read_text()
    except OSError:
        return ""
