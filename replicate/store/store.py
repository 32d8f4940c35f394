"""The store: one folder a job key, and the state of each job in it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Literal

from replicate.errors import StoreFault, StoreUnusable, Unreadable
from replicate.jobs.job import Job, same_result, to_json
from replicate.store import epochs, lease
from replicate.store.epochs import EpochLine
from replicate.store.files import read_json, write_json
from replicate.store.result import JOB, RESULT, Result, read_result

FAILURE = "failure.json"
PROGRESS = "progress.json"
LOG = "log.txt"
RETRIED = ".retried"
"""In the folder of a job: whatever a scheduler did for it before this file was written no longer counts."""

SUSPICIOUS = "suspicious"
"""The kind of failure of a training that was stopped for it, and the word in the progress of one that goes on."""

State = Literal["done", "running", "failed", "damaged", "absent"]


@dataclass(frozen=True, slots=True)
class Place:
    """The GPUs that compute a job, and how many processes share it."""

    devices: tuple[str, ...] = ()
    ranks: int = 1

    @classmethod
    def of(cls, progress: Mapping[str, object]) -> Place:
        """Read what stands in the progress of a job, which may be damaged."""
        devices, ranks = progress.get("devices"), progress.get("ranks")
        names = tuple(name for name in devices if isinstance(name, str)) if isinstance(devices, list) else ()
        return cls(names, ranks if type(ranks) is int and ranks > 0 else 1)

    def __str__(self) -> str:
        """``on GPUs 0, 1``, ``in 2 ranks``; empty for one process without a GPU."""
        gpus = f"on GPU{'s' if len(self.devices) > 1 else ''} {', '.join(self.devices)}" if self.devices else ""
        shared = f"in {self.ranks} ranks" if self.ranks > 1 and self.ranks != len(self.devices) else ""
        return " ".join(filter(None, (gpus, shared)))


@dataclass(slots=True)
class Store:
    """The results under ``root``.

    damage: faults of stored results by key, to be reported once. gone: see `replicate.store.lease.Gone`; without it a
    lease of another host counts as alive. absent: keys that had no folder when the states of many were last looked at,
    so that nobody looks for their results again; `forget` strikes one out.
    """

    root: Path
    damage: dict[str, str] = field(default_factory=dict)
    gone: lease.Gone | None = None
    absent: set[str] = field(default_factory=set)
    _results: dict[str, Result] = field(default_factory=dict)

    def folder(self, key: str) -> Path:
        return self.root / key

    def result(self, key: str) -> Result | None:
        """Return the result of ``key``; None without one, and for a damaged one, which ``damage`` then names.

        Raises Unreadable if its files cannot be read.
        """
        known = self._results.get(key)
        if known is not None or key in self.absent:
            return known
        try:
            found = read_result(self.folder(key), key)
        except Unreadable:
            raise
        except StoreFault as fault:
            self.damage[key] = str(fault)
            return None
        if found is not None:
            self._results[key] = found
        return found

    def state(self, key: str) -> State:
        if self.result(key) is not None:
            return "done"
        folder = self.folder(key)
        if lease.holder_alive(folder, self.gone):
            return "running"
        if key in self.damage:
            return "damaged"
        return "failed" if (folder / FAILURE).exists() else "absent"

    def states(self, keys: Iterable[str]) -> dict[str, State]:
        """Return the state of each key. One listing spares three look-ups a key without folder."""
        keys = list(keys)
        gone = self._without_folder(keys)
        return {key: "absent" if key in gone else self.state(key) for key in keys}

    def note_absent(self, keys: Iterable[str]) -> None:
        """Fill ``absent``: until the next call, those of ``keys`` that have no folder now count as not run."""
        self.absent = self._without_folder(keys)

    def _without_folder(self, keys: Iterable[str]) -> set[str]:
        try:
            with os.scandir(self.root) as entries:
                there = {entry.name for entry in entries}
        except FileNotFoundError:
            there = set()
        except OSError:
            # Where listing is forbidden, files of known names may still be readable.
            return set()
        return set(keys) - there - self._results.keys() - self.damage.keys()

    def forget(self, key: str) -> None:
        """Drop the cached result and damage of ``key``, so that the next call reads the disk again."""
        self._results.pop(key, None)
        self.damage.pop(key, None)
        self.absent.discard(key)

    def failure(self, key: str) -> Mapping[str, object]:
        return read_json(self.folder(key) / FAILURE)

    def epochs(self, key: str) -> Sequence[EpochLine]:
        """The epochs of a training so far, while it runs and afterwards."""
        return epochs.read(self.folder(key))

    def fails_again(self, key: str) -> bool:
        """Return whether ``key`` would fail again without a change, as after a divergence."""
        return not self.failure(key).get("retry", True)

    def trouble(self, key: str) -> str:
        """Return how ``key`` failed, for people: ``diverged: loss is nan in epoch 3``."""
        failure = self.failure(key)
        return f"{failure.get('kind', 'error')}: {failure.get('message', 'see its log')}"

    def progress(self, key: str) -> Mapping[str, float]:
        """Return the numbers that the job last wrote. What is no finite number is left out: a file may be damaged."""
        progress = read_json(self.folder(key) / PROGRESS)
        return {name: value for name, value in progress.items() if isinstance(value, int | float) and isfinite(value)}

    def place(self, key: str) -> Place:
        """Where the job runs, as far as it said."""
        return Place.of(read_json(self.folder(key) / PROGRESS))

    def suspicion(self, key: str) -> str:
        """Return why the running training ``key`` is suspicious (`replicate.store.suspicion`); empty if it is not."""
        why = read_json(self.folder(key) / PROGRESS).get(SUSPICIOUS, "")
        return why if isinstance(why, str) else ""

    def forgive(self, keys: Iterable[str]) -> list[str]:
        """Forget how jobs failed, so that the next call runs them; their logs stay. Return those forgiven."""
        forgiven = list(keys)
        for key in forgiven:
            # One that its node could not start has no folder yet.
            self.folder(key).mkdir(parents=True, exist_ok=True)
            (self.folder(key) / FAILURE).unlink(missing_ok=True)
            (self.folder(key) / RETRIED).touch()
        return forgiven

    def prepare(self, job: Job) -> Path:
        """The folder of ``job``, with its ``job.json``, from which the job can be redone without any spec.

        Raises StoreFault if the folder belongs to another job with the same key (a collision of hashes).
        """
        folder = self.folder(job.key)
        folder.mkdir(parents=True, exist_ok=True)
        self.absent.discard(job.key)
        body = to_json(job)
        known = read_json(folder / JOB)
        # A field that came later, at its neutral value, is no difference: the key does not see it either.
        payload = known.get("payload")
        if isinstance(payload, dict) and not same_result(job, payload):
            raise StoreFault(f"{job.key}: the folder holds another job of the same key; move it away")
        if known != json.loads(json.dumps(body)):
            write_json(folder / JOB, body)
        return folder

    def set_aside(self, key: str) -> Path | None:
        """Move the folder of ``key`` to ``<root>/.aside/``, so that the job counts as not run. Return where it is now.

        Returns None, and moves nothing, without a folder, while another process holds the lease, or where another one
        has since moved away the result, or the damage, that was found here.
        """
        folder, found = self.folder(key), (self._results.get(key), key in self.damage)
        self.forget(key)
        # Under the lease: two callers that find the same must not move each other's new work away.
        try:
            if not lease.acquire(folder, self.gone):
                return None
        except FileNotFoundError:
            return None
        try:
            now = (self.result(key), key in self.damage)
        except Unreadable:
            lease.release(folder)
            raise
        if found not in ((None, False), now):
            lease.release(folder)
            return None
        self.forget(key)
        aside = self.root / ".aside"
        aside.mkdir(exist_ok=True)
        target = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=aside)) / key
        folder.rename(target)
        lease.release(target)
        return target

    def keys(self) -> list[str]:
        """Keys of all finished jobs."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{RESULT}"))

    def check_writable(self) -> None:
        """Raise StoreUnusable if results cannot be written here."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".probe") as probe:
                # On a full disk a file can be created, but not filled.
                probe.write(b"\0" * 65536)
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            raise StoreUnusable(_unusable(self.root, error)) from error


def remove_scratch(folder: Path) -> None:
    """Remove the files of ``folder`` that only a running job needs."""
    for path in folder.glob("checkpoint*"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    for name in (PROGRESS, FAILURE):
        (folder / name).unlink(missing_ok=True)
    # Left by a process that was killed while writing. Callers without the lease write job.json, too.
    for path in folder.glob(".*.tmp"):
        if not path.name.startswith(f".{JOB}."):
            path.unlink(missing_ok=True)


def _unusable(root: Path, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(root).free // 1_000_000
        return (
            f"{root}: results cannot be written: the disk is full ({free} MB free)\n"
            "  make room, or name another folder with --results DIR"
        )
    return f"{root}: results cannot be written: {error.strerror}\n  name a folder that you may write with --results DIR"
