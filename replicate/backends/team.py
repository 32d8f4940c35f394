"""The processes that compute one job on this machine: one, or several ranks that train one network together.

The ranks meet as those of a Slurm job do (`replicate.engine.ranks`): rank 0 holds the lease and writes, the others
compute their share. Every rank gives a sign of life each second from a thread of its own, so that a step may take as
long as it takes, and a process that stands still is found all the same.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from replicate.backends import worker
from replicate.backends.devices import VISIBLE, named
from replicate.backends.worker import RANK_LOST, Outcome, failure_kind
from replicate.jobs.job import Job
from replicate.store.files import read_json
from replicate.store.store import FAILURE, LOG, Store

SILENCE = "REPLICATE_RANK_SECONDS"
"""Environment variable: seconds without a sign of life after which a rank is taken for hung."""
PATIENCE = 60.0
"""Those seconds where nobody says: a machine that swaps stalls its processes for some of them."""
BEAT = 1.0
_LONGEST = 2000
"""Characters of a message: what fits into a pipe at once is whole or not there."""
GRACE = 5.0
"""Seconds that the others have to end by themselves when one process of a team has ended."""
_PORTS = range(20000, 32000)
"""From 32768 on, Linux gives ports to whatever connects somewhere (`replicate.backends.slurm.node.master_port`)."""


@dataclass(frozen=True, slots=True)
class Seat:
    """The place of a process in its team: ``rank`` of ``devices``, one device a rank, who meet at ``port``.

    threads: to decode with. micro: images that it computes at a time; 0 leaves that to the engine.
    """

    rank: int
    devices: tuple[str | None, ...]
    port: int
    threads: int
    micro: int = 0

    @property
    def place(self) -> dict[str, object]:
        """What is shown of the whole team while it works; nothing of one process without a GPU."""
        gpus, ranks = [device for device in self.devices if device], len(self.devices)
        return {"devices": gpus, "ranks": ranks} if gpus or ranks > 1 else {}

    def take(self) -> None:
        """Set what torch and the engine read from the environment, before anything asks for a GPU."""
        os.environ.pop("WORLD_SIZE", None)
        if (device := self.devices[self.rank]) is not None:
            os.environ[VISIBLE] = device
            # So that numbers are those of nvidia-smi. CUDA's own order has the fastest GPU first.
            os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        if len(self.devices) == 1:
            return
        os.environ |= {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.rank),
            "WORLD_SIZE": str(len(self.devices)),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.port),
        }
        if sys.platform == "linux":
            # Nothing of it listens to the network.
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


class Line:
    """How a rank reaches the process that watches it: signs of life, and why it failed."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()
        threading.Thread(target=self._beat, daemon=True).start()

    def failed(self, kind: str, message: str, retry: bool) -> None:
        self._send((kind, message, retry))

    def _beat(self) -> None:
        while self._send(None):
            time.sleep(BEAT)

    def _send(self, what: tuple[str, str, bool] | None) -> bool:
        """False where nobody watches any more."""
        try:
            with self._lock:
                self._connection.send(what)
        except OSError:
            return False
        return True


@dataclass(slots=True)
class _Rank:
    """``quiet``: seconds without a sign of life. failure: kind, message and whether to try again, as it said them."""

    process: BaseProcess
    line: Connection
    quiet: float = 0.0
    failure: tuple[str, str, bool] | None = None

    @property
    def died(self) -> str:
        """How it ended, where it did not do so by itself; empty while it runs."""
        code = self.process.exitcode
        if code is None or Outcome.of(code) is not None:
            return ""
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


@dataclass(slots=True)
class Team:
    """The processes of ``job``, rank 0 first.

    trouble: why the team was ended from here or lost a rank; it names the rank.
    """

    job: Job
    devices: tuple[str | None, ...]
    started: float
    ranks: list[_Rank]
    trouble: str = ""
    told: bool = False
    """Whether it was asked to write its checkpoint and end."""
    _looked: float = field(default_factory=time.monotonic)
    _ended: float | None = None
    _killed: bool = False
    _late: str = ""

    @classmethod
    def start(
        cls,
        context: Any,
        root: Path,
        job: Job,
        provenance: Mapping[str, object],
        devices: tuple[str | None, ...],
        threads: int,
        changes: bytes,
        micro: int = 0,
    ) -> Team:
        """Start a process for each of ``devices``."""
        port = _free_port() if len(devices) > 1 else 0
        made = {**provenance, "processes": len(devices)} if len(devices) > 1 else dict(provenance)
        ranks = []
        for rank in range(len(devices)):
            ours, theirs = context.Pipe(duplex=False)
            seat = Seat(rank, devices, port, threads, micro)
            process = context.Process(
                target=lead if rank == 0 else follow,
                args=(str(root), job, seat, theirs),
                kwargs={"provenance": made, "changes": changes} if rank == 0 else {},
                name=job.key,
            )
            process.start()
            theirs.close()
            ranks.append(_Rank(process, ours))
        return cls(job, devices, time.monotonic(), ranks)

    @property
    def alive(self) -> bool:
        return any(rank.process.is_alive() for rank in self.ranks)

    @property
    def sentinels(self) -> list[int]:
        """Of the processes that have not ended."""
        return [rank.process.sentinel for rank in self.ranks if rank.process.is_alive()]

    @property
    def code(self) -> int | None:
        return self.ranks[0].process.exitcode

    def look(self) -> None:
        """Hear the ranks. One that died or is silent ends the team, since the others would wait for it."""
        now = time.monotonic()
        # Time in which this process stood still itself, as after Ctrl-Z, is nobody's silence.
        passed, self._looked = min(now - self._looked, BEAT), now
        for rank in self.ranks:
            self._hear(rank, passed)
        if len(self.ranks) == 1 or self._killed:
            return
        alive = [at for at, rank in enumerate(self.ranks) if rank.process.is_alive()]
        if not alive:
            self.trouble = self._died(signal.SIGABRT)
        elif len(alive) == len(self.ranks):
            if trouble := self._silent():
                self._end(trouble)
        elif crash := self._died():
            self._end(crash)
        elif not self._only_first_left:
            self._ended = self._ended or now
            if now - self._ended > GRACE:
                self._end(self._left_over(alive))

    @property
    def _only_first_left(self) -> bool:
        """Whether all others have done their part: the first one may be writing for long."""
        return all(rank.process.exitcode in (Outcome.DONE, Outcome.STOPPED) for rank in self.ranks[1:])

    def _end(self, trouble: str) -> None:
        self.trouble, self._killed = trouble, True
        self.kill()

    def _left_over(self, alive: Sequence[int]) -> str:
        """What is wrong where ``alive`` are still there although others have ended; empty where that needs no word."""
        late = f"{self._name(alive[-1])} took no part any more, and the others gave up waiting for it"
        code = self.code
        if code is None:
            # Whoever failed by itself has said why.
            others = [at for at, rank in enumerate(self.ranks) if at not in alive and not rank.failure]
            aborted = any(rank.died for rank in self.ranks)
            return late if aborted else f"{self._name(others[0])} ended before the others" if others else ""
        if code in (Outcome.FAILED, -signal.SIGABRT):
            self._late = late
        return ""

    def _hear(self, rank: _Rank, passed: float) -> None:
        rank.quiet += passed
        with suppress(EOFError, OSError):
            while rank.line.poll():
                said = rank.line.recv()
                rank.quiet, rank.failure = 0.0, said or rank.failure

    def _died(self, *also: int) -> str:
        """Which rank was killed, and how. One that aborted gave up waiting for another, unless that is counted too."""
        for at, rank in enumerate(self.ranks):
            if rank.died and (rank.process.exitcode != -signal.SIGABRT or also):
                return f"{self._name(at)} {rank.died}"
        return ""

    def _silent(self) -> str:
        patience = silence()
        return next(
            (
                f"{self._name(at)} gave no sign of life for {patience:g} s ({SILENCE}) and was ended"
                for at, rank in enumerate(self.ranks)
                if rank.quiet > patience
            ),
            "",
        )

    def _name(self, at: int) -> str:
        device = self.devices[at]
        return f"rank {at} of {len(self.ranks)}" + (f" on {named([device])}" if device else "")

    def lost(self, folder: Path) -> str:
        """Why the job has to be begun again; empty where its end was its own. Asked when all have ended."""
        if len(self.ranks) == 1 or self.code == Outcome.DONE:
            return ""
        return self.trouble or (self._late if _failed_as(folder) in ("", RANK_LOST) else "")

    def failure(self, folder: Path) -> tuple[str, str, bool] | None:
        """Kind, message and whether to try again of the failure of another rank, of which the first one knows less."""
        said = [(at, rank.failure) for at, rank in enumerate(self.ranks) if at > 0 and rank.failure]
        own = [(at, *failure) for at, failure in said if failure[0] != RANK_LOST]
        if self.code == Outcome.DONE or not own or _failed_as(folder) not in ("", RANK_LOST):
            return None
        at, kind, message, retry = own[0]
        return kind, f"{self._name(at)}: {message}", retry

    def terminate(self) -> None:
        """Ask all to write a checkpoint and end."""
        self.told = True
        for rank in self.ranks:
            rank.process.terminate()

    def kill(self) -> None:
        for rank in self.ranks:
            rank.process.kill()

    def join(self) -> None:
        for rank in self.ranks:
            rank.process.join()
        self.look()
        for rank in self.ranks:
            rank.line.close()


def silence() -> float:
    """Seconds without a sign of life that are too many."""
    try:
        return max(2 * BEAT, float(os.environ.get(SILENCE) or PATIENCE))
    except ValueError:
        return PATIENCE


def lead(
    root: str, job: Job, seat: Seat, line: Connection, provenance: Mapping[str, object], changes: bytes = b""
) -> None:
    """Entry of the first process of a team, or of the only one."""
    seat.take()
    Line(line)
    worker.main(root, job, provenance, threads=seat.threads, micro=seat.micro, changes=changes, place=seat.place)


def follow(root: str, job: Job, seat: Seat, line: Connection) -> None:
    """Entry of the other processes of a team: each computes its share, and says to ``line`` why it failed."""
    seat.take()
    said = Line(line)
    stop = worker.prepared(job, seat.threads, seat.micro)
    log = Store(Path(root)).folder(job.key) / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as file,
        redirect_stdout(file),
        redirect_stderr(file),
    ):
        outcome = _take_part(root, job, stop, said)
    sys.exit(outcome)


def _take_part(root: str, job: Job, stop: Callable[[], bool], said: Line) -> Outcome:
    try:
        return worker.take_part(root, job, stop)
    except Exception as error:
        traceback.print_exception(error)
        kind, retry = failure_kind(error)
        said.failed(kind, str(error)[:_LONGEST], retry)
        return Outcome.FAILED


def _failed_as(folder: Path) -> str:
    """The kind of failure that the first rank noted."""
    return str(read_json(folder / FAILURE).get("kind", ""))


def _free_port() -> int:
    """A port that nobody listens at now; who takes it meanwhile costs one try."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free for the processes of a training")
