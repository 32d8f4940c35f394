"""The provenance of a result: commit, package versions, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "safetensors", "scikit-learn")


@cache
def provenance(repository: Path) -> dict[str, Any]:
    """Return what is recorded with every result. ``dirty``: code or specs differ from the commit."""
    commit = _git(repository, "rev-parse", "HEAD")
    changes = _git(repository, "status", "--porcelain", "--", "replicate", "tables")
    return {
        "commit": commit or "unknown",
        "dirty": bool(changes) if commit else None,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "threads": threads(),
    }


def differences(was: Mapping[str, Any], now: Mapping[str, Any], machine: bool = False) -> list[str]:
    """Return the changes between two provenances that can move a number: ``timm 1.0.9 → 1.0.22``, a commit.

    machine: compare the processor, too, which differs between the nodes of a cluster.
    """
    found = []
    if was.get("commit") != now.get("commit"):
        found.append(f"commit {str(was.get('commit'))[:12]} → {str(now.get('commit'))[:12]}")
    elif was.get("dirty") or now.get("dirty"):
        found.append("uncommitted code")
    before, after = was.get("packages") or {}, now.get("packages") or {}
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            found.append(f"{name} {before.get(name)} → {after.get(name)}")
    for name in ("python", "processor") if machine else ("python",):
        if was.get(name) != now.get(name):
            found.append(f"{name} {was.get(name)} → {now.get(name)}")
    return found


def _git(repository: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(repository), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def threads() -> int:
    """Return the threads of one job: the first number of OMP_NUM_THREADS, else one, since jobs share the cores.

    OpenMP also takes a list, for nested regions; torch has none.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return max(1, int(first)) if first.isdecimal() else 1


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor as Linux names it, elsewhere as Python does."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
