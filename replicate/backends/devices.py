"""Which processors the jobs of this machine compute on, found without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from replicate.errors import UserError
from replicate.jobs.job import Job
from replicate.specs.scale import Scale

VISIBLE = "CUDA_VISIBLE_DEVICES"
NO_GPU = ""
"""As the value of `VISIBLE`: torch finds none."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as its driver describes it; what the driver did not say is empty."""

    index: str
    uuid: str = ""
    name: str = ""
    memory: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (f"GPU {self.index}", self.name, self.memory)))


def for_jobs(scale: Scale, asked: Sequence[str] = ()) -> tuple[str, ...]:
    """What `VISIBLE` is for the jobs of ``scale`` here: each process gets one; none means that it is left alone.

    Those that were ``asked`` for, else one for each GPU: of those that `VISIBLE` lists where it is set, else of those
    that the driver lists. Raises UserError where one that was asked for is not there.
    """
    if asked:
        _check(asked, scale)
        return tuple(asked)
    if scale.device == "cpu":
        return (NO_GPU,)
    listed = _listed()
    return present_gpus() if listed is None else listed


def _listed() -> tuple[str, ...] | None:
    """The GPUs that `VISIBLE` names; None where it is not set."""
    listed = os.environ.get(VISIBLE)
    if listed is None:
        return None
    # CUDA reads the list up to the first entry that names none: -1 is the usual way to hide all.
    names = [name.strip() for name in listed.split(",")]
    end = next((at for at, name in enumerate(names) if not name or name.startswith("-")), len(names))
    return tuple(names[:end])


def _check(asked: Sequence[str], scale: Scale) -> None:
    """Raises UserError unless all of ``asked`` are GPUs of this machine that jobs of ``scale`` may use."""
    option = f"--gpus {','.join(asked)}"
    listed, described = _listed(), gpus()
    present = [gpu.index for gpu in described]
    known = {*present, *(gpu.uuid for gpu in described)} if listed is None else {*listed}
    here = ", ".join(present if listed is None else listed)
    if not known:
        why = f"{VISIBLE} hides all" if listed is not None and present else "the driver lists none"
        raise UserError(f"no GPU on this machine: {option}\n  {why}; without --gpus, jobs compute on the CPU")
    if missing := [name for name in asked if name not in known]:
        names = f"GPU {', '.join(missing)} {'is' if len(missing) == 1 else 'are'}"
        if listed is not None and {*missing} <= {*present}:
            raise UserError(f"{names} hidden by {VISIBLE}={here}: {option}\n  name some of that list, or unset it")
        raise UserError(f"{names} not on this machine: {option}\n  its GPUs: {here}")
    if scale.device == "cpu":
        raise UserError(f"scale '{scale.id}' computes on the CPU: {option}\n  leave --gpus out, or use another scale")


def present_gpus() -> tuple[str, ...]:
    """The GPUs that the driver of this machine lists, by their numbers."""
    return tuple(gpu.index for gpu in gpus())


def gpus() -> tuple[Gpu, ...]:
    """The GPUs of this machine, as nvidia-smi lists them; without that program, those that have a device file."""
    program = shutil.which("nvidia-smi")
    if program:
        return _described(program)
    files = [path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdecimal()]
    # CUDA numbers those that a container was given from 0 on, whatever they are called outside.
    return tuple(Gpu(str(number)) for number in range(len(files)))


@cache
def _described(program: str) -> tuple[Gpu, ...]:
    """Every GPU. Asked once: a driver may take a second to answer, and a command wants to know several times."""
    command = [program, "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    if done.returncode != 0:
        return ()
    lines = [[part.strip() for part in line.split(",", 3)] for line in done.stdout.splitlines()]
    return tuple(Gpu(*parts) for parts in lines if parts[0])


def has_gpu(scale: Scale, asked: Sequence[str] = ()) -> bool:
    return any(name != NO_GPU for name in for_jobs(scale, asked))


def need_gpu(jobs: Iterable[Job]) -> list[Job]:
    """Those that no CPU runs, such as trainings in fp16."""
    return [job for job in jobs if job.needs_gpu]


def at_once(scale: Scale, workers: int | None, asked: Sequence[str] = ()) -> int:
    """Processes at once: ``workers`` where that is given, else one a GPU, and where there is none one a core."""
    if workers is not None:
        return workers
    return len(for_jobs(scale, asked)) if has_gpu(scale, asked) else cores()


def named(devices: Sequence[str]) -> str:
    """``GPU 0``, ``GPUs 0, 1``; empty where there is none."""
    names = [device for device in devices if device != NO_GPU]
    return f"GPU{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else ""
