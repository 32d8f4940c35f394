"""What was submitted: one folder per sbatch call under the store, written before Slurm hears of it.

    <store>/.slurm/<submission>/map.json    index of the array -> keys, what was asked for, which code
    <store>/.slurm/<submission>/jobs.json   those jobs, as a job.json describes one
    <store>/.slurm/<submission>/sbatch.sh   the script
    <store>/.slurm/<submission>/job.json    Slurm's number, once it said so
    <store>/.slurm/old/<submission>/        nothing here is queued any more

The folder of a job is made where it starts: to make a thousand took most of a step, and one file for all takes little.
A job finds its keys in the map of its own submission, whose name is random: so a submitter that was killed at any point
is found again (the name is the job's name and in its comment), and numbers that Slurm uses again mean nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from replicate.backends.slurm.sbatch import Value
from replicate.errors import StoreFault
from replicate.jobs.job import Job, from_json, to_json
from replicate.store.files import read_json, write_json

FOLDER, OLD = ".slurm", "old"
MAP, JOBS, SCRIPT, JOB = "map.json", "jobs.json", "sbatch.sh", "job.json"
PREFIX = "replicate"
_DIGITS = 12
"""Of the random name of a submission."""
_SHORTEST = 6
"""Digits that a site has to leave of it."""
SCHEMA = 1

_KEPT = 200
_KEPT_SECONDS = 30 * 86400.0
"""The logs of a submission that was put away are kept for so long, and longer while there are few."""


@dataclass(frozen=True, slots=True)
class Task:
    """One element of an array."""

    submission: str
    index: int

    def __str__(self) -> str:
        return f"{self.submission}_{self.index}"

    @classmethod
    def of(cls, text: str) -> Task | None:
        name, _, index = text.rpartition("_")
        return cls(name, int(index)) if name and index.isdigit() else None


@dataclass(frozen=True, slots=True)
class SubmissionMap:
    """What map.json holds: the keys of each element of the array, and what the node has to know of the profile.

    made: what is recorded of the copy of the code in the folder ``code``. request: options of sbatch.
    """

    name: str
    kind: str
    tasks: Mapping[int, Sequence[str]]
    plan: str = ""
    store: str = ""
    code: str = ""
    made: Mapping[str, object] = field(default_factory=dict)
    requeue: int = 0
    visible_seconds: float = 0.0
    lost_seconds: float = 600.0
    cluster: str = ""
    container: Mapping[str, object] | None = None
    setup: Sequence[str] = ()
    comment: str = ""
    dependency: str = ""
    request: Mapping[str, Value] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> SubmissionMap | None:
        """None where the file cannot be read, or another version of this program wrote it."""
        body = read_json(path)
        if body.get("schema") != SCHEMA:
            return None
        stated = {each.name: body[each.name] for each in fields(cls) if each.name in body}
        try:
            found = TypeAdapter(cls).validate_python(stated)
        except ValidationError:
            return None
        return replace(found, tasks={index: tuple(keys) for index, keys in found.tasks.items()})

    def write(self, path: Path) -> None:
        tasks = {str(index): list(keys) for index, keys in self.tasks.items()}
        write_json(path, {"schema": SCHEMA, **asdict(self), "tasks": tasks})


@dataclass(frozen=True, slots=True)
class Submission:
    """``when``: of the file system's clock, seconds. ``job``: Slurm's number of the array, empty when unknown.

    doubt: what sbatch said, where it did not say whether it took the array. unseen: since when elements that never
    started are in no answer of Slurm's, by index.
    """

    folder: Path
    map: SubmissionMap
    when: float
    job: str = ""
    doubt: str = ""
    unseen: Mapping[int, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.map.name

    @property
    def tasks(self) -> Mapping[int, Sequence[str]]:
        return self.map.tasks

    @property
    def job_name(self) -> str:
        return f"{PREFIX}-{self.name}"


def comment(plan: str, name: str, keys: Sequence[str]) -> str:
    """``replicate:<plan>:<submission>:<first key>+<others>``: what squeue shows of every element."""
    others = f"+{len(keys) - 1}" if len(keys) > 1 else ""
    return f"{PREFIX}:{plan}:{name}:{keys[0]}{others}"


_OURS = re.compile(rf"(?<![A-Za-z0-9]){PREFIX}(?:-|:[\w.-]*:)([0-9a-f]{{{_SHORTEST},{_DIGITS}}})(?![A-Za-z0-9])")


def submission_of(text: str, names: Iterable[str] = ()) -> str | None:
    """The submission that the name or the comment of a job speaks of, whatever a site wrote around it.

    names: of submissions; a name that was cut short is the only one of them that begins with it.
    """
    found = _OURS.findall(text)
    for name in found:
        if len(name) == _DIGITS:
            return str(name)
    for start in found:
        whole = [name for name in names if name.startswith(start)]
        if len(whole) == 1:
            return whole[0]
    return None


def new_name() -> str:
    return uuid.uuid4().hex[:_DIGITS]


def write_map(root: Path, map: SubmissionMap, jobs: Iterable[Job] = ()) -> Path:
    """Make the folder of the submission; it must not exist. jobs: all that ``map`` names."""
    folder = root / FOLDER / map.name
    folder.mkdir(parents=True)
    # Of the jobs first: where there is a map, everything is there.
    write_json(folder / JOBS, {job.key: _watched(job) for job in jobs})
    map.write(folder / MAP)
    return folder


def _watched(job: Job) -> dict[str, object]:
    """``job`` as a job.json has it, and when it is suspicious, which is no part of it."""
    return to_json(job) | ({"watch": job.watch.model_dump()} if job.watch else {})


def read_job(folder: Path, key: str) -> Job:
    """Job ``key`` of the submission in ``folder``. Errors: `StoreFault`."""
    try:
        return from_json(json.loads((folder / JOBS).read_text(encoding="utf-8"))[key])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreFault(f"{folder / JOBS}: cannot be read, or lacks {key}\n  submit again") from error


def note_job(folder: Path, job: str, doubt: str = "", unseen: Mapping[int, float] = {}) -> None:
    write_json(folder / JOB, {"job": job, "doubt": doubt, "unseen": {str(index): unseen[index] for index in unseen}})


def read_submissions(root: Path) -> list[Submission]:
    """Those that are not put away, oldest first."""
    readable = [submission for path in (root / FOLDER).glob(f"*/{MAP}") if (submission := _read(path)) is not None]
    return sorted(readable, key=lambda submission: (submission.when, submission.name))


def read_submission(root: Path, name: str) -> Submission | None:
    """Submission ``name``, put away or not."""
    for folder in _places(root, name):
        if (folder / MAP).exists():
            return _read(folder / MAP)
    return None


def _places(root: Path, name: str) -> tuple[Path, Path]:
    return root / FOLDER / name, root / FOLDER / OLD / name


def _read(path: Path) -> Submission | None:
    map = SubmissionMap.read(path)
    if map is None:
        return None
    noted = read_json(path.with_name(JOB))
    unseen = noted.get("unseen")
    since: dict[int, float] = {}
    with suppress(ValueError, TypeError, OverflowError):
        since = {int(index): float(when) for index, when in unseen.items()} if isinstance(unseen, dict) else {}
    return Submission(
        path.parent, map, path.stat().st_mtime, str(noted.get("job", "")), str(noted.get("doubt", "")), since
    )


def mine(root: Path, name: str) -> bool:
    """Whether this user made submission ``name``: ``squeue -u`` lists a user's own jobs completely, others' not."""
    for folder in _places(root, name):
        try:
            return folder.stat().st_uid == os.getuid()
        except OSError:
            continue
    return False


def put_away(submission: Submission) -> None:
    """Move it to ``old``: it is settled, and need not be read at every call."""
    old = submission.folder.parent / OLD
    old.mkdir(exist_ok=True)
    try:
        submission.folder.rename(old / submission.name)
    except OSError:
        # Another caller was faster.
        return


def prune(root: Path) -> None:
    """Remove what was put away a month before the newest, which are kept. No clock is asked: it may be wrong."""
    times: list[tuple[float, Path]] = []
    for path in (root / FOLDER / OLD).glob("*"):
        with suppress(OSError):
            times.append((path.stat().st_mtime, path))
    times.sort(reverse=True)
    for when, path in times[_KEPT:]:
        if times[_KEPT - 1][0] - when > _KEPT_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def check_private(folder: Path, group: bool) -> None:
    """Raises StoreFault where others could have written what a job is going to be told by ``folder``."""
    now = folder.stat()
    writable = stat.S_IWOTH | (0 if group else stat.S_IWGRP)
    if now.st_uid != os.getuid() or now.st_mode & writable:
        raise StoreFault(
            f"{folder}: owner {now.st_uid}, mode {stat.filemode(now.st_mode)}; it must be owned by {os.getuid()} "
            f"and writable by nobody else\n  chmod go-w it, or submit again"
        )
