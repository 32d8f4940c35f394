"""Attempts at a job through Slurm, and their logs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from replicate.backends.slurm.ending import task_logs
from replicate.backends.slurm.submission import SCRIPT, Submission, Task, read_submission
from replicate.store.files import read_json, write_json
from replicate.store.store import LOG, Store

ATTEMPTS = "attempts"
STDOUT, STDERR, ENVIRONMENT = "stdout", "stderr", "env.json"


@dataclass(frozen=True, slots=True)
class Facts:
    """What env.json holds from the beginning of an attempt; its exit code and its seconds are added at the end.

    task: element of a submission. restart: how often Slurm started it before. job: Slurm's number.
    """

    task: str
    restart: int
    job: str
    node: str
    python: str
    setup: Sequence[str]
    code: str
    container: Mapping[str, object] | None
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Attempt:
    folder: Path
    facts: Facts
    started: float

    def redirect(self) -> None:
        """Send this process's standard output and error here, those of C libraries included."""
        for number, name in ((1, STDOUT), (2, STDERR)):
            target = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            os.dup2(target, number)
            os.close(target)

    def end(self, code: int) -> None:
        """``code``: of the process; negative is a signal."""
        with suppress(OSError):
            seconds = round(time.monotonic() - self.started, 1)
            write_json(self.folder / ENVIRONMENT, {**asdict(self.facts), "exit": code, "seconds": seconds})


def begin(job_folder: Path, submission: Path, facts: Facts) -> Attempt:
    """The next attempt at the job in ``job_folder``. Errors: `OSError`, of a full disk for example."""
    parent = job_folder / ATTEMPTS
    parent.mkdir(exist_ok=True)
    number = 1 + max((int(path.name) for path in attempts(job_folder)), default=0)
    while True:
        folder = parent / str(number)
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            break
    attempt = Attempt(folder, facts, time.monotonic())
    write_json(folder / ENVIRONMENT, asdict(facts))
    with suppress(OSError):
        shutil.copyfile(submission / SCRIPT, folder / SCRIPT)
    return attempt


def attempts(job_folder: Path) -> list[Path]:
    """Folders of all attempts, oldest first."""
    parent = job_folder / ATTEMPTS
    if not parent.is_dir():
        return []
    numbered = [path for path in parent.iterdir() if path.name.isascii() and path.name.isdecimal()]
    return sorted(numbered, key=lambda path: int(path.name))


def logs(store: Store, key: str, submissions: Sequence[Submission]) -> list[Path]:
    """The files that are not empty: ``log.txt``, of the newest attempt, then of the newest of ``submissions``."""
    folder = store.folder(key)
    files, newest = [folder / LOG], [*submissions[-1:]]
    for attempt in attempts(folder)[-1:]:
        files += [attempt / STDOUT, attempt / STDERR]
        task = Task.of(str(read_json(attempt / ENVIRONMENT).get("task", "")))
        if task and not newest:
            # The submission of a job that is done may be put away, and then is not among ``submissions``.
            newest = [submission for submission in [read_submission(store.root, task.submission)] if submission]
    for submission in newest:
        files += task_logs(submission, key)
    return [path for path in files if path.is_file() and path.stat().st_size > 0]
