"""``<store>/.nights``: what every night found, which was the last, and who is at it.

<store>/.nights/.work/claim             held while a night runs; heals itself (see `replicate.store.lease`)
<store>/.nights/.work/checked.json      when each result was last computed again, and by which code
<store>/.nights/.work/again/<world>/    results being computed again (see `replicate.nightly.recheck`)
<store>/.nights/<world>/<time>/         summary.md, summary.json, cells.json of one night
<store>/.nights/<world>/latest          link to the last one
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from replicate.jobs.key import canonical
from replicate.store import lease
from replicate.store.files import write_json, write_text

FOLDER = ".nights"
CELLS, SUMMARY, REPORT = "cells.json", "summary.json", "summary.md"
LATEST = "latest"

_STALE = 900.0
"""Seconds without a sign of life after which a night on another machine counts as dead."""
_KEPT_SECONDS = 400 * 86400.0
"""A year and a month: this night of last year can still be looked at."""


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
        """Hold the claim on running a night in this store; yields whether we have it."""
        self.work.mkdir(parents=True, exist_ok=True)
        # Asked for owners on other machines only, of which the process list here says nothing.
        if not lease.acquire(self.work, lambda _: lease.silence(self.work) > _STALE):
            yield False
            return
        try:
            # A night that was taken for dead is at its results under claims of their own: it may end as it would.
            with lease.beating(self.work, lost=lambda: None):
                yield True
        finally:
            lease.release(self.work)

    def holder(self) -> str:
        owner = lease.holder(self.work)
        return f"process {owner.pid} on {owner.host}" if owner else "another process"

    def last(self) -> Mapping[str, Any] | None:
        """The cells of the last night that has any, None before the first. What is damaged is passed over."""
        names = [LATEST, *sorted((path.name for path in self.folder.glob("[0-9]*")), reverse=True)]
        for name in names:
            with suppress(OSError, ValueError, TypeError, KeyError):
                found = json.loads((self.folder / name / CELLS).read_text(encoding="utf-8"))
                if found["digest"] == digest_of(found):
                    return dict(found)
        return None

    def write(self, when: float, files: Mapping[str, str]) -> Path:
        """Add the folder of a night that was at ``when`` (seconds since 1970); ``latest`` then leads to it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        made = self.folder / f".{uuid.uuid4().hex}.tmp"
        made.mkdir()
        try:
            for name, text in files.items():
                write_text(made / name, text)
            folder = self._placed(made, _name(when))
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        link = self.folder / f".{uuid.uuid4().hex}.link"
        link.symlink_to(folder.name)
        link.replace(self.folder / LATEST)
        self._prune(when)
        return folder

    def _prune(self, when: float) -> None:
        oldest = _name(when - _KEPT_SECONDS)
        for path in self.folder.glob("[0-9]*"):
            if path.name < oldest:
                shutil.rmtree(path, ignore_errors=True)

    def _placed(self, made: Path, name: str) -> Path:
        number = 1
        while True:
            folder = self.folder / (name if number == 1 else f"{name}-{number}")
            if not folder.exists():
                return made.rename(folder)
            number += 1

    def checked(self) -> dict[str, dict[str, Any]]:
        """Key -> ``{"when": seconds since 1970, "asked": provenance}`` of the last time it was computed again.

        ``asked`` is of whoever asked: what a node has installed is only known once it has answered.
        """
        try:
            found = json.loads((self.work / "checked.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {key: one for key, one in found.items() if isinstance(one, dict) and {"when", "asked"} <= one.keys()}

    def note_checked(self, checked: Mapping[str, Mapping[str, Any]]) -> None:
        write_json(self.work / "checked.json", {**self.checked(), **checked})


def _name(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime(when))


def digest_of(cells: Mapping[str, Any]) -> str:
    """Checksum of the cells of a night, without its own."""
    body = {name: value for name, value in cells.items() if name != "digest"}
    return sha256(canonical(body)).hexdigest()
