"""Submits jobs in waves: arrays, with dependencies, each written down before Slurm hears of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from replicate.backends.backend import JobView
from replicate.backends.slurm import submission as submissions
from replicate.backends.slurm import waves
from replicate.backends.slurm.bad_nodes import BadNode, bad_nodes, left_out
from replicate.backends.slurm.client import Answer, Client
from replicate.backends.slurm.gpus import Idle, misfits
from replicate.backends.slurm.job_states import QueuedStates
from replicate.backends.slurm.lanes import Lane, Lanes
from replicate.backends.slurm.limits import Limits, Room
from replicate.backends.slurm.profile import Profile
from replicate.backends.slurm.refusal import Refusal, refusal
from replicate.backends.slurm.snapshot import Snapshot
from replicate.backends.slurm.submission import SubmissionMap, Task
from replicate.backends.slurm.trial import Trial, refused_request, tried
from replicate.backends.slurm.waves import over_time_limit
from replicate.errors import ClusterDown, ClusterRefused, Fault, Unanswered
from replicate.jobs.job import Job
from replicate.plan.graph import Graph
from replicate.store import lease
from replicate.store.files import write_text
from replicate.store.store import FAILURE, Store
from replicate.text import plural

if TYPE_CHECKING:
    from replicate.backends.slurm.script import Request

Say = Callable[[str], None]


@dataclass(slots=True)
class Step:
    """What a step found and did. ``submitted`` maps keys to Slurm's number of their element.

    refused: requests that Slurm will not run. stuck: why nothing was submitted although nothing is queued.
    """

    states: QueuedStates
    submitted: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    refused: list[Fault] = field(default_factory=list)
    stuck: str = ""

    @property
    def idle(self) -> bool:
        """Whether nothing of the graph was submitted, is queued or runs."""
        return not self.submitted and not any(
            view.state in ("pending", "running") for view in self.states.views.values()
        )


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
    _trial: Trial = field(default_factory=Trial)
    _room: Room = field(init=False)
    _silent: bool = False
    _bad: list[BadNode] = field(default_factory=list)
    _spare: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._bad = bad_nodes(self.store.root)
        self._room = Room(Limits(self.client), self.step.states.queue)

    def run(self, todo: list[str]) -> None:
        """Wave by wave, each with the numbers of the one before."""
        views = self.step.states.views
        open_keys = [key for key, view in views.items() if view.state != "done"]
        self.graph = self.graph.without_aids({key for key, view in views.items() if _ended_without(view)})
        for key, view in views.items():
            if view.state in ("pending", "running") and view.task is not None and view.row is not None:
                self._placed[key] = view.task
                self._ids[view.task.submission] = view.row.id.partition("_")[0]
        outside = [key for key in open_keys if views[key].state == "running" and key not in self._placed]
        jobs = [self.graph.jobs[key] for key in todo]
        if self._is_full(jobs):
            # Not even the test would pass.
            self._note_left(todo)
            return
        self._trial = tried(jobs, self.profile, self._test)
        self.step.notes += [*self._trial.notes, *map(str, self._bad)]
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
        self.step.refused = self._trial.faults
        self._note_left(todo)

    def _is_full(self, jobs: Sequence[Job]) -> bool:
        return all(self._room.why_full(self.profile.request(kind)) for kind in {job.kind for job in jobs})

    def _note_left(self, todo: Sequence[str]) -> None:
        """Say how many jobs were not submitted, and why."""
        kinds = [self.graph.jobs[key].kind for key in todo if key not in self.step.submitted]
        left = len([kind for kind in kinds if kind not in self._trial.refused])
        if self._room.shortened:
            self.step.notes.append(f"shorter arrays were submitted than were wanted: {self._room.shortened}")
        if not left or self._silent:
            return
        reasons = dict.fromkeys(self._room.why_full(self.profile.request(kind)) for kind in kinds)
        full = next(filter(None, reasons), "")
        if full:
            why = f"the queue is full: {full}"
        else:
            why = "wait for others" if self.profile.chain else "wait for this wave (chain = false)"
        self.step.notes.append(f"{plural(left, 'job')} not submitted yet: {why}")
        if full and self.step.idle and not self.step.states.queue.counted():
            self.step.stuck = (
                f"Slurm takes no job, though you have none queued: {full}\n"
                f"  ask the site, or name another qos, account or partition in slurm/{self.profile.name}.toml"
            )

    def _can_wait(self, unit: waves.Unit, outside: list[str]) -> bool:
        if unit.jobs[0].kind in self._trial.refused:
            return False
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
            wanted = len(array.units)
            name = self._submit(array, place.throttle, ended) if self.profile.chain or not ended else ""
            names.append(name)
            if not name:
                return
            keys = frozenset(job.key for unit in array.units.values() for job in unit.jobs)
            lanes.enter(place, name, keys, before)
            if len(array.units) < wanted:
                return

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
        """Submit as much of ``array`` as Slurm takes, and cut it to that.

        Where sbatch refuses it for a limit, shorter arrays are tried. Returns the name of the last submission, empty
        where nothing was taken.
        """
        request, left, name = self.profile.request(array.kind), sorted(array.units), ""
        while left and (count := self._room.of(request, len(left))):
            if name and throttle is not None:
                # Two arrays would have the throttle each.
                if not self.profile.chain:
                    break
                ended = [name]
            part = array.part(left[:count])
            try:
                name = self._send(part, throttle, ended)
            except ClusterRefused as refused:
                words = str(refused).splitlines()[0]
                if refusal(words) is not Refusal.LIMIT:
                    said = words.removeprefix("sbatch: ")
                    self._trial.refuse(array.kind, refused_request(self.profile, array.kind, said))
                    break
                self._room.refused(count, words.removeprefix("sbatch: "))
                continue
            if self._silent:
                # Whatever comes next would meet the same silence.
                break
            self._room.take(request, count)
            left = left[count:]
        for index in left:
            del array.units[index]
        return name

    def _send(self, array: waves.Array, throttle: int | None, ended: Sequence[str]) -> str:
        """One call of sbatch; returns the name of the submission."""
        from replicate.backends.slurm import script

        name = submissions.new_name()
        keys = [job.key for unit in array.units.values() for job in unit.jobs]
        request = self._request(array.kind, name, sorted(array.units), keys)
        aids = {key for chosen in self.graph.aids.values() for key in chosen}
        dependency = waves.dependency(array, self._placed.__getitem__, self._ids, ended, aids)
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
            self.step.notes.append(f"{rest} ({said})")
            self._silent = True
            return ""
        except (ClusterDown, ClusterRefused):
            shutil.rmtree(folder, ignore_errors=True)
            raise
        submissions.note_job(folder, job)
        self._ids[name] = job
        for index, unit in array.units.items():
            for member in unit.jobs:
                self._placed[member.key] = Task(name, index)
                self.step.submitted[member.key] = f"{job}_{index}"
                self.step.states.views[member.key] = JobView("pending", "submitted now", task=Task(name, index))
        waits = f", after {request.dependency}" if request.dependency else ""
        self.say(
            f"submitted {job}: {plural(len(keys), f'{array.kind} job')} in {plural(len(array.units), 'task')}{waits}"
        )
        return name

    def _request(self, kind: str, name: str, indices: list[int], keys: list[str]) -> Request:
        from replicate.backends.slurm.script import Request

        folder = self.store.root / submissions.FOLDER / name
        comment = submissions.comment(self.plan, name, keys) if self.profile.comment else ""
        own = f"{submissions.PREFIX}-{name}"
        exclude = "" if kind in self._spare else left_out(self.profile.request(kind), self._bad)
        return Request(name, kind, folder, self.code.folder, indices, own, comment, exclude=exclude)

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

    def _test(self, kind: str) -> Answer:
        """What sbatch would say to one job of ``kind``.

        Where it has no nodes but the bad ones, they are not left out.
        """
        answer = self._test_once(kind)
        if answer.refusal is None or not self._bad or kind in self._spare:
            return answer
        self._spare.add(kind)
        anywhere = self._test_once(kind)
        if anywhere.refusal is not None:
            self._spare.discard(kind)
        return anywhere

    def _test_once(self, kind: str) -> Answer:
        from replicate.backends.slurm import script

        text = script.text(self.profile, self._request(kind, "test", [0], ["test"]))
        folder = self.store.root / submissions.FOLDER
        with tempfile.NamedTemporaryFile("w", suffix=".sh", dir=folder, encoding="utf-8") as file:
            file.write(text)
            file.flush()
            return self.client.test("sbatch", "--test-only", file.name)


def _ended_without(view: JobView) -> bool:
    """Whether the job has no result and is not submitted again by itself."""
    return not view.again and view.state not in ("done", "running", "pending")
