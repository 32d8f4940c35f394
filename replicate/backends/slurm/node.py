"""What runs on a node: ``python -m replicate.backends.slurm.node SUBMISSION``, one task of an array.

This process only watches. Each job runs in a child, forked when torch is loaded (once, however many jobs the
task has), so that something is left to say how it died, and to end it when it lost its lease.

Signals: SIGUSR2 (time limit near, or preemption) writes a checkpoint at once and puts the task back into the
queue with ``scontrol requeue``. That works on every site (requeueing by exit code needs RequeueExit in the
administrator's slurm.conf), keeps the number that other jobs wait for, and where it fails the next call
submits the job again. SIGTERM (scancel, preemption, end of time) writes a checkpoint and ends: Slurm knows
whether to start the task again.

Where a training has several processes (ntasks_per_node, nodes), srun starts this once for each. The first one
does all of the above; the others only compute their share of each batch, and write nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from multiprocessing import connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from replicate.backends import worker
from replicate.backends.backend import share_of
from replicate.backends.devices import VISIBLE, present_gpus
from replicate.backends.slurm.attempt import Attempt, Facts, begin
from replicate.backends.slurm.client import Client
from replicate.backends.slurm.ending import kills_counted
from replicate.backends.slurm.gpus import device_of
from replicate.backends.slurm.lives import Lives
from replicate.backends.slurm.queue import ask_accounting, look
from replicate.backends.slurm.submission import (
    JOBS,
    MAP,
    SubmissionMap,
    Task,
    check_private,
    mine,
    read_job,
    read_submission,
)
from replicate.backends.worker import Outcome
from replicate.errors import ClusterDown, ReplicateError, StoreFault, Unreadable, UserError
from replicate.jobs.job import Job
from replicate.store import lease
from replicate.store.code import DIFF
from replicate.store.lease import RESTART, TASK, Owner
from replicate.store.provenance import provenance
from replicate.store.store import FAILURE, Store

GPUS = "GPUs"
"""The class of a failure where a node has fewer GPUs than processes, as `retry --class` takes it."""
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|_KEY|_PROXY", re.I)
"""Names of variables whose values no record should hold."""
PATIENCE = 10.0
"""Seconds that Slurm is waited for where a claim is in the way: the job may run elsewhere, or be tried again."""
_LOOK = 2.0
"""Seconds between two looks at the lease of the running job."""


@dataclass(slots=True)
class Signals:
    """What this task was told. Asked often, so that the handlers need do nothing but note it."""

    requeue: bool = False
    end: bool = False

    def listen(self) -> None:
        signal.signal(signal.SIGUSR2, self._note)
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, _: Any) -> None:
        if number == signal.SIGUSR2:
            self.requeue = True
        else:
            self.end = True

    @property
    def any(self) -> bool:
        return self.requeue or self.end


@dataclass(slots=True)
class NodeTask:
    """``map`` is that of the submission, ``keys`` are this element's jobs."""

    folder: Path
    map: SubmissionMap
    keys: Sequence[str]
    signals: Signals
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        root = Path(self.map.store)
        self.store = Store(root, gone=partial(_gone, root))

    def run(self) -> int:
        """The exit code: 0 when every job has its result."""
        restart = int(os.environ.get(RESTART, "0"))
        lives = Lives(self.folder, int(os.environ.get("SLURM_ARRAY_TASK_ID", "0")), restart)
        spent = lives.begin(self._height()) if rank() == 0 else 0
        missing = [key for key in self.keys if not wait_for_result(self.store, key, 0.0)]
        if missing and spent > self.map.requeue:
            self._give_up(restart, spent)
            return Outcome.FAILED
        if missing and not self._take_device():
            return Outcome.FAILED
        # Once, for the processes that are forked from this one.
        for module in dict.fromkeys(self._job(key).engine_module for key in missing):
            import_module(module)
        if rank() > 0:
            return max((self._follow(key) for key in missing), default=0)
        outcomes = [self._perform(key) for key in missing if not self.signals.any]
        left = [key for key in missing if not wait_for_result(self.store, key, 0.0)]
        if left and self.signals.requeue and not self.signals.end:
            lives.ends_in_time()
            if spent >= self.map.requeue:
                self._give_up(restart, spent + 1)
            elif _requeue(self.map.cluster):
                return 0
        return Outcome.STOPPED if self.signals.any and left else max(outcomes, default=0)

    def _take_device(self) -> bool:
        """Narrow what this process and its children see to its own GPU; False, with a note, where it has none."""
        try:
            take_device()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            folders = [self.store.folder(key) for key in self.keys]
            if rank() == 0:
                for folder in folders:
                    worker.write_failure(folder, GPUS, str(error), retry=False)
            else:
                # Who leaves with an error takes the first process along, which is to write that down.
                wait_for_path(folders[0] / FAILURE, 10.0)
            return False
        return True

    def _perform(self, key: str) -> int:
        job = self._job(key)
        if (missing := self._missing_input(job)) is not None:
            print(f"{key}: its input {missing} has no result; not run", file=sys.stderr)
            return Outcome.INPUT_DAMAGED
        self.store.prepare(job)
        attempt = begin(self.store.folder(key), self.folder, self._facts())
        made = {**provenance(Path(self.map.code)), **self.map.made, "container": self.map.container}
        process = multiprocessing.get_context("fork").Process(
            target=_child, args=(str(self.store.root), job, made, self._changes(), attempt), name=key
        )
        process.start()
        code = self._watch(job, process)
        attempt.end(code)
        self.store.forget(key)
        self._explain(key, code)
        outcome = Outcome.of(code)
        died = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        print(f"{key}: {died if outcome is None else outcome.words}")
        return abs(code)

    def _changes(self) -> bytes:
        """The diff that lies beside a copy of code which is in no commit."""
        with suppress(OSError):
            return (Path(self.map.code) / DIFF).read_bytes()
        return b""

    def _follow(self, key: str) -> int:
        """Take part in a job that the first process leads."""
        job = self._job(key)
        if not job.shared:
            return 0
        if self._missing_input(job) is not None:
            return Outcome.INPUT_DAMAGED
        process = multiprocessing.get_context("fork").Process(
            target=run_rank, args=(str(self.store.root), job), name=key
        )
        process.start()
        told = False
        while process.is_alive():
            told = self._pass_on(process, told)
        process.join()
        code = process.exitcode or 0
        # The first process says how it ended; one that leaves with an error would take it along.
        return 0 if self.signals.any else abs(code)

    def _missing_input(self, job: Job) -> str | None:
        """The first input that has no result, though it had time to be seen from here."""
        inputs = job.inputs.values()
        return next((key for key in inputs if not wait_for_result(self.store, key, self.map.visible_seconds)), None)

    def _pass_on(self, process: ForkProcess, told: bool) -> bool:
        """Wait for the child for a while, and tell it once to stop when this task is. Returns whether it was told."""
        connection.wait([process.sentinel], timeout=0.2 if self.signals.any and not told else _LOOK)
        if self.signals.any and not told:
            process.terminate()
            return True
        return told

    def _watch(self, job: Job, process: ForkProcess) -> int:
        """Until the child ends. It is told to stop when this task is, and killed when its lease was taken over."""
        folder, held, told = self.store.folder(job.key), False, False
        while process.is_alive():
            told = self._pass_on(process, told)
            owner = lease.holder(folder)
            mine = owner is not None and owner.pid == process.pid and owner.task == os.environ.get(TASK, "")
            held = held or mine
            if held and not mine and owner is not None and process.is_alive():
                # This node was given up for lost and the job runs elsewhere: two must not write one folder.
                print(f"{job.key}: taken over by {owner.task or owner.host}; ended here", file=sys.stderr)
                process.kill()
        process.join()
        return process.exitcode if process.exitcode is not None else Outcome.FAILED

    def _explain(self, key: str, code: int) -> None:
        """Write down how a job died that could not do so itself."""
        folder = self.store.folder(key)
        if code >= 0 or (folder / FAILURE).exists() or self.signals.any or lease.holder_alive(folder):
            return
        memory = kills_counted()
        kind = "OOM" if memory else "killed"
        message = f"its process was killed by signal {-code}" + (f"; {memory}" if memory else "")
        worker.write_failure(folder, kind, message, retry=not memory)

    def _height(self) -> float:
        """How far the jobs of this task are: 1 for each that is done, less for one that has begun."""
        done = {key for key in self.keys if wait_for_result(self.store, key, 0.0)}
        # Any other begins anew each time, however far it was.
        begun = [key for key in self.keys if key not in done and self._job(key).resumable]
        return len(done) + sum(share_of(self.store.progress(key)) for key in begun)

    def _give_up(self, restart: int, spent: int) -> None:
        for key in self.keys:
            if not wait_for_result(self.store, key, 0.0):
                message = (
                    f"{spent} of {restart + 1} starts came to their time limit or got no further, "
                    f"and the profile allows {self.map.requeue} (requeue)"
                )
                worker.write_failure(self.store.folder(key), "restarts used up", message, retry=False)

    def _job(self, key: str) -> Job:
        wait_for_path(self.folder / JOBS, self.map.visible_seconds)
        return read_job(self.folder, key)

    def _facts(self) -> Facts:
        return Facts(
            task=os.environ.get(TASK, ""),
            restart=int(os.environ.get(RESTART, "0")),
            job=os.environ.get("SLURM_JOB_ID", ""),
            node=os.environ.get("SLURMD_NODENAME", socket.gethostname()),
            python=f"{sys.executable} {platform.python_version()}",
            setup=self.map.setup,
            code=self.map.code,
            container=self.map.container,
            environment={
                name: "(not recorded)" if _SECRET.search(name) else value for name, value in sorted(os.environ.items())
            },
        )


def _child(root: str, job: Job, made: Mapping[str, object], changes: bytes, attempt: Attempt) -> None:
    attempt.redirect()
    # The watcher passes the signal on as SIGTERM; Slurm may also send its own to every process.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if process_count() > 1 and job.shared:
        export_torch_env()
        made = {**made, "processes": process_count()}
    worker.main(root, job, made, partial(_gone, Path(root)), changes=changes)


def _requeue(cluster: str) -> bool:
    """Put this task back into the queue of ``cluster``, where that is another one than the node's own."""
    job = os.environ["SLURM_ARRAY_JOB_ID"] + "_" + os.environ["SLURM_ARRAY_TASK_ID"]
    # A node that cannot ask the database where the cluster is still knows its own controller.
    for where in ([f"--clusters={cluster}"], []) if cluster else ([],):
        try:
            done = subprocess.run(
                ["scontrol", *where, "requeue", job], capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            print(f"scontrol requeue {job}: {error}", file=sys.stderr)
            continue
        if done.returncode == 0:
            return True
        print(f"scontrol requeue {job}: {done.stderr.strip()}", file=sys.stderr)
    return False


def _gone(root: Path, owner: Owner, silence: float) -> bool:
    """As `QueuedStates.gone`, asked from a node: only when another task holds the lease."""
    task = Task.of(owner.task)
    submission = read_submission(root, task.submission) if task and mine(root, task.submission) else None
    if task is None or submission is None:
        return False
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SQUEUE_", "SACCT_"))}
    if "SLURM_CONF" in os.environ:
        kept["SLURM_CONF"] = os.environ["SLURM_CONF"]
    client = Client(kept, patience=PATIENCE, cluster=submission.map.cluster)
    try:
        queue = look(client, [task.submission])
    except ClusterDown:
        return False
    if task not in queue.rows:
        ask_accounting(client, queue, [submission])
    return queue.ended(task, silence, submission.map.lost_seconds)


def wait_for_result(store: Store, key: str, seconds: float) -> bool:
    """Whether ``key`` has a result, or gets one within ``seconds``: a file system may show it late to other nodes."""
    deadline = time.monotonic() + seconds
    while not _readable(store, key):
        if time.monotonic() >= deadline:
            return False
        store.forget(key)
        time.sleep(1.0)
        with suppress(OSError):
            # Listing a folder makes NFS ask the server again.
            os.listdir(store.folder(key))
    return True


def _readable(store: Store, key: str) -> bool:
    # A file handle that has gone stale comes back; what stays so is noted by whoever is to compute the job.
    try:
        return store.result(key) is not None
    except Unreadable:
        return False


def wait_for_path(path: Path, seconds: float) -> None:
    """Wait up to ``seconds`` for ``path``."""
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(1.0)
        with suppress(OSError):
            os.listdir(path.parent)


def main(argument: str) -> int:
    signals = Signals()
    signals.listen()
    folder = Path(argument)
    wait_for_path(folder / MAP, 60.0)
    map = SubmissionMap.read(folder / MAP)
    if map is None:
        raise StoreFault(f"{folder / MAP}: cannot be read, or is of another version\n  submit again")
    check_private(folder, group=False)
    return NodeTask(folder, map, map.tasks[int(os.environ["SLURM_ARRAY_TASK_ID"])], signals).run()


def run_rank(root: str, job: Job) -> None:
    """Take part in a job that another process leads; nothing is written."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    export_torch_env()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    worker.take_part(root, job, stopping.is_set)


def export_torch_env() -> None:
    """What torch.distributed reads from the environment, as submitit works it out from Slurm's."""
    from submitit.helpers import TorchDistributedEnvironment

    os.environ["MASTER_PORT"] = master_port(os.environ)
    environment = TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    if environment.local_world_size == environment.world_size:
        # One node needs no name, and nothing of it listens to the network.
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    elif not _resolves(environment.master_addr):
        # Slurm may call a node what no resolver knows (NodeAddr). The batch script, and with it srun, runs on the
        # first node; without an address torch would try for 20 minutes of every GPU.
        os.environ["MASTER_ADDR"] = os.environ.get("SLURM_LAUNCH_NODE_IPADDR", environment.master_addr)


def master_port(environ: Mapping[str, str]) -> str:
    """A port for the processes of one job to meet at, another one for each job.

    submitit's goes up to 60000. From 32768 on, Linux gives ports to whatever connects somewhere, so that one of those
    may be taken when the job starts.
    """
    return environ.get("MASTER_PORT") or str(20000 + int(environ.get("SLURM_JOB_ID", "0")) % 12000)


def take_device() -> None:
    """Let this process see its own GPU only, before anything asks for one. Raises UserError where GPUs are too few."""
    count = local_size(os.environ)
    if process_count() > 1:
        own = device_of(os.environ, int(os.environ.get("SLURM_LOCALID", "0")), count, present_gpus())
        if own is not None:
            os.environ[VISIBLE] = own


def local_size(environ: Mapping[str, str]) -> int:
    """Processes of this step on this node, from Slurm's ``2(x3),1``: two on each of three nodes, then one."""
    counts: list[int] = []
    for part in environ.get("SLURM_STEP_TASKS_PER_NODE", "1").split(","):
        count, _, times = part.partition("(x")
        counts += [int(count)] * int(times.rstrip(")") or 1)
    return counts[min(int(environ.get("SLURM_NODEID", "0")), len(counts) - 1)]


def _resolves(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def rank() -> int:
    return int(os.environ.get("SLURM_PROCID", "0"))


def process_count() -> int:
    return int(os.environ.get("SLURM_NTASKS", "1"))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except ReplicateError as error:
        sys.exit(f"error: {error}")
