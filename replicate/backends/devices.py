"""Which processors the jobs of this machine compute on, found without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Iterable, Sequence
from functools import cache

from replicate.jobs.job import Job
from replicate.specs.scale import Scale

VISIBLE = "CUDA_VISIBLE_DEVICES"
NO_GPU = ""
"""As the value of `VISIBLE`: torch finds none."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def for_jobs(scale: Scale) -> tuple[str, ...]:
    """What `VISIBLE` is for the jobs of ``scale`` here: each gets one of these; none means that it is left alone.

    One for each GPU: of those that `VISIBLE` lists where it is set, else of those that nvidia-smi lists.
    """
    if scale.device == "cpu":
        return (NO_GPU,)
    listed = os.environ.get(VISIBLE)
    if listed is not None:
        # CUDA reads the list up to the first entry that names none: -1 is the usual way to hide all.
        names = [name.strip() for name in listed.split(",")]
        end = next((at for at, name in enumerate(names) if not name or name.startswith("-")), len(names))
        return tuple(names[:end])
    return present_gpus()


def present_gpus() -> tuple[str, ...]:
    """The GPUs that the driver of this machine lists; none without nvidia-smi."""
    program = shutil.which("nvidia-smi")
    return _indices(program) if program else ()


@cache
def _indices(program: str) -> tuple[str, ...]:
    """Of every GPU. Asked once: a driver may take a second to answer, and a command wants to know several times."""
    command = [program, "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(done.stdout.split()) if done.returncode == 0 else ()


def has_gpu(scale: Scale) -> bool:
    return any(name != NO_GPU for name in for_jobs(scale))


def need_gpu(jobs: Iterable[Job]) -> list[Job]:
    """Those that no CPU runs, such as trainings in fp16."""
    return [job for job in jobs if job.needs_gpu]


def at_once(scale: Scale, asked: int | None) -> int:
    """Jobs at once: as many as were ``asked`` for, else one a GPU, and where there is none one a core."""
    if asked is not None:
        return asked
    return len(for_jobs(scale)) if has_gpu(scale) else cores()


def least_used(names: Sequence[str], used: Collection[str | None]) -> str | None:
    """The first of ``names`` that is the rarest in ``used``; None without names."""
    taken = list(used)
    return min(names, key=taken.count, default=None)
