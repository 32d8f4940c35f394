"""The provenance of a result: commit, package versions, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "safetensors", "scikit-learn")


@cache
def provenance(repository: Path) -> dict[str, object]:
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


@dataclass(frozen=True, slots=True)
class Provenance:
    """What is read of a recorded provenance; the defaults stand for what an older result did not record."""

    commit: str = "unknown"
    dirty: bool | None = None
    python: str = "unknown"
    packages: Mapping[str, str | None] = field(default_factory=dict)
    system: str = ""
    processor: str = ""
    threads: int = 1

    @classmethod
    def of(cls, recorded: Mapping[str, Any]) -> Provenance:
        names = (each.name for each in fields(cls))
        return cls(**{name: value for name in names if (value := recorded.get(name)) is not None})

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages that were installed."""
        return {name: version for name, version in self.packages.items() if version}


def differences(recorded: Mapping[str, object], recorded_now: Mapping[str, object], machine: bool = False) -> list[str]:
    """Return the changes between two provenances that can move a number: ``timm 1.0.9 → 1.0.22``, a commit.

    machine: compare the processor, too, which differs between the nodes of a cluster.
    """
    was, now = Provenance.of(recorded), Provenance.of(recorded_now)
    changes = []
    if was.commit != now.commit:
        changes.append(f"commit {was.commit[:12]} → {now.commit[:12]}")
    elif was.dirty or now.dirty:
        changes.append("uncommitted code")
    for name in sorted({*was.packages, *now.packages}):
        if was.packages.get(name) != now.packages.get(name):
            changes.append(f"{name} {was.packages.get(name)} → {now.packages.get(name)}")
    if was.python != now.python:
        changes.append(f"python {was.python} → {now.python}")
    if machine and was.processor != now.processor:
        changes.append(f"processor {was.processor or 'unknown'} → {now.processor or 'unknown'}")
    return changes


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
