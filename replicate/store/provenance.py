"""The provenance of a result: code, package versions, machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from replicate.store.code import ROOT, UNKNOWN, code_of, diff_of
from replicate.store.machine import Machine

OF_CODE = ("code_digest", "commit", "dirty", "diff_sha256")
"""What is recorded of the code."""
PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "safetensors", "scikit-learn")


@cache
def provenance(root: Path = ROOT) -> dict[str, object]:
    """Return what is recorded with every result that the code in the folder ``root`` makes here."""
    code = code_of(root)
    changes = diff_of(root)
    return {
        "code_digest": code.digest,
        "commit": code.commit,
        "dirty": code.dirty,
        **({"diff_sha256": sha256(changes).hexdigest()} if changes else {}),
        "python": platform.python_version(),
        "packages": {name: version_of(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "threads": threads(),
    }


@dataclass(frozen=True, slots=True)
class Provenance:
    """What is read of a recorded provenance; the defaults stand for what an older result did not record.

    code_digest, commit, dirty: see `replicate.store.code.Code`. machine: what the engine found at the end of the job.
    """

    code_digest: str = UNKNOWN
    commit: str = UNKNOWN
    dirty: bool | None = None
    python: str = UNKNOWN
    packages: Mapping[str, str | None] = field(default_factory=dict)
    system: str = ""
    processor: str = ""
    threads: int = 1
    machine: Machine = field(default_factory=Machine)

    @classmethod
    def of(cls, recorded: Mapping[str, Any]) -> Provenance:
        names = (each.name for each in fields(cls))
        known = {name: value for name in names if (value := recorded.get(name)) is not None}
        return cls(**{**known, "machine": Machine.of(known.get("machine", {}))})

    @property
    def device(self) -> str:
        """The name of the GPU that was used, else of the processor; empty where nobody recorded it."""
        return self.machine.device if self.machine.kind == "cuda" else self.processor

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages that were installed."""
        return {name: version for name, version in self.packages.items() if version}

    @property
    def unclean(self) -> bool:
        """Whether the commit is known, but not that the code was what was committed."""
        return self.commit != UNKNOWN and self.dirty is not False

    @property
    def at_commit(self) -> str:
        """``commit 570068e6cd9b with uncommitted changes``"""
        return f"commit {self.commit[:12]}{_CHANGES[self.dirty] if self.commit != UNKNOWN else ''}"

    @property
    def code(self) -> str:
        """``digest a1b2c3d4e5f6, commit 570068e6cd9b``"""
        return f"digest {self.code_digest[:12]}, {self.at_commit}"


_CHANGES = {True: " with uncommitted changes", False: "", None: ", uncommitted changes unknown"}


def differences(recorded: Mapping[str, object], recorded_now: Mapping[str, object], machine: bool = False) -> list[str]:
    """Return the changes between two provenances that can move a number: ``timm 1.0.9 → 1.0.22``, a commit.

    machine: compare the processor, the GPU and how they computed, too; they differ between the nodes of a cluster.
    """
    was, now = Provenance.of(recorded), Provenance.of(recorded_now)
    changes = _code_changes(was, now)
    for name in sorted({*was.packages, *now.packages}):
        if was.packages.get(name) != now.packages.get(name):
            changes.append(f"{name} {was.packages.get(name)} → {now.packages.get(name)}")
    if was.python != now.python:
        changes.append(f"python {was.python} → {now.python}")
    if machine and was.processor != now.processor:
        changes.append(f"processor {was.processor or 'unknown'} → {now.processor or 'unknown'}")
    if machine:
        changes += was.machine.changes(now.machine)
    return changes


def _code_changes(was: Provenance, now: Provenance) -> list[str]:
    """What changed of the code. Where both digests are known they decide: a commit can change other files alone."""
    both = UNKNOWN not in (was.code_digest, now.code_digest)
    if both and was.code_digest == now.code_digest:
        return []
    if was.commit != now.commit:
        return [f"commit {was.commit[:12]} → {now.commit[:12]}"]
    if both or now.commit == UNKNOWN:
        # Where neither is known it is taken for changed.
        changed = f"{was.code_digest[:12]} → {now.code_digest[:12]}"
        return [f"code {UNKNOWN if was.code_digest == now.code_digest else changed}"]
    # The older one recorded no digest, and both are of one commit.
    return ["uncommitted code"] if was.unclean or now.unclean else []


def version_of(package: str) -> str | None:
    """Return the version of an installed package."""
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
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
