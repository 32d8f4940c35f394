"""Finished jobs, computed again beside the store and compared before anything is replaced.

The new results grow in an ordinary store of their own, ``<store>/.nights/.work/again/<world>``, in which the inputs are
links to the results that the old ones were computed from. So the same workers and the same Slurm steps fill it, it
survives the same accidents, and nobody who reads the store meanwhile sees anything of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from replicate.jobs.job import Job
from replicate.plan.graph import Graph
from replicate.store import lease
from replicate.store.files import read_json, write_json
from replicate.store.provenance import differences
from replicate.store.result import JOB, Result
from replicate.store.store import RETRIED, Store

ASKED = ".asked.json"


@dataclass(frozen=True, slots=True)
class Recheck:
    """A result beside its repetition. ``moved``: the new one took its place, and ``aside`` holds the old one.

    detail: what is different. cause: what changed between the two makings. commits: old and new.
    """

    key: str
    kind: str
    outcome: Literal["same", "within", "moved"]
    detail: str
    cause: tuple[str, ...]
    commits: tuple[str, str]
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Rechecks:
    """Of the results of ``store``; ``folder`` is where the new ones grow."""

    store: Store
    folder: Path

    @property
    def again(self) -> Store:
        return Store(self.folder, gone=self.store.gone)

    def waiting(self, graph: Graph) -> list[str]:
        """Keys of ``graph`` that earlier nights began to compute again."""
        return [folder.name for folder in self._begun() if folder.name in graph.jobs]

    def drop(self, graph: Graph) -> None:
        """Forget what was begun to be computed again and ``graph`` no longer has."""
        for folder in self._begun():
            if folder.name not in graph.jobs and not lease.holder_alive(folder, self.store.gone):
                shutil.rmtree(folder, ignore_errors=True)

    def _begun(self) -> list[Path]:
        folders = sorted(path.parent for path in self.folder.glob(f"*/{JOB}"))
        # The others are what it reads.
        return [folder for folder in folders if not folder.is_symlink()]

    def begin(self, graph: Graph, keys: Sequence[str], asked: Mapping[str, object]) -> Graph:
        """Prepare ``keys`` to be computed again; returns their graph, with the inputs as finished jobs.

        asked: provenance of who asks. Keys of which an input is not there now are left out.
        """
        self._make_folder()
        again = self.again
        possible = [key for key in keys if self._has_inputs(graph.jobs[key])]
        for key in possible:
            job = graph.jobs[key]
            for upstream in job.inputs.values():
                self._link(upstream)
            again.prepare(job)
            if not (again.folder(key) / ASKED).exists():
                write_json(again.folder(key) / ASKED, dict(asked))
                # What Slurm did for this key in earlier nights says nothing about this one.
                (again.folder(key) / RETRIED).touch()
        inputs = {key for one in possible for key in graph.jobs[one].inputs.values()}
        # An input is finished here, so what it was made from does not matter.
        jobs = {key: replace(job, inputs={}) if key in inputs else job for key, job in graph.jobs.items()}
        return Graph({key: job for key, job in jobs.items() if key in inputs or key in possible})

    def settle(self, graph: Graph, keys: Iterable[str]) -> tuple[list[Recheck], dict[str, dict[str, object]]]:
        """Compare what has arrived of ``keys``; a result that moved is replaced, and kept under ``.aside``.

        Returns the comparisons, and for each key who had asked.
        """
        settled: list[Recheck] = []
        asked: dict[str, dict[str, object]] = {}
        again = self.again
        for key in keys:
            new = again.result(key)
            if new is None:
                if key in again.damage:
                    again.set_aside(key)
                continue
            asker = read_json(new.folder / ASKED)
            old = self.store.result(key)
            if old is None:
                # The other caller lost it, or a night was killed between taking the old away and this.
                self._place(key, new)
                continue
            one = compared(graph.jobs[key], old, new)
            if one.outcome == "moved":
                one = self._replaced(one, new)
                if not one.aside:
                    continue
            else:
                shutil.rmtree(new.folder, ignore_errors=True)
            settled.append(one)
            asked[key] = asker
        return settled, asked

    def _replaced(self, one: Recheck, new: Result) -> Recheck:
        aside = self.store.set_aside(one.key)
        if aside is None or not self._place(one.key, new):
            # Somebody is at work there; the next night compares with what comes of it.
            return one
        where = str(aside.relative_to(self.store.root))
        return Recheck(one.key, one.kind, one.outcome, one.detail, one.cause, one.commits, where)

    def _place(self, key: str, new: Result) -> bool:
        for name in (ASKED, RETRIED):
            (new.folder / name).unlink(missing_ok=True)
        self.store.forget(key)
        try:
            new.folder.rename(self.store.folder(key))
        except OSError:
            return False
        return True

    def _has_inputs(self, job: Job) -> bool:
        return all(self.store.result(key) is not None for key in job.inputs.values())

    def _link(self, key: str) -> None:
        link = self.folder / key
        if link.is_symlink():
            return
        if link.is_dir():
            # An input that was once computed again itself; its result is in the store.
            shutil.rmtree(link, ignore_errors=True)
        with suppress(FileExistsError):
            link.symlink_to(os.path.relpath(self.store.folder(key), self.folder))

    def _make_folder(self) -> None:
        """As readable as the store itself: what moves from here into it keeps its group."""
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True)
            like = self.store.root.stat()
            with suppress(OSError):
                os.chown(self.folder, -1, like.st_gid)
            self.folder.chmod(like.st_mode & 0o7777)


def compared(job: Job, old: Result, new: Result) -> Recheck:
    """``old`` beside ``new``. Decisions and similarities agree to the byte or not; timings within their intervals."""
    cause = tuple(differences(old.provenance, new.provenance, machine=True))
    commits = (old.made.commit, new.made.commit)
    if old.files == new.files:
        return Recheck(job.key, job.kind, "same", "identical, byte for byte", cause, commits)
    if job.timed:
        moved, detail = job.moved(old, new)
        return Recheck(job.key, job.kind, "moved" if moved else "within", detail, cause, commits)
    names = sorted(name for name in {*old.files, *new.files} if old.files.get(name) != new.files.get(name))
    return Recheck(job.key, job.kind, "moved", f"other bytes in {', '.join(names)}", cause, commits)
