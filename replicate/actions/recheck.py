"""Finished jobs, computed again beside the store and compared before anything is replaced.

The new results grow in an ordinary store of their own: ``<store>/.again/<world>`` for `redo`, and
``<store>/.nights/.work/again/<world>`` for nights. In it the inputs are links to the results that the old ones were
computed from. So the same workers and the same Slurm steps fill it, it survives the same accidents, and nobody who
reads the store meanwhile sees anything of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from replicate.actions.paper import Paper
from replicate.actions.run_missing import RunOptions, run_missing
from replicate.backends.backend import Reporter, RunReport
from replicate.jobs.job import Job
from replicate.plan.graph import Graph
from replicate.specs.load import Specs
from replicate.store import lease
from replicate.store.files import read_json, write_json
from replicate.store.provenance import differences, provenance
from replicate.store.result import JOB, Result
from replicate.store.store import LOG, RETRIED, Store

ASKED = ".asked.json"
FOLDER = ".again"
"""In the store: what `redo` computes again."""
SHOWN = 4
"""Numbers of a summary that a comparison names."""


@dataclass(frozen=True, slots=True)
class Recheck:
    """A result beside its repetition.

    outcome: ``same`` to the byte; ``within`` what two timings may differ by; ``moved``.
    detail: what is different. cause: what changed between the two makings. commits: old and new.
    aside: where the old result is kept, if the new one took its place.
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
    """Of the results of ``store``; ``folder`` is where the new ones grow.

    always: whether a new result takes the place of the old one although nothing moved, with its newer provenance.
    """

    store: Store
    folder: Path
    always: bool = False

    @property
    def again(self) -> Store:
        return Store(self.folder, gone=self.store.gone)

    def waiting(self, graph: Graph) -> list[str]:
        """Keys of ``graph`` that earlier calls began to compute again."""
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

        An input that is itself computed again is no finished job: what reads it waits for it.
        asked: provenance of who asks. Keys are left out of which an input is not there now, and those that a
        running repetition reads. With ``always``, what other code or packages began is begun anew.
        """
        self._make_folder()
        again, chosen = self.again, self._chosen(graph, keys)
        for key in chosen:
            folder = self.folder / key
            if folder.is_symlink():
                # Until now an input of others. Through the link, the files below would be written into the store.
                folder.unlink()
            elif self.always and self._of_others(folder, asked):
                shutil.rmtree(folder, ignore_errors=True)
            again.prepare(graph.jobs[key])
            if not (folder / ASKED).exists():
                write_json(folder / ASKED, dict(asked))
                # What Slurm did for this key in earlier calls says nothing about this one.
                (folder / RETRIED).touch()
        inputs = {upstream for key in chosen for upstream in graph.jobs[key].inputs.values()} - chosen
        for key in inputs:
            self._link(key)
        # An input is finished here, so what it was made from does not matter.
        jobs = {key: replace(job, inputs={}) if key in inputs else job for key, job in graph.jobs.items()}
        return Graph({key: job for key, job in jobs.items() if key in inputs or key in chosen})

    def _chosen(self, graph: Graph, keys: Iterable[str]) -> set[str]:
        """Those of ``keys`` that can be computed again now, and what earlier calls began of their inputs."""
        begun = {*self.waiting(graph)}
        read_now = self._read(folder for folder in self._begun() if lease.holder_alive(folder, self.store.gone))
        chosen: set[str] = set()
        found = {key for key in keys if key in begun or key not in read_now}
        while found := {key for key in found - chosen if self._has_inputs(graph.jobs[key])}:
            chosen |= found
            found = {key for reader in found for key in graph.jobs[reader].inputs.values()} & begun
        return chosen

    def settle(self, graph: Graph, keys: Iterable[str]) -> tuple[list[Recheck], dict[str, dict[str, object]]]:
        """Compare what has arrived of ``keys``; a result that moved is replaced, and kept under ``.aside``.

        Returns the comparisons, and for each key who had asked.
        """
        settled: list[Recheck] = []
        asked: dict[str, dict[str, object]] = {}
        again, read = self.again, self._read(self._begun())
        for key in keys:
            # A link is an input: nothing was computed there.
            new = None if again.folder(key).is_symlink() else again.result(key)
            if new is None:
                if key in again.damage:
                    again.set_aside(key)
                continue
            asker = read_json(new.folder / ASKED)
            # Another caller may have replaced it since it was read.
            self.store.forget(key)
            old = self.store.result(key)
            if old is None:
                # The other caller lost it, or a night was killed between taking the old away and this.
                self._place(key, new)
                continue
            recheck = compared(graph.jobs[key], old, new)
            if recheck.outcome == "moved" or self.always:
                aside = self._replace(key, new)
                if aside is None:
                    # Somebody is at work there; a later call compares with what comes of it.
                    continue
                recheck = replace(recheck, aside=str(aside.relative_to(self.store.root)))
            else:
                shutil.rmtree(new.folder, ignore_errors=True)
            if key in read:
                self._link(key)
            settled.append(recheck)
            asked[key] = asker
        return settled, asked

    def _replace(self, key: str, new: Result) -> Path | None:
        """Put ``new`` in the place of the old result; returns where that is kept. Without success nothing changes."""
        aside = self.store.set_aside(key)
        if aside is None:
            return None
        if not self._place(key, new):
            # Whoever took the place meanwhile keeps it: a rename replaces no folder that holds anything.
            with suppress(OSError):
                aside.rename(self.store.folder(key))
                aside.parent.rmdir()
            return None
        return aside

    def _place(self, key: str, new: Result) -> bool:
        folder = self.store.folder(key)
        self.store.forget(key)
        try:
            new.folder.rename(folder)
        except OSError:
            return False
        for name in (ASKED, RETRIED):
            (folder / name).unlink(missing_ok=True)
        return True

    def _of_others(self, folder: Path, asked: Mapping[str, object]) -> bool:
        """Whether other code or packages left something in ``folder``, and nobody is at work there."""
        begun = read_json(folder / ASKED)
        return bool(begun and differences(begun, asked)) and not lease.holder_alive(folder, self.store.gone)

    def _has_inputs(self, job: Job) -> bool:
        return all(self.store.result(key) is not None for key in job.inputs.values())

    def _read(self, folders: Iterable[Path]) -> set[str]:
        """The inputs of the jobs that are computed again in ``folders``."""
        inputs = [read_json(folder / JOB).get("inputs") for folder in folders]
        return {str(key) for read in inputs if isinstance(read, dict) for key in read.values()}

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
    parts = [f"other bytes in {', '.join(names)}", *_other_numbers(old.summary, new.summary)]
    return Recheck(job.key, job.kind, "moved", "; ".join(parts), cause, commits)


def _other_numbers(old: Mapping[str, Any], new: Mapping[str, Any], within: str = "") -> list[str]:
    """What the two summaries have in common and say otherwise: ``correct class 812 → 810``."""
    said: list[str] = []
    for name in old.keys() & new.keys():
        was, now = old[name], new[name]
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            said += _other_numbers(was, now, f"{within}{name} ")
        elif was != now and isinstance(was, int | float | str) and isinstance(now, int | float | str):
            said.append(f"{within}{name} {was} → {now}")
    said.sort()
    return said if within else [*said[:SHOWN], *([f"{len(said) - SHOWN} more"] if len(said) > SHOWN else [])]


@dataclass(frozen=True, slots=True)
class Redone:
    """What `redo` did. compared: by key. not_compared: finished jobs that are as they were, with the reason."""

    report: RunReport
    compared: Mapping[str, Recheck] = field(default_factory=dict)
    not_compared: Mapping[str, str] = field(default_factory=dict)


def redo(
    paper: Paper, specs: Specs, graph: Graph, store: Store, keys: Sequence[str], options: RunOptions, reporter: Reporter
) -> Redone:
    """Compute the finished jobs ``keys`` of ``graph`` again and compare; run those of them that have no result.

    A stored result stays where it is until its repetition has come and was compared; then that takes its place, and
    the old one is kept under ``.aside``. What was stopped goes on with the next call, also what waits in Slurm's queue.
    Errors: those of `run_missing`; the results are then as they were.
    """
    finished = [key for key in dict.fromkeys(keys) if store.result(key) is not None]
    lacking = [key for key in keys if key not in finished]
    lacking += [read for key in finished for read in graph.jobs[key].inputs.values() if store.result(read) is None]
    report = RunReport()
    rechecks = Rechecks(store, store.root / FOLDER / specs.namespace, always=True)
    if lacking:
        # A call that was killed between taking the old result away and putting the new one in its place.
        rechecks.settle(graph, lacking)
        needed = graph.needed_for(lacking)
        report = run_missing(paper, needed, store, specs, list(keys), replace(options, wait=True), reporter)
    if not finished:
        return Redone(report)
    begun = rechecks.begin(graph, finished, provenance())
    again = rechecks.again
    rerun = paper.backend(specs.scale, reporter).rerun(begun, again, ["again"], wait=True)
    settled, _ = rechecks.settle(graph, finished)
    compared = {recheck.key: recheck for recheck in settled}
    report = replace(
        report,
        done=[*report.done, *rerun.done],
        submitted={**report.submitted, **rerun.submitted},
        failed={**report.failed, **{key: f"computed again: {reason}" for key, reason in rerun.failed.items()}},
        logs={**report.logs, **{key: rerun.logs.get(key, again.folder(key) / LOG) for key in rerun.failed}},
        notes=[*report.notes, *rerun.notes],
    )
    left = [key for key in finished if key not in compared]
    return Redone(report, compared, {key: _why_not(key, rerun, begun, again) for key in left})


def _why_not(key: str, rerun: RunReport, begun: Graph, again: Store) -> str:
    """Why the finished job ``key`` was not compared."""
    if key in rerun.failed:
        return f"computed again, it failed: {rerun.failed[key]}"
    if key not in begun.jobs:
        return "an input has no result, or another call is just reading this one"
    if key in rerun.elsewhere:
        return f"not computed again yet: {rerun.elsewhere[key][1]}"
    if again.result(key) is not None:
        return "another process is at work on it in the store"
    return "not computed again yet, or another call compared it"
