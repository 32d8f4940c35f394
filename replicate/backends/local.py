"""This machine: runs a graph in worker processes that have torch and timm loaded before the first job.

Importing torch and timm costs about 10 CPU-seconds, so it is done once, in multiprocessing's fork server;
a job then starts in a few hundredths of a second (a fork), and runs in a process of its own with one thread.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing import connection
from typing import Any, assert_never

from replicate.backends import devices as processors
from replicate.backends import worker
from replicate.backends.backend import Capacity, JobStates, Listener, Reporter, RunReport, share_of
from replicate.backends.devices import cores
from replicate.backends.fork_server import preloaded
from replicate.backends.interrupts import Interrupts, stop_workers
from replicate.backends.schedule import Candidate, Running, Start, assign, is_short, unsplittable, wider
from replicate.backends.team import Team
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
MICRO_BATCH = "REPLICATE_MICRO_BATCH"
"""As the engine reads it (`replicate.engine.micro_batch`)."""
_POLL = 0.2
_SETTLED = 60.0
"""Seconds that GPUs idle before a training goes on over them: what has just ended may make others ready."""


@dataclass(slots=True)
class Outcome:
    """``failed`` maps keys to reasons; ``blocked`` are the jobs that wait for a failed one."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)


@dataclass(slots=True)
class LocalRun:
    """Runs the jobs of ``graph`` that have no result in ``store``.

    ``retry`` also tries jobs again whose failure would come again by itself (a divergence).

    workers: processes at once. ranks: how many share each training; None is one, and more where GPUs would idle.
    """

    graph: Graph
    store: Store
    provenance: Mapping[str, object]
    workers: int
    listener: Listener
    retry: bool = False
    devices: Sequence[str] = ()
    """Values of CUDA_VISIBLE_DEVICES, of which each process gets one (`devices.for_jobs`); without any it is left
    alone."""
    changes: bytes = b""
    """Of the code, beyond its commit (`replicate.store.code.diff_of`)."""
    ranks: int | None = None
    _waiting: dict[str, Job] = field(default_factory=dict)
    _running: dict[str, Team] = field(default_factory=dict)
    _elsewhere: dict[str, Job] = field(default_factory=dict)
    _lost: dict[str, int] = field(default_factory=dict)
    _suspicious: set[str] = field(default_factory=set)
    _micro: dict[str, int] = field(default_factory=dict)
    """Images that a process of a training computes at a time, where a GPU had no memory for more."""
    _idle_since: float = field(default_factory=time.monotonic)
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
            ready = sorted(self._ready(), key=lambda job: (not job.starts_first, -urgency[job.key]))
            for start in self._assigned(ready):
                self._start(self.graph.jobs[start.key], context, start.devices)
            self._widen()
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

    def _start(self, job: Job, context: Any, devices: tuple[str | None, ...]) -> None:
        del self._waiting[job.key]
        try:
            self.store.prepare(job)
        except (OSError, StoreFault) as error:
            self._fail(job, str(error))
            return
        threads = self._threads(len(devices))
        micro = self._micro.get(job.key, 0)
        self._running[job.key] = Team.start(
            context, self.store.root, job, self.provenance, devices, threads, self.changes, micro
        )
        self.listener.started(job)

    def _counts(self, job: Job) -> tuple[int, ...]:
        """The numbers of processes that can share ``job`` here."""
        if not job.shared:
            return (1,)
        if self.ranks is not None:
            return (self.ranks,)
        gpus = [device for device in self.devices if device != processors.NO_GPU]
        return job.process_counts(min(len(gpus), self.workers)) if gpus else (1,)

    def _assigned(self, ready: Sequence[Job]) -> list[Start]:
        candidates = [Candidate(job.key, self._counts(job)) for job in ready]
        # What is short may be about to make others ready, which had better begin on the GPUs that idle now.
        short = any(map(is_short, (*ready, *(team.job for team in self._running.values()))))
        return assign(candidates, self.devices, self._used(), self.workers, spread=not short)

    def _used(self) -> list[str | None]:
        return [device for team in self._running.values() for device in team.devices]

    def _widen(self) -> None:
        """Stop a training that would gain by going on over GPUs which have idled for a while."""
        now = time.monotonic()
        teams = self._running.values()
        busy = len(self._used()) >= min(self.workers, len(self.devices))
        if busy or any(team.told or is_short(team.job) for team in teams):
            self._idle_since = now
        if now - self._idle_since < _SETTLED:
            return
        self._idle_since = now
        running = [Running(team.job.key, self._counts(team.job), team.devices, self._left(team)) for team in teams]
        key = wider(running, self.devices, self.workers)
        if key is not None:
            self.listener.said(f"{key}: GPUs are idle; it writes a checkpoint and goes on over more of them")
            self._running[key].terminate()

    def _left(self, team: Team) -> float:
        """Seconds that a training still needs, by its estimate; where nobody has one, as many as it takes."""
        if not team.job.estimated:
            return math.inf
        return team.job.seconds * (1.0 - share_of(self.store.progress(team.job.key))) / len(team.devices)

    def _threads(self, count: int) -> int:
        """Each of ``count`` processes' part of the cores, with those that can be beside each other from now on."""
        at_once = min(max(self.workers, count), count + len(self._waiting) + len(self._used()))
        return max(1, cores() // at_once)

    def _look(self) -> None:
        sentinels = [sentinel for team in self._running.values() for sentinel in team.sentinels]
        if sentinels:
            connection.wait(sentinels, timeout=_POLL)
        else:
            time.sleep(_POLL)
        for key, team in list(self._running.items()):
            team.look()
            if team.alive:
                self.listener.progressed(team.job, self.store.progress(key))
                if key not in self._suspicious and (why := self.store.suspicion(key)):
                    self._suspicious.add(key)
                    self.listener.said(f"{key} is suspicious: {why}")
            else:
                team.join()
                del self._running[key]
                with self._readable(team.job):
                    self._settle(team)
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

    def _settle(self, team: Team) -> None:
        job, code, folder = team.job, team.code, self.store.folder(team.job.key)
        self.store.forget(job.key)
        if (failure := team.failure(folder)) is not None:
            worker.write_failure(folder, *failure)
            lease.clear(folder)
            code = worker.Outcome.FAILED
        elif lost := team.lost(folder):
            (folder / FAILURE).unlink(missing_ok=True)
            lease.clear(folder)
            self._try_again(job, lost)
            return
        outcome = worker.Outcome.of(code)
        match outcome:
            case worker.Outcome.BUSY:
                self.listener.said(f"{job.key} is being computed by {self._holder(job.key)}; waiting for it")
                self._elsewhere[job.key] = job
            case worker.Outcome.DONE if self.store.result(job.key) is not None:
                self._finish(job, time.monotonic() - team.started, len(team.devices))
            case worker.Outcome.INPUT_DAMAGED:
                self._redo_inputs(job)
            case worker.Outcome.DISK_FULL:
                self._fail(job, f"disk full: {self.store.root} has no room; make some and call again, nothing is lost")
                # Whatever else would be started could not be written either.
                self._outcome.blocked += self._waiting
                self._waiting.clear()
            case worker.Outcome.FAILED if self._smaller(team):
                self._waiting[job.key] = job
            case worker.Outcome.FAILED:
                self._fail(job, self.store.trouble(job.key))
            case worker.Outcome.STOPPED if team.told:
                # It was asked to, so that it goes on in more processes.
                self._waiting[job.key] = job
            case worker.Outcome.DONE | worker.Outcome.STOPPED | None:
                killed = f"its process was killed by signal {-(code or 0)}"
                self._try_again(job, killed if (code or 0) < 0 else f"exit code {code}")
            case _:
                assert_never(outcome)

    def _holder(self, key: str) -> str:
        owner = lease.holder(self.store.folder(key))
        if owner is None:
            return "another process"
        folder = self.store.folder(key) / lease.CLAIM
        return f"process {owner.pid} on {owner.host} (if that is gone, remove {folder})"

    def _finish(self, job: Job, seconds: float, processors: int = 1) -> None:
        self._outcome.done.append(job.key)
        self.listener.finished(job, seconds, processors)

    def _fail(self, job: Job, reason: str) -> None:
        self._outcome.failed[job.key] = reason
        self.listener.failed(job, reason)

    def _smaller(self, team: Team) -> bool:
        """Whether a training whose ranks had too little memory can compute fewer images at a time.

        A process alone halves them by itself; ranks would have to do so together.
        """
        job, key = team.job, team.job.key
        share, asked = job.share(len(team.devices)), os.environ.get(MICRO_BATCH, "")
        images = self._micro.get(key, min(share, int(asked)) if asked.isdecimal() else share)
        if len(team.devices) == 1 or images < 2 or self.store.failure(key).get("kind") != worker.GPU_MEMORY:
            return False
        self._micro[key] = images // 2
        self.listener.said(f"{key}: out of GPU memory; it goes on with {images // 2} images at a time in each rank")
        (self.store.folder(key) / FAILURE).unlink(missing_ok=True)
        return True

    def _try_again(self, job: Job, how: str) -> None:
        self._lost[job.key] = self._lost.get(job.key, 0) + 1
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
        stop_workers([*self._running.values()], interrupts, self.listener.said)
        for key in self._running:
            with suppress(OSError):
                (self.store.folder(key) / FAILURE).unlink(missing_ok=True)
                lease.clear(self.store.folder(key))


@dataclass(frozen=True, slots=True)
class Local:
    """The backend of this machine.

    scale: says which processors are used. workers: processes at once; None is one for each GPU,
    and one for each core where there is none. gpus: those to use; none is all. ranks: processes that share each
    training; None is one, and on GPUs more where some would idle.
    """

    scale: Scale
    workers: int | None = None
    reporter: Reporter = field(default_factory=Reporter)
    gpus: tuple[str, ...] = ()
    ranks: int | None = None

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
        if no_gpu and not processors.has_gpu(self.scale, self.gpus):
            return Capacity(1, no_gpu=True)
        return Capacity(processors.at_once(self.scale, self.workers, self.gpus))

    def run(
        self, graph: Graph, store: Store, names: Sequence[str], retry: bool = False, wait: bool = False
    ) -> RunReport:
        """Run what is missing in worker processes. Errors before that: `StoreUnusable`, `NotAvailable`."""
        seconds, failed = self._todo(graph, store, retry)
        if not seconds:
            return RunReport(failed=failed, states=self.look(graph, store))
        jobs = [graph.jobs[key] for key in seconds]
        devices = processors.for_jobs(self.scale, self.gpus)
        check_possible(jobs, self.scale)
        self._check_ranks(jobs, devices)
        store.check_writable()
        workers = processors.at_once(self.scale, self.workers, self.gpus)
        with self.reporter.jobs(workers, seconds) as listener:
            run = LocalRun(graph, store, provenance(), workers, listener, retry, devices, diff_of(), self.ranks)
            outcome = run.run()
        return RunReport(outcome.done, failed=outcome.failed, states=self.look(graph, store))

    def rerun(self, graph: Graph, store: Store, names: Sequence[str], wait: bool = False) -> RunReport:
        return self.run(graph, store, names, retry=True)

    def _check_ranks(self, jobs: Sequence[Job], devices: Sequence[str]) -> None:
        """Raises UserError where the trainings among ``jobs`` cannot be shared by as many ranks as were asked for."""
        ranks = self.ranks or 1
        gpus = [device for device in devices if device != processors.NO_GPU]
        if gpus and ranks > len(gpus):
            raise UserError(
                f"ranks are more than the GPUs: --ranks {ranks}, {processors.named(gpus)}\n  each rank needs its own"
            )
        wrong = unsplittable([job for job in jobs if job.shared], lambda _: ranks)
        if wrong:
            lines = [f"{plural(sum(map(len, wrong.values())), 'training')} cannot be shared by {ranks} ranks (--ranks)"]
            for (_, message), keys in wrong.items():
                others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
                indented = message.replace("\n", "\n  ")
                lines.append(f"  {keys[0]}{others}: {indented}")
            raise UserError("\n".join(lines))

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
