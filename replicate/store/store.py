"""The results folder: one folder per job key, and what can be said of each."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from replicate.errors import StoreFault, StoreUnusable, Unreadable
from replicate.plan.job import Job, without_neutral
from replicate.store import lease
from replicate.store.files import read_json, write_json
from replicate.store.result import JOB, RESULT, Result, read_result

FAILURE = "failure.json"
PROGRESS = "progress.json"
LOG = "log.txt"

State = Literal["done", "running", "failed", "damaged", "absent"]


@dataclass(slots=True)
class Store:
    """``damage`` collects what was found wrong with stored results, so that it can be said once.

    ``gone``: see `replicate.store.lease.Gone`; without it a claim made on another host counts as alive.
    """

    root: Path
    damage: dict[str, str] = field(default_factory=dict)
    gone: lease.Gone | None = None
    _results: dict[str, Result] = field(default_factory=dict)

    def folder(self, key: str) -> Path:
        return self.root / key

    def result(self, key: str) -> Result | None:
        """The result of ``key``; None where there is none or a damaged one (then noted in ``damage``).

        Raises Unreadable where nobody can tell.
        """
        known = self._results.get(key)
        if known is not None:
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
        """`state` of each. What has no folder is not looked for: one listing in place of three files a job."""
        try:
            with os.scandir(self.root) as entries:
                there = {entry.name for entry in entries}
        except FileNotFoundError:
            there = set()
        except OSError:
            # A folder that may not be listed may still let those be read whose names are known.
            return {key: self.state(key) for key in keys}
        there |= self._results.keys() | self.damage.keys()
        return {key: self.state(key) if key in there else "absent" for key in keys}

    def forget(self, key: str) -> None:
        """Drop what this process remembers of ``key``; the next question looks at the disk again."""
        self._results.pop(key, None)
        self.damage.pop(key, None)

    def failure(self, key: str) -> Mapping[str, Any]:
        return read_json(self.folder(key) / FAILURE)

    def fails_again(self, key: str) -> bool:
        """Whether the failure of ``key`` would come again by itself, as a divergence does."""
        return not self.failure(key).get("retry", True)

    def trouble(self, key: str) -> str:
        """How ``key`` failed, as people are told: ``diverged: loss is nan in epoch 3``."""
        failure = self.failure(key)
        return f"{failure.get('kind', 'error')}: {failure.get('message', 'see its log')}"

    def progress(self, key: str) -> Mapping[str, Any]:
        return read_json(self.folder(key) / PROGRESS)

    def prepare(self, job: Job) -> Path:
        """The folder of ``job``, with its ``job.json``, from which the job can be redone without any spec.

        Raises StoreFault when the folder is of a job that computes something else (a collision of keys).
        """
        folder = self.folder(job.key)
        folder.mkdir(parents=True, exist_ok=True)
        body = {
            "key": job.key,
            "payload": job.payload,
            "inputs": job.inputs,
            "run": job.run,
            "seed": job.seed,
        }
        known = read_json(folder / JOB)
        # A field that came later, at its neutral value, is no difference: the key does not see it either.
        before = without_neutral(known.get("payload") or {})
        if known and before != without_neutral(json.loads(json.dumps(job.payload))):
            raise StoreFault(f"{job.key}: the folder holds another job of the same key; move it away")
        if known != json.loads(json.dumps(body)):
            write_json(folder / JOB, body)
        return folder

    def set_aside(self, key: str) -> Path | None:
        """Move the result of ``key`` to ``<root>/.aside/``, so that the job counts as not run.

        None, and nothing moved, where there is no folder or another process is at work in it.
        """
        folder = self.folder(key)
        self.forget(key)
        # Under a claim: two callers that find the same damage must not move each other's new work away.
        try:
            if not lease.acquire(folder, self.gone):
                return None
        except FileNotFoundError:
            return None
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
        """Raises StoreUnusable, in the house form, when results cannot be written here."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".probe") as probe:
                # A full disk lets a file be created and refuses its contents.
                probe.write(b"\0" * 65536)
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            raise StoreUnusable(_unusable(self.root, error)) from error


def remove_scratch(folder: Path) -> None:
    """What only a job in progress needs."""
    for path in folder.glob("checkpoint*"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    for name in (PROGRESS, FAILURE):
        (folder / name).unlink(missing_ok=True)
    # Of a process that was killed while writing. job.json is written by callers too, who do not hold the claim.
    for path in folder.glob(".*.tmp"):
        if not path.name.startswith(f".{JOB}."):
            path.unlink(missing_ok=True)


def _unusable(root: Path, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(root).free // 1_000_000
        return (
            f"{root}: results cannot be written, got a full disk ({free} MB free)\n"
            "  make room, or name another folder with --results DIR"
        )
    return (
        f"{root}: results cannot be written, got '{error.strerror}'\n"
        "  name a folder that you may write with --results DIR"
    )
