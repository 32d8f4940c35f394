"""One step forward on a cluster: look at everything, submit what can be, say what is the case. Safe to repeat."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replicate.errors import ClusterRefused, Fault, SpecError
from replicate.launch.profile import Profile
from replicate.launch.slurm import queue as queues
from replicate.launch.slurm import submission as submissions
from replicate.launch.slurm import waves
from replicate.launch.slurm.client import Client
from replicate.launch.slurm.snapshot import Snapshot, take
from replicate.launch.slurm.submission import Task
from replicate.launch.slurm.world import RETRIED, View, World
from replicate.plan.graph import Graph
from replicate.store import claim
from replicate.store.atomic import write_text
from replicate.store.store import FAILURE, Store

if TYPE_CHECKING:
    from replicate.launch.slurm.script import Request

_STALE = 900.0
"""Seconds after which the claim of a submitter on another machine counts as abandoned; it is renewed at each sbatch."""

Say = Callable[[str], None]


@dataclass(slots=True)
class Step:
    """What a step found and did. ``submitted`` maps keys to Slurm's number of their element."""

    world: World
    submitted: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def look(graph: Graph, store: Store, profile: Profile, client: Client | None = None) -> World:
    """The state of every job: one squeue, and one sacct if squeue has forgotten something. Changes nothing.

    Errors: `ClusterDown`.
    """
    client = client or Client(profile.client_environment(os.environ))
    known = submissions.read_submissions(store.root)
    queue = queues.look(client)
    lost_seconds = 60.0 * profile.lost_after_minutes
    world = World(graph, store, queue, known, lost_seconds)
    unseen = world.unseen()
    if unseen:
        queues.ask_accounting(client, queue, unseen)
        if queue.accounting:
            world = World(graph, store, queue, known, lost_seconds)
    return world


def bring_forward_on_cluster(
    graph: Graph, store: Store, profile: Profile, plan: str, root: Path, say: Say, retry: bool = False
) -> Step:
    """Submit whatever of ``graph`` is missing and can be, and return at once.

    plan: the name of what is wanted, for squeue's comment. root: the repository. retry: also what diverged.
    Errors: `StoreUnusable`, `ClusterDown`, and `ClusterRefused` before anything is queued.
    """
    client = Client(profile.client_environment(os.environ))
    _prepare(store, profile)
    with _sole(store.root) as alone:
        world = _settled(graph, store, profile, client)
        if not alone:
            return Step(world, notes=[_who(store.root)])
        if retry and forgive(store, [key for key, view in world.views.items() if view.state in ("failed", "lost")]):
            world = look(graph, store, profile, client)
        step = Step(world)
        todo = [key for key, view in world.views.items() if _wanted(view)]
        for submission in world.settled():
            submissions.put_away(submission)
        if todo:
            _Submitter(graph, store, profile, client, plan, take(root, Path(profile.paths.shared)), say, step).run(todo)
        return step


def _wanted(view: View) -> bool:
    return view.again and view.state in ("absent", "lost", "damaged", "failed")


def forgive(store: Store, keys: Iterable[str]) -> list[str]:
    """Forget how jobs failed, so that the next step submits them; their logs stay. Returns those forgiven."""
    found = [key for key in keys if store.folder(key).is_dir()]
    for key in found:
        (store.folder(key) / FAILURE).unlink(missing_ok=True)
        (store.folder(key) / RETRIED).touch()
    return found


def _settled(graph: Graph, store: Store, profile: Profile, client: Client) -> World:
    """`look`, again for a while where a job ended well and its result is not visible here yet."""
    deadline = time.monotonic() + profile.visible_seconds
    while True:
        world = look(graph, store, profile, client)
        late = [key for key, view in world.views.items() if view.kind == "no result"]
        if not late or time.monotonic() > deadline:
            return world
        time.sleep(2)
        for key in late:
            store.forget(key)
            with suppress(OSError):
                os.listdir(store.folder(key))


@dataclass(slots=True)
class _Submitter:
    graph: Graph
    store: Store
    profile: Profile
    client: Client
    plan: str
    code: Snapshot
    say: Say
    step: Step
    _placed: dict[str, Task] = field(default_factory=dict)
    _ids: dict[str, str] = field(default_factory=dict)
    _room: int | None = None

    def run(self, todo: list[str]) -> None:
        """Wave by wave, each with the numbers of the one before."""
        views = self.step.world.views
        open_keys = [key for key, view in views.items() if view.state != "done"]
        for key, view in views.items():
            if view.state in ("pending", "running") and view.task is not None and view.row is not None:
                self._placed[key] = view.task
                self._ids[view.task.submission] = view.row.id.partition("_")[0]
        outside = [key for key in open_keys if views[key].state == "running" and key not in self._placed]
        most = self.client.most_jobs()
        self._room = None if most is None else max(0, most - self.step.world.queue.count)
        self._test(todo)
        for key in todo:
            if views[key].state == "damaged":
                self.say(f"{views[key].why}; computing it again")
                self.store.set_aside(key)
            self.store.forget(key)
            self.store.prepare(self.graph.jobs[key])
            (self.store.folder(key) / FAILURE).unlink(missing_ok=True)
        for wave in waves.levels(self.graph, todo, open_keys):
            for kind in dict.fromkeys(job.kind for job in wave):
                like = [job for job in wave if job.kind == kind]
                units = waves.units_of(self.graph, like, open_keys, self.profile.packed(kind))
                ready = [unit for unit in units if self._can_wait(unit, outside)]
                if ready:
                    for array in waves.arrays_of(kind, ready, self._placed.__getitem__, self.client.longest_array):
                        self._submit(array)
        left = len(todo) - len(self.step.submitted)
        if left:
            why = "wait for others" if self.profile.chain else "wait for this wave (chain = false)"
            full = self._room is not None and self._room <= 0
            self.step.notes.append(f"{left} jobs not submitted yet: {'the queue is full' if full else why}")

    def _can_wait(self, unit: waves.Unit, outside: list[str]) -> bool:
        if any(key in outside or key not in self._placed for key in unit.waits):
            return False
        return self.profile.chain or not unit.waits

    def _submit(self, array: waves.Array) -> None:
        array = self._cut(array)
        if not array.units:
            return
        from replicate.launch.slurm import script

        name = submissions.new_name()
        keys = [job.key for unit in array.units.values() for job in unit.jobs]
        request = self._request(array.kind, name, sorted(array.units), keys)
        request = replace(request, dependency=waves.dependency(array, self._placed.__getitem__, self._ids))
        text = script.text(self.profile, request)
        tasks = {index: [job.key for job in unit.jobs] for index, unit in array.units.items()}
        folder = submissions.write_map(self.store.root, name, self._body(array.kind, request), tasks)
        write_text(folder / submissions.SCRIPT, text)
        (self.store.root / submissions.FOLDER / claim.CLAIM).touch()
        try:
            job = script.submit(self.client, folder / submissions.SCRIPT)
        except ClusterRefused as refusal:
            shutil.rmtree(folder, ignore_errors=True)
            self.step.notes.append(str(refusal).splitlines()[0])
            return
        submissions.note_job(folder, job)
        self._ids[name] = job
        for index, unit in array.units.items():
            for one in unit.jobs:
                self._placed[one.key] = Task(name, index)
                self.step.submitted[one.key] = f"{job}_{index}"
                self.step.world.views[one.key] = View("pending", "submitted now", task=Task(name, index))
        if self._room is not None:
            self._room -= len(array.units)
        waits = f", after {request.dependency}" if request.dependency else ""
        self.say(f"submitted {job}: {len(keys)} {array.kind} jobs in {len(array.units)} tasks{waits}")

    def _cut(self, array: waves.Array) -> waves.Array:
        """No more elements than there is room in the queue."""
        if self._room is not None and len(array.units) > self._room:
            kept = sorted(array.units)[: self._room]
            array.units = {index: array.units[index] for index in kept}
            array.pairs = {index: key for index, key in array.pairs.items() if index in kept}
        return array

    def _request(self, kind: str, name: str, indices: list[int], keys: list[str]) -> Request:
        from replicate.launch.slurm.script import Request

        folder = self.store.root / submissions.FOLDER / name
        comment = submissions.comment(self.plan, name, keys)
        return Request(name, kind, folder, self.code.folder, indices, f"{submissions.PREFIX}-{name}", comment)

    def _body(self, kind: str, request: Request) -> Mapping[str, Any]:
        box = self.profile.container
        return {
            "plan": self.plan,
            "kind": kind,
            "store": str(self.store.root),
            "code": str(self.code.folder),
            "made": self.code.made,
            "requeue": self.profile.requeue,
            "visible_seconds": self.profile.visible_seconds,
            "container": box.model_dump() if box else None,
            "setup": list(self.profile.setup),
            "comment": request.comment,
            "dependency": request.dependency,
            "group": self.profile.group,
        }

    def _test(self, todo: list[str]) -> None:
        """Ask Slurm whether it would take each kind of request, before anything is queued."""
        from replicate.launch.slurm import script

        faults = []
        for kind in dict.fromkeys(self.graph.jobs[key].kind for key in todo):
            text = script.text(self.profile, self._request(kind, "test", [0], ["test"]))
            with tempfile.NamedTemporaryFile("w", suffix=".sh", dir=self.store.root / submissions.FOLDER) as file:
                file.write(text)
                file.flush()
                answer = self.client.call("sbatch", "--test-only", file.name)
            if answer.code != 0:
                asked = ", ".join(f"{name} = {value}" for name, value in self.profile.request(kind).items())
                help = (
                    f"asked: {asked}",
                    f"change [kinds.{kind}] or [sbatch]; see: doctor --cluster {self.profile.name}",
                )
                faults.append(
                    Fault(f"slurm/{self.profile.name}.toml: {kind} jobs", f"sbatch refuses: {answer.said}", help)
                )
        if faults:
            raise ClusterRefused(str(SpecError(faults)))


def _prepare(store: Store, profile: Profile) -> None:
    """The folders, for the user alone, or readable by the profile's group."""
    folder = store.root / submissions.FOLDER
    created = [path for path in (store.root, folder, Path(profile.paths.shared) / "code") if not path.exists()]
    for path in created:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o2750 if profile.group else 0o700)
        if profile.group:
            shutil.chown(path, group=profile.group)
    store.check_writable()
    submissions.check_private(folder, group=False)


@contextmanager
def _sole(root: Path) -> Iterator[bool]:
    """Hold the claim on submitting into this store; yields whether we have it."""
    folder = root / submissions.FOLDER

    def stale(_: claim.Owner) -> bool:
        try:
            return claim.file_clock(root) - (folder / claim.CLAIM).stat().st_mtime > _STALE
        except OSError:
            return False

    alone = claim.acquire(folder, stale)
    try:
        yield alone
    finally:
        if alone:
            claim.release(folder)


def _who(root: Path) -> str:
    owner = claim.holder(root / submissions.FOLDER)
    who = f"process {owner.pid} on {owner.host}" if owner else "another process"
    return f"{who} is submitting just now; nothing was submitted here"


def plan_name(names: list[str]) -> str:
    """A word for squeue's comment that holds none of its separators."""
    return re.sub(r"[^\w.-]", "-", names[0] if len(names) == 1 else f"{len(names)}-tables")
