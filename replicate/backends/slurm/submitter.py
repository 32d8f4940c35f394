"""Submits jobs in waves: arrays, with dependencies, each written down before Slurm hears of it."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from replicate.backends.backend import JobView
from replicate.backends.slurm import submission as submissions
from replicate.backends.slurm import waves
from replicate.backends.slurm.client import Client
from replicate.backends.slurm.gpus import Idle, misfits
from replicate.backends.slurm.job_states import QueuedStates
from replicate.backends.slurm.lanes import Lane, Lanes
from replicate.backends.slurm.profile import Profile
from replicate.backends.slurm.snapshot import Snapshot
from replicate.backends.slurm.submission import SubmissionMap, Task
from replicate.backends.slurm.waves import over_time_limit, unsplittable_batches
from replicate.errors import ClusterDown, ClusterRefused, Fault, SpecError, Unanswered
from replicate.plan.graph import Graph
from replicate.store import lease
from replicate.store.files import write_text
from replicate.store.store import FAILURE, Store
from replicate.text import plural

if TYPE_CHECKING:
    from replicate.backends.slurm.script import Request

Say = Callable[[str], None]
_FULL = re.compile(r"[Ss]ubmit limit|MaxSubmit|temporarily unable|MaxJobCount|Resource temporarily")


@dataclass(slots=True)
class Step:
    """What a step found and did. ``submitted`` maps keys to Slurm's number of their element."""

    states: QueuedStates
    submitted: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Submitter:
    """Submits what the states of ``step`` lack; ``say`` is told of every sbatch."""

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
    _lanes: dict[str, Lanes] = field(default_factory=dict)
    _room: int | None = None

    def run(self, todo: list[str]) -> None:
        """Wave by wave, each with the numbers of the one before."""
        views = self.step.states.views
        open_keys = [key for key, view in views.items() if view.state != "done"]
        for key, view in views.items():
            if view.state in ("pending", "running") and view.task is not None and view.row is not None:
                self._placed[key] = view.task
                self._ids[view.task.submission] = view.row.id.partition("_")[0]
        outside = [key for key in open_keys if views[key].state == "running" and key not in self._placed]
        most = self.client.most_jobs()
        self._room = None if most is None else max(0, most - self.step.states.queue.count)
        if self._room == 0:
            # Not even the test would pass.
            self.step.notes.append(f"{plural(len(todo), 'job')} not submitted yet: the queue is full")
            return
        self._test(todo)
        jobs = [self.graph.jobs[key] for key in todo]
        idle = [misfit for misfit in misfits(jobs, self.profile) if isinstance(misfit, Idle)]
        for strain in [*over_time_limit(jobs, self.profile), *idle]:
            self.say(f"warning: {strain}")
        for key in list(todo):
            if views[key].state == "damaged":
                aside = self.store.set_aside(key)
                if aside is None and lease.holder_alive(self.store.folder(key), self.store.gone):
                    self.say(f"{views[key].why}; another process is at work there")
                    todo.remove(key)
                    continue
                self.say(f"{views[key].why}; computing it again")
            if key not in self.store.absent:
                self.store.forget(key)
                (self.store.folder(key) / FAILURE).unlink(missing_ok=True)
                lease.clear(self.store.folder(key), self.store.gone)
        for wave in waves.levels(self.graph, todo, open_keys):
            for kind in dict.fromkeys(job.kind for job in wave):
                like = [job for job in wave if job.kind == kind]
                units = waves.units_of(self.graph, like, open_keys, self.profile.packed(kind))
                self._submit_wave(kind, [unit for unit in units if self._can_wait(unit, outside)])
        left = len(todo) - len(self.step.submitted)
        if left:
            why = "wait for others" if self.profile.chain else "wait for this wave (chain = false)"
            full = self._room is not None and self._room <= 0
            self.step.notes.append(f"{plural(left, 'job')} not submitted yet: {'the queue is full' if full else why}")

    def _can_wait(self, unit: waves.Unit, outside: list[str]) -> bool:
        if any(key in outside or key not in self._placed for key in unit.waits):
            return False
        return self.profile.chain or not unit.waits

    def _submit_wave(self, kind: str, units: Sequence[waves.Unit]) -> None:
        """``units`` of one kind as few arrays, which share ``max_running`` with each other and with what is queued."""
        arrays = waves.arrays_of(kind, units, self._placed.__getitem__, self.client.longest_array)
        lanes = self._lanes_of(kind)
        places = lanes.place([len(array.units) for array in arrays], waves.awaited_by_all(self.graph, units))
        names: list[str] = []
        for array, place in zip(arrays, places, strict=True):
            before = names[place.behind] if place.behind is not None else ""
            ended = [*place.after, *([before] if before else [])]
            # A site that limits depth gets no dependency of this kind either: the next step submits the array.
            name = self._submit(array, place.throttle, ended) if self.profile.chain or not ended else ""
            names.append(name)
            if not name:
                return
            keys = frozenset(job.key for unit in array.units.values() for job in unit.jobs)
            lanes.enter(place, name, keys, before)

    def _lanes_of(self, kind: str) -> Lanes:
        """The lanes of ``kind``; at first, one for each of its submissions that is queued or runs, of any table."""
        if kind not in self._lanes:
            most, found = self.profile.max_running, []
            for submission in self.step.states.submissions:
                elements = self.step.states.live(submission) if submission.map.kind == kind else {}
                if elements and most is not None:
                    self._ids[submission.name] = next(iter(elements.values())).id.partition("_")[0]
                    keys = frozenset(key for index in elements for key in submission.tasks[index])
                    found.append(Lane(min(len(elements), most), submission.name, keys))
            self._lanes[kind] = Lanes(most, found)
        return self._lanes[kind]

    def _submit(self, array: waves.Array, throttle: int | None, ended: Sequence[str]) -> str:
        """The name of the submission; empty where the queue has no room."""
        array = self._cut(array)
        if not array.units:
            return ""
        from replicate.backends.slurm import script

        name = submissions.new_name()
        keys = [job.key for unit in array.units.values() for job in unit.jobs]
        request = self._request(array.kind, name, sorted(array.units), keys)
        dependency = waves.dependency(array, self._placed.__getitem__, self._ids, ended)
        request = replace(request, dependency=dependency, throttle=throttle)
        text = script.text(self.profile, request)
        tasks = {index: [job.key for job in unit.jobs] for index, unit in array.units.items()}
        jobs = [self.graph.jobs[key] for key in keys]
        folder = submissions.write_map(self.store.root, self._map(request, tasks), jobs)
        write_text(folder / submissions.SCRIPT, text)
        lease.renew(self.store.root / submissions.FOLDER)
        try:
            job = script.submit(self.client, folder / submissions.SCRIPT, name)
        except Unanswered as unsaid:
            said, _, rest = str(unsaid).partition("\n  ")
            submissions.note_job(folder, "", said)
            for index, unit in array.units.items():
                for member in unit.jobs:
                    view = JobView("pending", f"{rest} ({said})", task=Task(name, index))
                    self.step.states.views[member.key] = view
            # Whatever comes next would meet the same silence.
            self.step.notes.append(f"{rest} ({said})")
            self._room = 0
            return ""
        except ClusterDown:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        except ClusterRefused as refusal:
            shutil.rmtree(folder, ignore_errors=True)
            if not _FULL.search(str(refusal)):
                raise
            # Somebody else's jobs took the room since it was measured.
            self._room = 0
            return ""
        submissions.note_job(folder, job)
        self._ids[name] = job
        for index, unit in array.units.items():
            for member in unit.jobs:
                self._placed[member.key] = Task(name, index)
                self.step.submitted[member.key] = f"{job}_{index}"
                self.step.states.views[member.key] = JobView("pending", "submitted now", task=Task(name, index))
        if self._room is not None:
            self._room -= len(array.units)
        waits = f", after {request.dependency}" if request.dependency else ""
        self.say(
            f"submitted {job}: {plural(len(keys), f'{array.kind} job')} in {plural(len(array.units), 'task')}{waits}"
        )
        return name

    def _cut(self, array: waves.Array) -> waves.Array:
        """No more elements than there is room in the queue."""
        if self._room is not None and len(array.units) > self._room:
            kept = sorted(array.units)[: self._room]
            array.units = {index: array.units[index] for index in kept}
            array.pairs = {index: key for index, key in array.pairs.items() if index in kept}
        return array

    def _request(self, kind: str, name: str, indices: list[int], keys: list[str]) -> Request:
        from replicate.backends.slurm.script import Request

        folder = self.store.root / submissions.FOLDER / name
        comment = submissions.comment(self.plan, name, keys) if self.profile.comment else ""
        return Request(name, kind, folder, self.code.folder, indices, f"{submissions.PREFIX}-{name}", comment)

    def _map(self, request: Request, tasks: Mapping[int, Sequence[str]]) -> SubmissionMap:
        box = self.profile.container
        return SubmissionMap(
            request.name,
            request.kind,
            tasks,
            plan=self.plan,
            store=str(self.store.root),
            code=str(self.code.folder),
            made=self.code.made,
            requeue=self.profile.requeue,
            visible_seconds=self.profile.visible_seconds,
            lost_seconds=60.0 * self.profile.lost_after_minutes,
            cluster=self.profile.cluster,
            container=box.model_dump() if box else None,
            setup=self.profile.setup,
            comment=request.comment,
            dependency=request.dependency,
            request=self.profile.request(request.kind),
        )

    def _test(self, todo: list[str]) -> None:
        """Whether the nodes and Slurm would take each kind of request, before anything is queued."""
        from replicate.backends.slurm import script

        jobs = [self.graph.jobs[key] for key in todo]
        faults = list(unsplittable_batches(jobs, self.profile))
        faults += [misfit for misfit in misfits(jobs, self.profile) if isinstance(misfit, Fault)]
        for kind in dict.fromkeys(self.graph.jobs[key].kind for key in todo):
            text = script.text(self.profile, self._request(kind, "test", [0], ["test"]))
            with tempfile.NamedTemporaryFile(
                "w", suffix=".sh", dir=self.store.root / submissions.FOLDER, encoding="utf-8"
            ) as file:
                file.write(text)
                file.flush()
                answer = self.client.test("sbatch", "--test-only", file.name)
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
