"""Waves of like jobs, and whether they can end within the limits of a profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from replicate.backends.slurm.profile import Profile
from replicate.backends.slurm.submission import Task
from replicate.errors import Fault, UserError
from replicate.jobs.job import HOUR, Job, kind_named
from replicate.plan.graph import Graph
from replicate.text import plural


@dataclass(frozen=True, slots=True)
class Unit:
    """One element of an array to be: jobs that one task runs one after the other, and what they wait for."""

    jobs: tuple[Job, ...]
    waits: frozenset[str]
    """Keys of unfinished jobs, none of which is implied by another one."""


@dataclass(slots=True)
class Array:
    """``units`` by index. ``after``: keys all elements wait for. ``pairs``: key that each element waits for besides.

    Where ``pairs`` is filled, each element has the index of the element it waits for, and all of those are of one
    array (``aftercorr``).
    """

    kind: str
    units: dict[int, Unit] = field(default_factory=dict)
    after: frozenset[str] = frozenset()
    pairs: dict[int, str] = field(default_factory=dict)


def levels(graph: Graph, todo: Iterable[str], open_keys: Iterable[str]) -> list[list[Job]]:
    """The jobs ``todo`` in waves: each waits only for earlier waves, or for jobs that are queued already.

    ``open_keys``: all jobs without a result, queued ones among them.
    """
    wanted, unfinished = set(todo), set(open_keys)
    level: dict[str, int] = {}
    for job in graph:
        if job.key in unfinished:
            below = [level[key] for key in job.inputs.values() if key in level]
            level[job.key] = 1 + max(below, default=-1)
    waves: dict[int, list[Job]] = {}
    for key in (job.key for job in graph if job.key in wanted):
        waves.setdefault(level[key], []).append(graph.jobs[key])
    return [waves[number] for number in sorted(waves)]


def units_of(graph: Graph, wave: Sequence[Job], open_keys: Iterable[str], pack: int) -> list[Unit]:
    """``wave`` (of one kind) cut into elements of up to ``pack`` jobs; those that wait for the same share one."""
    unfinished = set(open_keys)
    waiting = {job.key: _reduced(graph, job, unfinished) for job in wave}
    if pack == 1:
        return [Unit((job,), waiting[job.key]) for job in wave]
    ordered = sorted(wave, key=lambda job: sorted(waiting[job.key]))
    parts = [ordered[begin : begin + pack] for begin in range(0, len(ordered), pack)]
    return [Unit(tuple(part), frozenset[str]().union(*(waiting[job.key] for job in part))) for part in parts]


def _reduced(graph: Graph, job: Job, unfinished: set[str]) -> frozenset[str]:
    """Unfinished inputs, without those that another unfinished input waits for itself."""
    direct = {key for key in job.inputs.values() if key in unfinished}
    implied: set[str] = set()
    for key in direct:
        stack = list(graph.jobs[key].inputs.values())
        while stack:
            below = stack.pop()
            if below in unfinished and below not in implied:
                implied.add(below)
                stack.extend(graph.jobs[below].inputs.values())
    return frozenset(direct - implied)


def arrays_of(kind: str, units: Sequence[Unit], tasks: Callable[[str], Task], longest: int) -> list[Array]:
    """``units`` (of one kind and wave) as arrays of at most ``longest`` elements.

    tasks: the element in which an unfinished job is queued. Elements that each wait for one element of the same
    array become ``aftercorr``; the others share arrays with those that wait for exactly the same.
    """
    common = frozenset.intersection(*(unit.waits for unit in units)) if units else frozenset[str]()
    paired: dict[str, list[Array]] = {}
    plain: dict[frozenset[str], list[Array]] = {}
    for unit in units:
        rest = unit.waits - common
        if len(rest) == 1:
            key = next(iter(rest))
            task = tasks(key)
            array = _room(paired.setdefault(task.submission, []), kind, task.index, longest)
            array.after = common
            array.units[task.index] = unit
            array.pairs[task.index] = key
        else:
            array = _room(plain.setdefault(rest, []), kind, None, longest)
            array.after = common | rest
            array.units[len(array.units)] = unit
    return [array for group in (*plain.values(), *paired.values()) for array in group]


def _room(arrays: list[Array], kind: str, index: int | None, longest: int) -> Array:
    for array in arrays:
        if len(array.units) < longest and index not in array.units:
            return array
    arrays.append(Array(kind))
    return arrays[-1]


def dependency(array: Array, tasks: Callable[[str], Task], ids: Mapping[str, str]) -> str:
    """sbatch's ``--dependency``; empty where the array waits for nothing. ``ids``: submission -> Slurm's number."""
    parts = []
    if array.pairs:
        first = tasks(next(iter(array.pairs.values())))
        parts.append(f"aftercorr:{ids[first.submission]}")
    if array.after:
        elements = sorted({tasks(key) for key in array.after}, key=str)
        parts.append("afterok:" + ":".join(f"{ids[task.submission]}_{task.index}" for task in elements))
    return ",".join(parts)


@dataclass(frozen=True, slots=True)
class TimeLimitWarning:
    """Jobs of one kind that cannot end in time: what is expected of the longest, and what to do."""

    kind: str
    what: str
    help: str

    def __str__(self) -> str:
        return f"{self.what}\n  {self.help}"


def over_time_limit(jobs: Sequence[Job], profile: Profile) -> Iterator[TimeLimitWarning]:
    """One warning for each kind whose longest job exceeds time limit x restarts.

    Expected: `Job.seconds`, of one processor of the scale (a V100 at the paper's), shared evenly by the processes.
    A job that cannot resume is not restarted.
    """
    for kind in dict.fromkeys(job.kind for job in jobs):
        processes, limit = profile.processes(kind), float(profile.request(kind)["time"]) * 60.0
        resumable = kind_named(kind).resumable
        lives = profile.requeue + 1 if resumable else 1
        long = [job for job in jobs if job.kind == kind and job.seconds / processes > limit * lives]
        if not long:
            continue
        worst = max(long, key=lambda job: job.seconds)
        others = f" and {len(long) - 1} more" if len(long) > 1 else ""
        names = "ntasks_per_node and gpus_per_node, time, or requeue" if resumable else "time"
        yield TimeLimitWarning(
            kind,
            f"{worst.key}{others}: expected to take {worst.seconds / processes / HOUR:,.1f} h in "
            f"{plural(processes, 'process', 'processes')} (of the scale's processor), but may take "
            f"{limit / HOUR:,.1f} h{f' {lives} times' if lives > 1 else ''}",
            f"raise {names} in slurm/{profile.name}.toml for {kind} jobs",
        )


def unsplittable_batches(jobs: Sequence[Job], profile: Profile) -> Iterator[Fault]:
    """A fault for each way in which jobs, such as batches of trainings, cannot be shared by the profile's processes.

    The nodes would find out, but after the wait in the queue, and once in each life that a job has.
    """
    wrong: dict[tuple[str, str], list[str]] = {}
    for job in jobs:
        if (processes := profile.processes(job.kind)) > 1:
            try:
                job.check_processes(processes)
            except UserError as error:
                wrong.setdefault((job.kind, str(error)), []).append(job.key)
    for (kind, message), keys in wrong.items():
        what, _, help = message.partition("\n")
        others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        advice = f"{help.strip()}: nodes and ntasks_per_node in [kinds.{kind}], now {profile.processes(kind)} in all"
        yield Fault(f"slurm/{profile.name}.toml: {keys[0]}{others}", what, (advice,))
