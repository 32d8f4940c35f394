"""Where to read what a job said: its own log, its attempts, and Slurm's log of the task it ran in."""

from __future__ import annotations

from pathlib import Path

from replicate.launch.slurm.attempt import STDERR, STDOUT, attempts
from replicate.launch.slurm.tasklog import task_logs
from replicate.launch.slurm.world import World
from replicate.store.store import LOG


def logs(world: World, key: str) -> list[Path]:
    """The files that are not empty: ``log.txt``, of the newest attempt, then of the newest submission."""
    folder = world.store.folder(key)
    found = [folder / LOG]
    for attempt in attempts(folder)[-1:]:
        found += [attempt / STDOUT, attempt / STDERR]
    for submission in world.submissions_of(key)[-1:]:
        found += task_logs(submission, key)
    return [path for path in found if path.is_file() and path.stat().st_size > 0]
