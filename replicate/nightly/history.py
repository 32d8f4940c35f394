"""``<store>/.nights``: what every night found, which was the last, and who is at it.

<store>/.nights/.work/claim             a lease, held while a night runs; heals itself (see `replicate.store.lease`)
<store>/.nights/.work/checked.json      when each result was last computed again, and by which code
<store>/.nights/.work/again/<world>/    results being computed again (see `replicate.actions.recheck`)
<store>/.nights/<world>/<time>/         summary.md, summary.json, cells.json of one night
<store>/.nights/<world>/latest          link to the last one
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from replicate.nightly.snapshot import Snapshot
from replicate.store import lease
from replicate.store.files import parsed, write_json, write_text

FOLDER = ".nights"
CELLS, SUMMARY, REPORT = "cells.json", "summary.json", "summary.md"
LATEST = "latest"

_STALE = 900.0
"""Seconds without a sign of life after which a night on another machine counts as dead."""
_KEPT_DAYS, _KEPT_NIGHTS = 400, 30
"""A night is kept until so many later ones are all so many days younger: a year and a month later, this night of last
year can still be looked at, and some nights whose clock was years ahead forget nothing."""


class Checked(BaseModel):
    """When a result was last computed again (seconds since 1970), and the provenance of whoever asked for it.

    What a node has installed is only known once it has answered.
    """

    model_config = ConfigDict(frozen=True)

    when: float
    asked: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Nights:
    """The nights of one world in the store ``store``: a scale, and apart from it the same with published weights."""

    store: Path
    world: str

    @property
    def folder(self) -> Path:
        return self.store / FOLDER / self.world

    @property
    def work(self) -> Path:
        """Of the nights of all worlds."""
        return self.store / FOLDER / ".work"

    @property
    def again(self) -> Path:
        return self.work / "again" / self.world

    @contextmanager
    def sole(self) -> Iterator[bool]:
        """Hold the lease on running a night in this store; yields whether we have it."""
        self.work.mkdir(parents=True, exist_ok=True)
        # Asked for owners on other machines only, of which the process list here says nothing.
        if not lease.acquire(self.work, lambda _, silence: silence > _STALE):
            yield False
            return
        try:
            # A night that was taken for dead is at its results under leases of their own: it may end as it would.
            with lease.beating(self.work, lost=lambda: None):
                yield True
        finally:
            lease.release(self.work)

    def holder(self) -> str:
        owner = lease.holder(self.work)
        return f"process {owner.pid} on {owner.host}" if owner else "another process"

    def last(self) -> Snapshot | None:
        """What the last night found that has a snapshot, None before the first. What is damaged is passed over."""
        names = [LATEST, *sorted((path.name for path in self.folder.glob("[0-9]*")), reverse=True)]
        for name in names:
            with suppress(OSError, ValueError, TypeError, KeyError):
                return Snapshot.parse((self.folder / name / CELLS).read_text(encoding="utf-8"))
        return None

    def write(self, when: float, files: Mapping[str, str]) -> Path:
        """Add the folder of a night that was at ``when`` (seconds since 1970); ``latest`` then leads to it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{uuid.uuid4().hex}.tmp"
        temporary.mkdir()
        try:
            for name, text in files.items():
                write_text(temporary / name, text)
            folder = self._placed(temporary, _name(when))
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        link = self.folder / f".{uuid.uuid4().hex}.link"
        link.symlink_to(folder.name)
        link.replace(self.folder / LATEST)
        self._prune(folder.name)
        return folder

    def _prune(self, newest: str) -> None:
        """Forget the oldest nights, but never ``newest``, which a clock of 1970 may have dated."""
        names = sorted((path.name for path in self.folder.glob("[0-9]*")), reverse=True)
        with suppress(ValueError, IndexError, OverflowError):
            oldest = _day(names[_KEPT_NIGHTS - 1]) - timedelta(days=_KEPT_DAYS)
            for name in names[_KEPT_NIGHTS:]:
                if name != newest and _day(name) < oldest:
                    shutil.rmtree(self.folder / name, ignore_errors=True)

    def _placed(self, made: Path, name: str) -> Path:
        number = 1
        while True:
            folder = self.folder / (name if number == 1 else f"{name}-{number}")
            if not folder.exists():
                return made.rename(folder)
            number += 1

    def checked(self) -> dict[str, Checked]:
        """When each result was last computed again, by key. What is damaged is passed over."""
        try:
            entries = parsed((self.work / "checked.json").read_bytes())
        except (OSError, ValueError):
            return {}
        checked = {}
        for key, entry in entries.items() if isinstance(entries, dict) else ():
            with suppress(ValidationError):
                checked[key] = Checked.model_validate(entry)
        return checked

    def note_checked(self, checked: Mapping[str, Checked]) -> None:
        every = {**self.checked(), **checked}
        write_json(self.work / "checked.json", {key: entry.model_dump(mode="json") for key, entry in every.items()})


def _day(name: str) -> datetime:
    return datetime.strptime(name[:10], "%Y-%m-%d")


def _name(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime(when))
