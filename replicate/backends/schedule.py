"""Which job starts on which processors of this machine, and over how many of them a training spreads.

Pure functions: `replicate.backends.local` says what is ready and what runs, and does what they answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from replicate.errors import UserError
from replicate.jobs.job import Job

WORTH = 600.0
"""Seconds that a training must still need before it is stopped to go on over more GPUs: that costs half a minute."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job that could start now. ``counts``: the numbers of processes that can share it, the smallest first."""

    key: str
    counts: tuple[int, ...] = (1,)


@dataclass(frozen=True, slots=True)
class Start:
    """``devices`` has the value of CUDA_VISIBLE_DEVICES for each process; None leaves it as it is."""

    key: str
    devices: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Running:
    """A job that runs on ``devices``, one for each process, and needs about ``seconds`` more."""

    key: str
    counts: tuple[int, ...]
    devices: tuple[str | None, ...]
    seconds: float


def assign(
    candidates: Sequence[Candidate],
    devices: Sequence[str],
    used: Sequence[str | None],
    places: int,
    spread: bool = True,
) -> list[Start]:
    """What starts now.

    candidates: the most urgent first. devices: those of this machine, none where nobody says. used: that of every
    process that runs. places: processes at once. spread: whether GPUs that stay idle are given to trainings that start.

    Every job gets its smallest number of processes first, each on the device that the fewest use. A job that needs
    more processes than there are places runs alone.
    """
    taken, starts = list(used), list[Start]()
    for candidate in candidates:
        count = candidate.counts[0]
        if taken and len(taken) + count > places:
            continue
        start = Start(candidate.key, _least_used(devices, taken, count))
        starts.append(start)
        taken += start.devices
    counts = {candidate.key: candidate.counts for candidate in candidates}
    return _spread(starts, counts, devices, taken, places) if spread else starts


def _spread(
    starts: list[Start],
    counts: Mapping[str, tuple[int, ...]],
    devices: Sequence[str],
    taken: Sequence[str | None],
    places: int,
) -> list[Start]:
    """Give idle devices to ``starts``, the narrowest first, then the most urgent."""
    idle = [device for device in devices if device not in taken][: max(0, places - len(taken))]
    while idle:
        grown = [
            (len(start.devices), at, more)
            for at, start in enumerate(starts)
            if (more := _next(counts[start.key], len(start.devices), len(idle)))
        ]
        if not grown:
            break
        _, at, more = min(grown)
        starts[at] = Start(starts[at].key, (*starts[at].devices, *idle[:more]))
        idle = idle[more:]
    return starts


def wider(running: Sequence[Running], devices: Sequence[str], places: int) -> str | None:
    """The job that would gain most if it were stopped and went on over idle devices as well; None where none would."""
    taken = [device for job in running for device in job.devices]
    idle = len([device for device in devices if device not in taken][: max(0, places - len(taken))])
    gaining = [job for job in running if job.seconds >= WORTH and idle and _next(job.counts, len(job.devices), idle)]
    return max(gaining, key=lambda job: job.seconds).key if gaining else None


def _next(counts: Sequence[int], now: int, idle: int) -> int:
    """By how many processes a job grows to its next number; 0 where ``idle`` devices do not suffice."""
    return next((count - now for count in counts if now < count <= now + idle), 0)


def _least_used(devices: Sequence[str], taken: Sequence[str | None], count: int) -> tuple[str | None, ...]:
    if not devices:
        return (None,) * count
    chosen = list[str]()
    for _ in range(count):
        chosen.append(min(devices, key=[*taken, *chosen].count))
    return tuple(chosen)


def is_short(job: Job) -> bool:
    """Whether it is soon done, as evaluations are: GPUs may stay idle until then."""
    return not job.trains and job.estimated and job.seconds < WORTH


def unsplittable(jobs: Iterable[Job], processes: Callable[[str], int]) -> dict[tuple[str, str], list[str]]:
    """Keys of the jobs that ``processes`` of their kind cannot share, by kind and reason."""
    wrong: dict[tuple[str, str], list[str]] = {}
    for job in jobs:
        if (count := processes(job.kind)) > 1:
            try:
                job.check_processes(count)
            except UserError as error:
                wrong.setdefault((job.kind, str(error)), []).append(job.key)
    return wrong
