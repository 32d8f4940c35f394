"""This machine: runs a graph in worker processes that have torch and timm loaded before the first job.

Importing torch and timm costs about 10 CPU-seconds, so it is done once, in multiprocessing's fork server;
a job then starts in a few hundredths of a second (a fork), and runs in a process of its own with one thread.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, assert_never

from replicate.backends import devices as processors
from replicate.backends import worker
from replicate.backends.backend import Capacity, JobStates, Listener, Reporter, RunReport
from replicate.backends.devices import cores, least_used
from replicate.backends.fork_server import preloaded
from replicate.errors import NotAvailable, StoreFault, Unreadable, UserError
from replicate.jobs.job import Job
from replicate.plan.graph import Graph
from replicate.specs.scale import DATA_ROOT, Scale
from replicate.store import lease
from replicate.store.code import diff_of
from replicate.store.provenance import provenance
from replicate.store.store import FAILURE, Store
from replicate.text import plural

LOST_RETRIES = 2
_POLL = 0.2


@dataclass(slots=True)
class Outcome:
    """``failed`` maps keys to reasons; ``blocked`` are the jobs that wait for a failed one."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Child:
    process: BaseProcess
    started: float
    device: str | None


@dataclass(slots=True)
class LocalRun:
    """Runs the jobs of ``graph`` that have no result in ``store``.

    ``retry`` also tries jobs again whose failure would come again by itself (a divergence).
    """

    graph: Graph
    store: Store
    provenance: Mapping[str, object]
    workers: int
    listener: Listener
    retry: bool = False
    devices: Sequence[str] = ()
    """Values of CUDA_VISIBLE_DEVICES, of which each job gets one (`devices.for_jobs`); without any it is left alone."""
    changes: bytes = b""
    """Of the code, beyond its commit (`replicate.store.code.diff_of`)."""
    _waiting: dict[str, Job] = field(default_factory=dict)
    _running: dict[str, _Child] = field(default_factory=dict)
    _elsewhere: dict[str, Job] = field(default_factory=dict)
    _lost: dict[str, int] = field(default_factory=dict)
    _suspicious: set[str] = field(default_factory=set)
    _outcome: Outcome = field(default_factory=Outcome)

    def run(self) -> Outcome:
        """Returns when nothing is left that can be done. Ctrl-C or SIGTERM stops the workers, then raises.

        Raises Unreadable, before anything is started, where a result is there that cannot be read.
        """
        self._sort_out()
        if not self._waiting and not self._elsewhere:
            return self._outcome
        with Interrupts() as interrupts:
            try:
                self._advance()
            except BaseException:
                self._stop(interrupts)
                raise
        return self._outcome

    def _advance(self) -> None:
        urgency = self.graph.urgency()
        # All that a kind brings along, torch before all, is imported once.
        engines = dict.fromkeys(job.engine_module for job in self.graph)
        context = preloaded(["replicate.engine.run", *engines])
        while self._waiting or self._running or self._elsewhere:
            # Evaluations first: they take a second, and a number that can be seen is a number.
            for job in sorted(self._ready(), key=lambda job: (not job.starts_first, -urgency[job.key])):
                if len(self._running) < self.workers:
                    self._start(job, context)
            self._look()
            self._block()

    def _sort_out(self) -> None:
        states = self.store.states(self.graph.jobs)
        for job in self.graph:
            state = states[job.key]
            if state == "done":
                continue
            if state == "damaged":
                self.listener.said(f"{self.store.damage[job.key]}; computing it again")
                self.store.set_aside(job.key)
            elif state == "failed" and not self.retry and self.store.fails_again(job.key):
                self._outcome.failed[job.key] = self.store.trouble(job.key)
                continue
            self._waiting[job.key] = job
        self._block()

    def _ready(self) -> list[Job]:
        unfinished = {*self._waiting, *self._running, *self._elsewhere}
        return [
            job
            for job in self._waiting.values()
            if all(key not in unfinished and self.store.result(key) is not None for key in job.inputs.values())
            and unfinished.isdisjoint(self.graph.aids.get(job.key, ()))
        ]

    def _start(self, job: Job, context: Any) -> None:
        del self._waiting[job.key]
        try:
            self.store.prepare(job)
        except (OSError, StoreFault) as error:
            self._fail(job, str(error))
            return
        device = least_used(self.devices, [child.device for child in self._running.values()])
        process = context.Process(
            target=worker.main,
            args=(str(self.store.root), job, dict(self.provenance)),
            kwargs={"device": device, "threads": self._threads(), "changes": self.changes},
            name=job.key,
        )
        process.start()
        self._running[job.key] = _Child(process, time.monotonic(), device)
        self.listener.started(job)

    def _threads(self) -> int:
        """The next job's part of the cores, divided by the jobs that can be beside each other from now on."""
        at_once = min(self.workers, 1 + len(self._waiting) + len(self._running))
        return max(1, cores() // at_once)

    def _look(self) -> None:
        sentinels = [child.process.sentinel for child in self._running.values()]
        if sentinels:
            connection.wait(sentinels, timeout=_POLL)
        else:
            time.sleep(_POLL)
        for key, child in list(self._running.items()):
            if child.process.is_alive():
                self.listener.progressed(self.graph.jobs[key], self.store.progress(key))
                if key not in self._suspicious and (why := self.store.suspicion(key)):
                    self._suspicious.add(key)
                    self.listener.said(f"{key} is suspicious: {why}")
            else:
                child.process.join()
                del self._running[key]
                with self._readable(self.graph.jobs[key]):
                    self._settle(self.graph.jobs[key], child.process.exitcode, time.monotonic() - child.started)
        for job in list(self._elsewhere.values()):
            with self._readable(job):
                self._meet(job)

    @contextmanager
    def _readable(self, job: Job) -> Iterator[None]:
        """What cannot be read fails its job alone, for this call: the others go on."""
        try:
            yield
        except Unreadable as fault:
            self._elsewhere.pop(job.key, None)
            self._fail(job, str(fault))

    def _meet(self, job: Job) -> None:
        """Take over from another caller who was at ``job``, when it is done with it."""
        self.store.forget(job.key)
        state = self.store.state(job.key)
        if state == "running":
            return
        del self._elsewhere[job.key]
        if state == "done":
            self._finish(job, 0.0)
        elif state == "failed" and not self.retry and self.store.fails_again(job.key):
            self._fail(job, self.store.trouble(job.key))
        else:
            self._waiting[job.key] = job

    def _settle(self, job: Job, code: int | None, seconds: float) -> None:
        self.store.forget(job.key)
        outcome = worker.Outcome.of(code)
        match outcome:
            case worker.Outcome.BUSY:
                self.listener.said(f"{job.key} is being computed by {self._holder(job.key)}; waiting for it")
                self._elsewhere[job.key] = job
            case worker.Outcome.DONE if self.store.result(job.key) is not None:
                self._finish(job, seconds)
            case worker.Outcome.INPUT_DAMAGED:
                self._redo_inputs(job)
            case worker.Outcome.DISK_FULL:
                self._fail(job, f"disk full: {self.store.root} has no room; make some and call again, nothing is lost")
                # Whatever else would be started could not be written either.
                self._outcome.blocked += self._waiting
                self._waiting.clear()
            case worker.Outcome.FAILED:
                self._fail(job, self.store.trouble(job.key))
            case worker.Outcome.DONE | worker.Outcome.STOPPED | None:
                self._try_again(job, code)
            case _:
                assert_never(outcome)

    def _holder(self, key: str) -> str:
        owner = lease.holder(self.store.folder(key))
        if owner is None:
            return "another process"
        folder = self.store.folder(key) / lease.CLAIM
        return f"process {owner.pid} on {owner.host} (if that is gone, remove {folder})"

    def _finish(self, job: Job, seconds: float) -> None:
        self._outcome.done.append(job.key)
        self.listener.finished(job, seconds)

    def _fail(self, job: Job, reason: str) -> None:
        self._outcome.failed[job.key] = reason
        self.listener.failed(job, reason)

    def _try_again(self, job: Job, code: int | None) -> None:
        self._lost[job.key] = self._lost.get(job.key, 0) + 1
        how = f"its process was killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        if self._lost[job.key] > LOST_RETRIES:
            self._fail(job, f"lost {self._lost[job.key]} times: {how}")
        else:
            self.listener.said(f"{job.key} was lost ({how}); it goes on from its last checkpoint")
            self._waiting[job.key] = job

    def _redo_inputs(self, job: Job) -> None:
        for key in job.inputs.values():
            self.store.forget(key)
            if self.store.result(key) is None:
                self.listener.said(f"{self.store.damage.get(key, key + ': gone')}; computing it again")
                self.store.set_aside(key)
                self._waiting[key] = self.graph.jobs[key]
        self._waiting[job.key] = job

    def _block(self) -> None:
        """Whatever waits for a failed job cannot run; the rest goes on."""
        for job in self.graph:
            stuck = [*self._outcome.failed, *self._outcome.blocked]
            if job.key in self._waiting and any(key in stuck for key in job.inputs.values()):
                del self._waiting[job.key]
                self._outcome.blocked.append(job.key)

    def _stop(self, interrupts: Interrupts) -> None:
        running = [(self.graph.jobs[key], child.process) for key, child in self._running.items()]
        stop_workers(running, interrupts, self.listener.said)
        for key in self._running:
            with suppress(OSError):
                (self.store.folder(key) / FAILURE).unlink(missing_ok=True)


_SPEAKS_AFTER = 3.0
"""Seconds: a small network is done before that."""
_PATIENCE = 10.0
"""Seconds for a job that has no checkpoint to write: it may be about to end, and loses little."""
_SAME = 1.0
"""A second signal within so many seconds is the same request: `timeout` tells the process, and then its group."""


class Interrupts:
    """Ctrl-C and SIGTERM while jobs run: the first is a KeyboardInterrupt, any other is only noted.

    From the first on, no exception may come in the middle of ending the workers; `timeout` sends two in a row.
    """

    def __init__(self) -> None:
        self.raising = True
        self.told: list[float] = []
        self._before: list[tuple[signal.Signals, Any]] = []

    def __enter__(self) -> Interrupts:
        # Signals are the main thread's; what is ignored, as behind `nohup`, stays so.
        if threading.current_thread() is threading.main_thread():
            numbers = [
                which for which in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(which) is not signal.SIG_IGN
            ]
            self._before = [(number, signal.signal(number, self._hear)) for number in numbers]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)

    def _hear(self, *_: object) -> None:
        self.told.append(time.monotonic())
        raising, self.raising = self.raising, False
        if raising:
            raise KeyboardInterrupt


def stop_workers(
    running: Sequence[tuple[Job, BaseProcess]], interrupts: Interrupts, said: Callable[[str], None]
) -> None:
    """Returns when all of ``running`` have ended.

    A training ends after its step and its checkpoint, which for a large network take as long as they take; a second
    Ctrl-C (or SIGTERM) kills what is left.
    """
    interrupts.raising = False
    begun, silent = time.monotonic(), True
    for _, process in running:
        process.terminate()
    while left := [(job, process) for job, process in running if process.is_alive()]:
        elapsed = time.monotonic() - begun
        again = any(when - begun >= _SAME for when in interrupts.told)
        for job, process in left:
            if again or (not job.resumable and elapsed >= _PATIENCE):
                process.kill()
        writing = sum(job.resumable for job, _ in left)
        if silent and writing and not again and elapsed >= _SPEAKS_AFTER:
            them = "it" if writing == 1 else "them"
            said(f"waiting for {plural(writing, 'job')} to write a checkpoint; Ctrl-C again to kill {them}")
            silent = False
        connection.wait([process.sentinel for _, process in left], timeout=_POLL)
    for _, process in running:
        process.join()


@dataclass(frozen=True, slots=True)
class Local:
    """The backend of this machine.

    scale: says which processors are used. workers: jobs at once; None is one for each GPU,
    and one for each core where there is none.
    """

    scale: Scale
    workers: int | None = None
    reporter: Reporter = field(default_factory=Reporter)

    @property
    def name(self) -> str:
        return socket.gethostname()

    @property
    def chains(self) -> bool:
        return False

    def prepare(self, store: Store) -> None:
        store.check_writable()

    def look(self, graph: Graph, store: Store) -> JobStates:
        return JobStates(graph, store)

    def capacity(self, jobs: Sequence[Job]) -> Capacity:
        # What could be at once on GPUs cannot be told from a machine without, unless `workers` says it.
        no_gpu = self.workers is None and bool(jobs) and self.scale.device != "cpu"
        if no_gpu and not processors.has_gpu(self.scale):
            return Capacity(1, no_gpu=True)
        return Capacity(processors.at_once(self.scale, self.workers))

    def run(
        self, graph: Graph, store: Store, names: Sequence[str], retry: bool = False, wait: bool = False
    ) -> RunReport:
        """Run what is missing in worker processes. Errors before that: `StoreUnusable`, `NotAvailable`."""
        seconds, failed = self._todo(graph, store, retry)
        if not seconds:
            return RunReport(failed=failed, states=self.look(graph, store))
        check_possible([graph.jobs[key] for key in seconds], self.scale)
        store.check_writable()
        workers = processors.at_once(self.scale, self.workers)
        with self.reporter.jobs(workers, seconds) as listener:
            devices = processors.for_jobs(self.scale)
            outcome = LocalRun(graph, store, provenance(), workers, listener, retry, devices, diff_of()).run()
        return RunReport(outcome.done, failed=outcome.failed, states=self.look(graph, store))

    def rerun(self, graph: Graph, store: Store, names: Sequence[str], wait: bool = False) -> RunReport:
        return self.run(graph, store, names, retry=True)

    def _todo(self, graph: Graph, store: Store, retry: bool) -> tuple[dict[str, float], dict[str, str]]:
        """Seconds of each job that can run, and why others failed that are not tried again by themselves."""
        seconds: dict[str, float] = {}
        failed: dict[str, str] = {}
        stuck: set[str] = set()
        states = store.states(graph.jobs)
        for job in graph:
            state = states[job.key]
            if state == "done":
                continue
            if state == "failed" and not retry and store.fails_again(job.key):
                failed[job.key] = store.trouble(job.key)
                stuck.add(job.key)
            elif stuck.isdisjoint(job.inputs.values()):
                seconds[job.key] = job.seconds
            else:
                stuck.add(job.key)
        return seconds, failed


def check_possible(jobs: Collection[Job], scale: Scale) -> None:
    """Refuse what every worker would fail at, before the first is started."""
    missing = [name for name in ("torch", "torchvision", "timm", "safetensors") if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise NotAvailable(
            f"cannot train: {', '.join(missing)} {verb} not installed\n"
            "  plan, status and table --no-run work; `make demo` creates an environment that trains"
        )
    mixed = processors.need_gpu(jobs)
    if mixed and not processors.has_gpu(scale):
        raise NotAvailable(
            f"scale '{scale.id}': no GPU for {plural(len(mixed), 'training')} in fp16\n"
            "  plan, status and table --no-run work here; train on a cluster with --cluster NAME (docs/cluster.md),\n"
            "  at --scale mini, or at a scale with precision = 'bf16', which a CPU computes too"
        )
    check_data_root(jobs)


def check_data_root(jobs: Iterable[Job]) -> None:
    """Raises UserError where one of ``jobs`` reads files of the user's and nobody said where they are."""
    if os.environ.get(DATA_ROOT):
        return
    for job in jobs:
        if job.on_disk:
            raise UserError(
                f"{DATA_ROOT} is not set (expected the folder that holds the image data sets)\n"
                f"  export {DATA_ROOT}=/path/to/datasets (docs/paper-scale.md says what lies in it)"
            )
