"""Faults of a cluster profile that no single field shows, each with its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from replicate.backends.slurm.sbatch import minutes
from replicate.errors import Fault
from replicate.jobs.job import kind_named, kinds

V = TypeVar("V")

SHORTEST_MINUTES = 13
"""submitit counts a job as timed out after min(0.8 T, T - 10) minutes, so at 10 or less it always has."""

_IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")


def of_kind(found: Mapping[Any, V], kind: str) -> V | None:
    """What a section by kind of job has for ``kind``."""
    return found.get(kind, found.get(kind_named(kind).like))


def check(where: str, stem: str, raw: dict[str, Any]) -> list[Fault]:
    """Of the raw file, so that they stand beside the faults of its fields."""
    faults = _check_times(where, raw)
    if isinstance(raw.get("name"), str) and raw["name"] != stem:
        help = f"--cluster looks for slurm/NAME.toml: call the file {raw['name']}.toml or write name = '{stem}'"
        faults.append(Fault(f"{where}: name", f"expected the file's own name '{stem}', got {raw['name']!r}", (help,)))
    paths, container = raw.get("paths"), raw.get("container")
    shared = paths.get("shared") if isinstance(paths, dict) else None
    if isinstance(shared, str) and shared.startswith("/") and raw.get("shared_is_local") is not True:
        kind = file_system(Path(shared))
        reason = kind if kind in _IN_MEMORY else "/tmp is each machine's own" if _in_tmp(shared) else ""
        if reason:
            what = f"'{shared}' is not on a shared file system ({reason})"
            help = "jobs would find no files and leave no log; use a directory all nodes mount"
            faults.append(Fault(f"{where}: paths.shared", what, (help,)))
    image = container.get("image") if isinstance(container, dict) else None
    if isinstance(image, str) and image.startswith("/") and not Path(image).exists():
        faults.append(
            Fault(f"{where}: container.image", f"no such image, got '{image}'", ("build it, or name one that exists",))
        )
    return faults


def _in_tmp(shared: str) -> bool:
    return any(PurePosixPath(shared).is_relative_to(folder) for folder in ("/tmp", "/var/tmp", "/dev/shm"))


def _check_times(where: str, raw: dict[str, Any]) -> list[Fault]:
    faults, missing = [], []
    sbatch, sections = raw.get("sbatch"), raw.get("kinds")
    common = sbatch.get("time") if isinstance(sbatch, dict) else None
    for kind in kinds():
        own = of_kind(sections, kind) if isinstance(sections, dict) else None
        value = own.get("time", common) if isinstance(own, dict) else common
        if value is None:
            missing.append(kind)
            continue
        try:
            limit = minutes(value)
        except ValueError:
            continue
        if kind_named(kind).resumable and limit < SHORTEST_MINUTES:
            place = f"kinds.{kind}.time" if isinstance(own, dict) and "time" in own else "sbatch.time"
            what = f"a limit of {limit} minutes counts as timed out from the start (submitit), got {value!r}"
            help = f"{kind} jobs are restarted from checkpoints: use {SHORTEST_MINUTES} minutes or more"
            faults.append(Fault(f"{where}: {place}", what, (help,)))
    if missing:
        help = f"needed for {', '.join(missing)} jobs; without it submitit would ask for 5 minutes"
        faults.append(Fault(f"{where}: sbatch.time", "this key is required", (help,)))
    return faults


def file_system(folder: Path) -> str:
    """Type of the file system (``nfs4``, ``ext4``, ``tmpfs``) that holds ``folder`` or will; empty where unknown.

    Read from /proc/self/mountinfo, so it is empty on systems without one.
    """
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    real = folder.resolve()
    best, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(_unescaped(before.split()[4]))
        # Of two mounts on one point the later hides the earlier.
        if (real == point or point in real.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split()[0]
    return kind


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
