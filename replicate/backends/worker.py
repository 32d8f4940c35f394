"""Performs one job: take its lease, run it, store its result. The same on every machine."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import closing, redirect_stderr, redirect_stdout, suppress
from enum import IntEnum
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import TYPE_CHECKING

from replicate.backends.devices import VISIBLE
from replicate.errors import Diverged, NotAvailable, RankGone, StoreFault, Unreadable
from replicate.jobs.job import Job
from replicate.jobs.train import Train
from replicate.specs.watch import TrackerName
from replicate.store import lease
from replicate.store.code import DIFF
from replicate.store.epochs import EPOCHS, EpochLine
from replicate.store.files import FULL, write_bytes, write_json
from replicate.store.result import JOB, RESULT, commit_result
from replicate.store.store import FAILURE, LOG, PROGRESS, SUSPICIOUS, Store, remove_scratch
from replicate.store.suspicion import Expected, expected_of, suspicion

if TYPE_CHECKING:
    from replicate.engine.tracker import Tracker


class Outcome(IntEnum):
    """The exit code of a worker process; any other code is a process that died.

    A full disk has a code of its own, since no file can say it.
    """

    DONE = 0
    FAILED = 1
    BUSY = 75
    INPUT_DAMAGED = 76
    STOPPED = 77
    DISK_FULL = 78

    @classmethod
    def of(cls, code: int | None) -> Outcome | None:
        return next((outcome for outcome in cls if outcome == code), None)

    @property
    def words(self) -> str:
        return self.name.lower().replace("_", " ")


ORPHAN_SECONDS = 600.0
"""A training whose caller is gone has this long to end its step, and then as long as its checkpoint takes.

A step of a large network takes seconds, minutes where a file system is slow to give the images: as much as the
processes of one training wait for each other. It is for those that hang; meanwhile its lease keeps others off the job.
"""
ORPHAN_REST = 5.0
"""What any other job has, to end or to be computed again."""


_NOT_ARTEFACTS = (JOB, RESULT, FAILURE, PROGRESS, LOG, DIFF, EPOCHS)

RANK_LOST = "rank lost"
"""The kind of failure where another process of a training is gone, or does not answer."""
GPU_MEMORY = "OOM-GPU"
"""The kind of failure where a batch did not fit the GPU: what `retry --class` takes."""
_GPU_HINT = (
    "GPU memory: use more processes (ntasks_per_node, gpus_per_node in [kinds.train] of the profile; mem is that of "
    f"the node), or REPLICATE_MICRO_BATCH (images computed at a time), then: retry --class {GPU_MEMORY}"
)


def main(
    root: str,
    job: Job,
    provenance: Mapping[str, object],
    gone: lease.Gone | None = None,
    threads: int | None = None,
    micro: int = 0,
    changes: bytes = b"",
    place: Mapping[str, object] | None = None,
) -> None:
    """Entry of a worker process. Stops cleanly at SIGTERM, and when the calling process is gone.

    threads, micro: see `prepared`. changes: of the code, beyond its commit; kept beside the result. place: what is
    shown of where the job runs while it does.
    """
    stop = prepared(job, threads, micro)
    outcome = perform(Store(Path(root), gone=gone), job, provenance, stop, changes, place)
    sys.exit(outcome)


def prepared(job: Job, threads: int | None = None, micro: int = 0) -> Callable[[], bool]:
    """Have this process stop at SIGTERM and when its caller is gone; returns whether it has to.

    threads: to decode with, of those that jobs beside this one need too, unless the user said how many. micro: images
    that it computes at a time; 0 leaves that to the engine.
    """
    if threads is not None:
        # With torch, which whoever has a share of this machine's cores to give has preloaded.
        from replicate.engine.batches import DECODE_THREADS

        os.environ.setdefault(DECODE_THREADS, str(threads))
    if micro:
        from replicate.engine.micro_batch import MICRO_BATCH

        os.environ[MICRO_BATCH] = str(micro)
    stopping, heard = threading.Event(), threading.Event()

    def stop() -> bool:
        if stopping.is_set():
            heard.set()
        return heard.is_set()

    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    # Ctrl-C reaches the whole process group; what follows from it is decided by the caller alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    patience = ORPHAN_SECONDS if job.resumable else ORPHAN_REST
    threading.Thread(target=_die_with_parent, args=(stopping, heard, patience), daemon=True).start()
    return stop


def take_part(root: str, job: Job, stop: Callable[[], bool]) -> Outcome:
    """Take part in a training that another process leads; that one holds the lease and writes the result."""
    from replicate.engine.run import Stopped, execute

    store = Store(Path(root))
    inputs = {role: store.folder(key) for role, key in job.inputs.items()} | _stored_aids(store, job)
    try:
        execute(job, inputs, store.folder(job.key), lambda fields: None, stop)
    except Stopped:
        return Outcome.STOPPED
    return Outcome.DONE


def perform(
    store: Store,
    job: Job,
    provenance: Mapping[str, object],
    stop: Callable[[], bool],
    changes: bytes = b"",
    place: Mapping[str, object] | None = None,
) -> Outcome:
    """Run ``job`` and store its result, unless it is stored or another process runs it."""
    try:
        return _perform(store, job, provenance, stop, changes, place or {})
    except OSError as error:
        if not _is_full(error):
            raise
        return Outcome.DISK_FULL


def _perform(
    store: Store,
    job: Job,
    provenance: Mapping[str, object],
    stop: Callable[[], bool],
    changes: bytes,
    place: Mapping[str, object],
) -> Outcome:
    folder = store.prepare(job)
    if not lease.acquire(folder, store.gone):
        return Outcome.BUSY
    try:
        try:
            if store.state(job.key) == "done":
                return Outcome.DONE
            if any(store.result(key) is None for key in job.inputs.values()):
                return Outcome.INPUT_DAMAGED
        except Unreadable as error:
            _note_failure(folder, error)
            return Outcome.FAILED
        store.forget(job.key)
        # A result is there only where it is damaged, and was not set aside before.
        for name in (FAILURE, RESULT):
            (folder / name).unlink(missing_ok=True)
        # Taken for dead, after a laptop's long sleep for example, while another computes: two must not write here.
        with lease.beating(folder, lost=lambda: os._exit(Outcome.BUSY)):
            return _run(store, job, folder, provenance, stop, changes, place)
    finally:
        lease.release(folder)


def _run(
    store: Store,
    job: Job,
    folder: Path,
    provenance: Mapping[str, object],
    stop: Callable[[], bool],
    changes: bytes,
    place: Mapping[str, object],
) -> Outcome:
    # torch is heavy: a command that only plans or looks must not pay for it (a preloaded worker has it already).
    from replicate.engine.machine import machine_of
    from replicate.engine.run import Stopped, execute

    started, cpu = time.monotonic(), _processor_seconds()
    inputs = {role: store.folder(key) for role, key in job.inputs.items()}

    lookout = Lookout(store, job)

    def report(fields: Mapping[str, object]) -> None:
        lookout.look(fields)
        why = {SUSPICIOUS: lookout.why} if lookout.why else {}
        with suppress(OSError):
            write_json(folder / PROGRESS, {**fields, **place, **why})

    if place:
        # What an earlier attempt wrote of how far it came still holds.
        with suppress(OSError):
            write_json(folder / PROGRESS, {**store.progress(job.key), **place})
    with (folder / LOG).open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as log:
        try:
            gpu = f", {VISIBLE}='{os.environ[VISIBLE]}'" if VISIBLE in os.environ else ""
            ranks = int(os.environ.get("WORLD_SIZE", "1"))
            gpu += f", rank 0 of {ranks}" if job.shared and ranks > 1 else ""
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            log.write(f"--- {now}: process {os.getpid()} on {socket.gethostname()}{gpu}\n")
            with redirect_stdout(log), redirect_stderr(log), closing(lookout):
                read = inputs | _stored_aids(store, job)
                summary = execute(job, read, folder, report, lambda: stop() or lookout.stop)
            remove_scratch(folder)
            cost = {
                "wall_seconds": round(time.monotonic() - started, 3),
                "cpu_seconds": round(_processor_seconds() - cpu, 3),
                # Linux counts kilobytes.
                "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            }
            if changes:
                write_bytes(folder / DIFF, changes)
            else:
                # Of an earlier attempt with other code.
                (folder / DIFF).unlink(missing_ok=True)
            made = {**provenance, "machine": machine_of(job).recorded()}
            commit_result(folder, job.key, _artefacts(folder), summary, cost, made)
        except Stopped:
            if not lookout.stop:
                return Outcome.STOPPED
            # Not tried again by a call that would stop it again; `run_missing` forgives it for any other.
            goes_on = f"stopped as was asked, its checkpoint is kept; it goes on with: run {job.key}"
            write_failure(folder, SUSPICIOUS, f"{lookout.why}\n  {goes_on}", retry=False)
            return Outcome.FAILED
        except Exception as error:
            with suppress(OSError):
                traceback.print_exception(error, file=log)
            _note_failure(folder, error)
            return Outcome.DISK_FULL if _is_full(error) else Outcome.FAILED
    return Outcome.DONE


class Lookout:
    """Looks at a training whenever an epoch of it ends, and hands the epoch on where somebody asked for it.

    why: it is suspicious, in words; empty if it is not. stop: whether it is to end for that.
    """

    def __init__(self, store: Store, job: Job) -> None:
        self.why, self.stop = "", False
        self._store, self._job = store, job
        self._expected: Expected | None = None
        self._tracker: Tracker | None = None

    def look(self, fields: Mapping[str, object]) -> None:
        """Judge the epochs so far, if ``fields``, which the training reports, say that one has ended."""
        job, rules = self._job, self._job.watch
        if rules is None or not isinstance(job, Train) or fields.get("step") != fields.get("steps"):
            return
        if self._expected is None:
            self._expected = expected_of(self._store, job)
        lines = self._store.epochs(job.key)
        if rules.tracker is not None and lines:
            self._track(rules.tracker, lines[-1])
        before, self.why = self.why, suspicion(lines, rules, self._expected)
        if self.why and not before:
            print(f"{SUSPICIOUS}: {self.why}")
        # After the last epoch there is nothing left to save.
        self.stop = bool(self.why) and rules.stop and fields.get("epoch") != fields.get("epochs")

    def close(self) -> None:
        """End the tracker, where one was asked for."""
        if self._tracker is not None:
            self._tracker.close()

    def _track(self, name: TrackerName, line: EpochLine) -> None:
        # With torch, which a process that trains has.
        from replicate.engine.tracker import Tracker

        if self._tracker is None:
            self._tracker = Tracker(name, self._job, self._store.folder(self._job.key))
        self._tracker(line)


def _processor_seconds() -> float:
    """Seconds of processors that this process took, and its children that have ended: some decode images for it."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def _stored_aids(store: Store, job: Job) -> dict[str, Path]:
    """The folders of the aids of ``job`` that are stored and intact; it goes on without the others."""
    folders = {}
    for role, aid in job.aids().items():
        try:
            intact = store.result(aid.key) is not None
        except Unreadable as error:
            print(error)
            continue
        if intact:
            folders[role] = store.folder(aid.key)
        elif aid.key in store.damage:
            print(f"{store.damage[aid.key]}; going on without it")
    return folders


def _artefacts(folder: Path) -> list[str]:
    return [
        path.name
        for path in folder.iterdir()
        if path.is_file() and path.name not in _NOT_ARTEFACTS and not path.name.startswith(".")
    ]


def _note_failure(folder: Path, error: Exception) -> None:
    kind, retry = failure_kind(error)
    write_failure(folder, kind, f"{error}\n  {_GPU_HINT}" if kind == GPU_MEMORY else str(error), retry)


def write_failure(folder: Path, kind: str, message: str, retry: bool) -> None:
    """Note in the folder of a job how it failed, as far as that can be written."""
    with suppress(OSError):
        # A job that waited behind others in its task has no folder yet.
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FAILURE, {"kind": kind, "message": message, "retry": retry})


def failure_kind(error: Exception) -> tuple[str, bool]:
    """A word for what happened, and whether the next call should try again on its own."""
    if isinstance(error, Diverged):
        # Randomness is keyed: the same numbers would come again.
        return "diverged", False
    if isinstance(error, RankGone):
        return RANK_LOST, True
    if isinstance(error, NotAvailable):
        return "not available", True
    if isinstance(error, Unreadable):
        return "unreadable", True
    if isinstance(error, StoreFault):
        return "damaged input", True
    if _is_full(error):
        return "disk full", True
    if isinstance(error, MemoryError):
        return "out of memory", True
    # torch.cuda.OutOfMemoryError, by its name: torch may not be loaded here. The same batch would not fit again.
    if any(base.__name__ == "OutOfMemoryError" and base.__module__.startswith("torch") for base in type(error).__mro__):
        return GPU_MEMORY, False
    return "error", True


def _is_full(error: BaseException) -> bool:
    # numpy's tofile reports a short write without an error number.
    short = isinstance(error, OSError) and error.errno is None and " requested and " in str(error)
    return short or (isinstance(error, OSError) and error.errno in FULL)


def _die_with_parent(stopping: threading.Event, heard: threading.Event, patience: float) -> None:
    """Ends this process ``patience`` seconds after its parent, unless the job has ``heard`` and ends by itself."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        stopping.set()
        if not heard.wait(patience):
            os._exit(Outcome.STOPPED)
