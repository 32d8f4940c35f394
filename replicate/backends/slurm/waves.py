"""Waves of like jobs, and whether they can end within the limits of a profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from replicate.backends.schedule import unsplittable
from replicate.backends.slurm.profile import Profile
from replicate.backends.slurm.submission import Task
from replicate.errors import Fault
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

    def part(self, indices: Sequence[int]) -> Array:
        """The array of these elements alone."""
        pairs = {index: self.pairs[index] for index in indices if index in self.pairs}
        return Array(self.kind, {index: self.units[index] for index in indices}, self.after, pairs)


def levels(graph: Graph, todo: Iterable[str], open_keys: Iterable[str]) -> list[list[Job]]:
    """The jobs ``todo`` in waves: each waits only for earlier waves, or for jobs that are queued already.

    Within a wave the most urgent come first: Slurm starts the elements of an array by their index.
    open_keys: all jobs without a result, queued ones among them.
    """
    wanted, unfinished = set(todo), set(open_keys)
    level: dict[str, int] = {}
    for job in graph:
        if job.key in unfinished:
            below = [level[key] for key in graph.waits_for(job) if key in level]
            level[job.key] = 1 + max(below, default=-1)
    waves: dict[int, list[Job]] = {}
    for key in (job.key for job in graph if job.key in wanted):
        waves.setdefault(level[key], []).append(graph.jobs[key])
    urgency = graph.urgency()
    readers = graph.served({(key,): 1 for key in graph.jobs})

    def rank(job: Job) -> tuple[float, int, int]:
        """What the longest chain waits for, then what most jobs rest on; seeds as numbers, for s10 is not before s2."""
        return -urgency[job.key], -readers[job.key], job.seed or 0

    return [sorted(waves[number], key=rank) for number in sorted(waves)]


def longest_waves(graph: Graph, packed: Callable[[str], int]) -> dict[str, int]:
    """How many tasks of each kind wait in the queue together at most, where nothing is computed yet."""
    longest: dict[str, int] = {}
    for wave in levels(graph, graph.jobs, graph.jobs):
        for kind in dict.fromkeys(job.kind for job in wave):
            like = [job for job in wave if job.kind == kind]
            longest[kind] = max(longest.get(kind, 0), len(units_of(graph, like, graph.jobs, packed(kind))))
    return longest


def units_of(graph: Graph, wave: Sequence[Job], open_keys: Iterable[str], pack: int) -> list[Unit]:
    """``wave`` (of one kind, in order) as elements of up to ``pack`` jobs. Only jobs that wait for the same are packed.

    A pack of jobs that wait for different elements would start when the slowest has ended, and could share no array
    with another pack: 500 evaluations were 63 sbatch calls. Unpacked they are one array and one call, and each starts
    when its own training has ended; the price is a start of Python for each (seconds, on nodes that work side by side).
    What is ready is packed, and so is whatever a later step finds ready.
    """
    unfinished = set(open_keys)
    alike: dict[frozenset[str], list[Job]] = {}
    for job in wave:
        alike.setdefault(_reduced(graph, job, unfinished), []).append(job)
    return [
        Unit(tuple(jobs[begin : begin + pack]), waits)
        for waits, jobs in alike.items()
        for begin in range(0, len(jobs), pack)
    ]


def _reduced(graph: Graph, job: Job, unfinished: set[str]) -> frozenset[str]:
    """Unfinished inputs, without those that another unfinished input waits for itself; and unfinished aids.

    An aid stands for no input: where it fails, the job still waits for its inputs.
    """
    direct = {key for key in job.inputs.values() if key in unfinished}
    implied: set[str] = set()
    for key in direct:
        stack = list(graph.jobs[key].inputs.values())
        while stack:
            below = stack.pop()
            if below in unfinished and below not in implied:
                implied.add(below)
                stack.extend(graph.jobs[below].inputs.values())
    return frozenset((direct - implied) | {key for key in graph.aids.get(job.key, ()) if key in unfinished})


def arrays_of(kind: str, units: Sequence[Unit], tasks: Callable[[str], Task], longest: int) -> list[Array]:
    """``units`` (of one kind and wave) as few arrays, of at most ``longest`` elements each.

    tasks: the element in which an unfinished job is queued. Elements that wait for the same share an array
    (``afterok``). Elements that wait for different elements of one array, and beyond that for the same, are paired
    with them (``aftercorr``): of those an array can hold one for each index.
    """
    alike: dict[frozenset[str], list[Unit]] = {}
    for unit in units:
        alike.setdefault(unit.waits, []).append(unit)
    partners = _partners(alike, tasks)
    arrays: list[Array] = []
    for waits in [waits for waits in alike if waits not in partners]:
        arrays += _plain(kind, waits, alike[waits], longest)
    families: dict[tuple[frozenset[str], str], list[frozenset[str]]] = {}
    for waits, key in partners.items():
        families.setdefault((waits - {key}, tasks(key).submission), []).append(waits)
    for (common, _), members in families.items():
        members.sort(key=lambda waits: -len(alike[waits]))
        # Ten students of one teacher beside the fine-tuning of another network are an array of ten and one of one,
        # not ten arrays of one: where many wait for one index, they leave the pairing while that saves an array.
        sizes = [len(alike[waits]) for waits in members] + [0]
        alone = min(range(len(sizes)), key=lambda count: count + sizes[count])
        for waits in members[:alone]:
            arrays += _plain(kind, waits, alike[waits], longest)
        layers: list[Array] = []
        for waits in members[alone:]:
            index = tasks(partners[waits]).index
            for unit in alike[waits]:
                array = _room(layers, kind, common, index, longest)
                array.units[index], array.pairs[index] = unit, partners[waits]
        arrays += layers
    place = {unit: number for number, unit in enumerate(units)}
    return sorted(arrays, key=lambda array: min(place[unit] for unit in array.units.values()))


def _partners(
    alike: Mapping[frozenset[str], Sequence[Unit]], tasks: Callable[[str], Task]
) -> dict[frozenset[str], str]:
    """Of each set of keys that elements wait for, the one to be paired with: that which most others allow, too."""
    choices = {waits: [((waits - {key}, tasks(key).submission), key) for key in sorted(waits)] for waits in alike}
    count = Counter(family for found in choices.values() for family, _ in found)
    return {
        waits: max(found, key=lambda choice: count[choice[0]])[1]
        for waits, found in choices.items()
        if found and max(count[family] for family, _ in found) > 1
    }


def _plain(kind: str, waits: frozenset[str], units: Sequence[Unit], longest: int) -> Iterator[Array]:
    for begin in range(0, len(units), longest):
        yield Array(kind, dict(enumerate(units[begin : begin + longest])), waits)


def _room(arrays: list[Array], kind: str, common: frozenset[str], index: int, longest: int) -> Array:
    for array in arrays:
        if len(array.units) < longest and index not in array.units:
            return array
    arrays.append(Array(kind, after=common))
    return arrays[-1]


def awaited_by_all(graph: Graph, units: Iterable[Unit]) -> set[str]:
    """The jobs that have ended before any of ``units`` begins."""
    common: set[str] | None = None
    for waits in dict.fromkeys(unit.waits for unit in units):
        below = set(graph.needed_for(waits).jobs) if waits else set()
        common = below if common is None else common & below
        if not common:
            break
    return common or set()


def dependency(
    array: Array,
    tasks: Callable[[str], Task],
    ids: Mapping[str, str],
    ended: Sequence[str] = (),
    aids: Container[str] = (),
) -> str:
    """sbatch's ``--dependency``; empty where the array waits for nothing.

    ids: submission -> Slurm's number. ended: submissions that only have to end first (`Lanes`). aids: jobs likewise.
    """

    def named(keys: Iterable[str]) -> list[str]:
        return [f"{ids[task.submission]}_{task.index}" for task in sorted({tasks(key) for key in keys}, key=str)]

    parts = []
    if array.pairs:
        first = tasks(next(iter(array.pairs.values())))
        parts.append(f"aftercorr:{ids[first.submission]}")
    if needed := named(key for key in array.after if key not in aids):
        parts.append("afterok:" + ":".join(needed))
    if only_ended := named(key for key in array.after if key in aids) + [ids[name] for name in ended]:
        parts.append("afterany:" + ":".join(only_ended))
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
    for (kind, message), keys in unsplittable(jobs, profile.processes).items():
        what, _, help = message.partition("\n")
        others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        advice = f"{help.strip()}: nodes and ntasks_per_node in [kinds.{kind}], now {profile.processes(kind)} in all"
        yield Fault(f"slurm/{profile.name}.toml: {keys[0]}{others}", what, (advice,))
