"""Where to read what a job said: its own log, its attempts, and Slurm's log of the task it ran in."""

from __future__ import annotations

from pathlib import Path

from replicate.launch.slurm.attempt import ENVIRONMENT, STDERR, STDOUT, attempts
from replicate.launch.slurm.submission import Task, read_submission
from replicate.launch.slurm.tasklog import task_logs
from replicate.launch.slurm.world import World
from replicate.store.atomic import read_json
from replicate.store.store import LOG


def logs(world: World, key: str) -> list[Path]:
    """The files that are not empty: ``log.txt``, of the newest attempt, then of the newest submission."""
    folder = world.store.folder(key)
    found, submissions = [folder / LOG], world.submissions_of(key)[-1:]
    for attempt in attempts(folder)[-1:]:
        found += [attempt / STDOUT, attempt / STDERR]
        task = Task.of(str(read_json(attempt / ENVIRONMENT).get("task", "")))
        if task and not submissions:
            # Of a job that is done the submission may be put away, and is not among those of the world.
            submissions = [one for one in [read_submission(world.store.root, task.submission)] if one]
    for submission in submissions:
        found += task_logs(submission, key)
    return [path for path in found if path.is_file() and path.stat().st_size > 0]
