"""What Slurm's controller says of itself, without queueing anything."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from replicate.backends.doctor.files import Finding, fail, ok, warn
from replicate.backends.slurm.client import Client, number_of
from replicate.backends.slurm.gpus import names_type
from replicate.backends.slurm.limits import Limit, Limits
from replicate.backends.slurm.profile import Profile
from replicate.backends.slurm.refusal import Refusal, refuses_comment
from replicate.backends.slurm.sbatch import arguments, minutes
from replicate.errors import ClusterDown, suggestion
from replicate.jobs.job import kinds
from replicate.text import leading_number

PROGRAMS = ("sbatch", "squeue", "scontrol", "sinfo", "scancel", "srun")
SHORT_MEMORY = 60
"""Seconds of MinJobAge below which a job may be forgotten between two looks."""


@dataclass(frozen=True, slots=True)
class Partition:
    """``longest``: minutes, None without a limit. ``gpus``: type (empty: none given) -> most on one node."""

    name: str
    default: bool
    up: bool
    longest: int | None
    gpus: dict[str, int]
    features: frozenset[str]
    cores: int
    memory: int
    """Megabytes of its smallest node; ``cores`` likewise."""


def partitions(client: Client) -> dict[str, Partition]:
    """By name, from one sinfo call."""
    found: dict[str, Partition] = {}
    for line in client.ask("sinfo", "-a", "-h", "-o", "%P|%a|%l|%c|%m|%G|%f").splitlines():
        parts = line.split("|", 6)
        if len(parts) < 7:
            # Asked about another cluster, sinfo names it first.
            continue
        label, state, limit, cores, memory, gres, features = parts
        name = label.rstrip("*")
        old = found.get(name)
        gpus = dict(old.gpus) if old else {}
        for kind, count in re.findall(r"gpu:(?:([A-Za-z][\w.-]*):)?(\d+)", gres):
            gpus[kind] = max(gpus.get(kind, 0), int(count))
        found[name] = Partition(
            name=name,
            default=label.endswith("*"),
            up=state == "up",
            longest=_longest(limit),
            gpus=gpus,
            features=(old.features if old else frozenset()) | frozenset(features.split(",")) - {"(null)"},
            cores=min(leading_number(cores, 0), old.cores if old else leading_number(cores, 0)),
            memory=min(leading_number(memory, 0), old.memory if old else leading_number(memory, 0)),
        )
    return found


def _longest(limit: str) -> int | None:
    try:
        return minutes(limit)
    except ValueError:
        # ``infinite``, or a word that a site's wrapper has for it.
        return None


def examine(profile: Profile, client: Client, waves: Mapping[str, int] = {}) -> Iterator[Finding]:
    """Programs, accounting, limits, preemption, partitions, and every kind's request. Stops where Slurm is down.

    waves: how many tasks of each kind are submitted together at most.
    """
    missing = [name for name in PROGRAMS if not shutil.which(name, path=client.environment.get("PATH"))]
    if missing:
        yield fail("programs", f"not found: {', '.join(missing)}", "run this on a login node of the cluster")
        return
    try:
        limits = client.limits()
        offered = partitions(client)
    except ClusterDown as error:
        yield fail("controller", str(error).splitlines()[0], "scontrol ping says more; ask the site if it stays down")
        return
    name, version = limits.get("ClusterName", "?"), limits.get("SLURM_VERSION", "?")
    yield ok("controller", f"cluster {name} answers, Slurm {version} (asked {client.asks})")
    accounting = accounting_answers(client)
    if accounting:
        yield ok("accounting", "sacct answers")
    else:
        yield warn(
            "accounting",
            "sacct does not answer",
            "a job that dies without a word is known as lost only after lost_after_minutes",
        )
    yield from _limits(profile, client, accounting, waves)
    yield _preemption(client)
    yield _gpus(profile, offered)
    try:
        yield from _requests(profile, client, offered)
    except ClusterDown as error:
        yield fail("controller", str(error).splitlines()[0], "the same command can be repeated")


def accounting_answers(client: Client) -> bool:
    return client.optional("sacct", "-X", "-n", "-P", "-S", "now") is not None


def _limits(profile: Profile, client: Client, accounting: bool, waves: Mapping[str, int]) -> Iterator[Finding]:
    yield ok("MaxArraySize", f"up to {client.longest_array} jobs in an array; longer waves are split")
    yield from _most_jobs(profile, client, waves)
    age = leading_number(client.limits().get("MinJobAge", ""), 0)
    text = f"ended jobs are remembered for {age} s"
    if age < SHORT_MEMORY and not accounting:
        yield warn("MinJobAge", text, "and no accounting remembers them later: their endings may be unknown")
    else:
        yield ok("MinJobAge", text)


def _most_jobs(profile: Profile, client: Client, waves: Mapping[str, int]) -> Iterator[Finding]:
    """The smallest limit on queued jobs that holds for each kind, beside the waves that it would have to take."""
    limits = Limits(client)
    kinds_of: dict[Limit | None, list[str]] = {}
    for kind in kinds():
        kinds_of.setdefault(next(iter(limits.of(profile.request(kind))), None), []).append(kind)
    for limit, names in kinds_of.items():
        if limit is None:
            yield ok("MaxSubmitJobs", "no limit on queued jobs is known")
            continue
        what = str(limit) if len(kinds_of) == 1 else f"{limit}, for {', '.join(names)} jobs"
        most = max((waves.get(kind, 0) for kind in names), default=0)
        if limit.count == 0:
            yield fail("MaxSubmitJobs", what, "no job is taken; ask the site, or name another qos")
        elif limit.count < most:
            advice = f"the longest wave has {most} tasks: it is submitted bit by bit, so use --wait or nights"
            yield warn("MaxSubmitJobs", what, advice)
        else:
            yield ok("MaxSubmitJobs", what)


def _preemption(client: Client) -> Finding:
    limits = client.limits()
    mode = limits.get("PreemptMode", "OFF")
    if mode == "OFF" or limits.get("PreemptType", "").endswith("none"):
        return ok("preemption", "off")
    if "preempt_send_user_signal" in limits.get("SlurmctldParameters", ""):
        return ok("preemption", f"{mode}, with a signal before it")
    return warn(
        "preemption", f"{mode}, without a signal before it", "a preempted training goes back to its last checkpoint"
    )


def _gpus(profile: Profile, known: dict[str, Partition]) -> Finding:
    types = sorted({kind or "untyped" for partition in known.values() for kind in partition.gpus})
    if not types:
        return warn("GPUs", "no partition has any", "leave gpus_per_node out of the profile")
    listed = "; ".join(
        f"{partition.name}: " + ", ".join(f"{kind or 'untyped'} x{count}" for kind, count in partition.gpus.items())
        for partition in known.values()
    )
    request = profile.request("measure")
    typed = names_type(request) or "constraint" in request or "nodelist" in request
    if len(types) > 1 and not typed:
        return warn("GPUs", listed, "give [kinds.measure] one type (constraint, or gpus_per_node = 'TYPE:1')")
    return ok("GPUs", listed)


def _requests(profile: Profile, client: Client, known: dict[str, Partition]) -> Iterator[Finding]:
    """Every distinct request once, as sbatch itself judges it."""
    requests: dict[tuple[str, ...], list[str]] = {}
    for kind in kinds():
        requests.setdefault(tuple(arguments(profile.request(kind))), []).append(kind)
    for options, names in requests.items():
        request = profile.request(names[0])
        subject = f"request of {', '.join(names)}"
        wanted = str(request.get("partition", ""))
        unknown = [name for name in wanted.split(",") if name and name not in known]
        if unknown:
            yield fail(
                subject, f"no partition '{unknown[0]}'", " ".join(suggestion(unknown[0], [*known], "partitions"))
            )
            continue
        used = [known[name] for name in wanted.split(",") if name] or [p for p in known.values() if p.default]
        limits = [partition.longest for partition in used]
        asked = int(request["time"])
        # Slurm takes such a job and leaves it in the queue for ever, unless the site set EnforcePartLimits.
        if limits and all(limit is not None and limit < asked for limit in limits):
            longest = max(limit for limit in limits if limit is not None)
            places = ", ".join(partition.name for partition in used)
            yield fail(subject, f"{asked} minutes, but {places} allows {longest}", f"lower time in [kinds.{names[0]}]")
            continue
        # As jobs have one, for a site may refuse it.
        comment = ["--comment=replicate:doctor"] if profile.comment else []
        answer = client.test("sbatch", "--test-only", *options, *comment, "--wrap=true")
        match answer.refusal:
            case None:
                pass
            case Refusal.UNAVAILABLE:
                yield _queueable(client, subject, [*options, *comment])
                continue
            case Refusal.LIMIT | Refusal.OUTAGE:
                yield warn(subject, answer.said, "not possible now; such jobs are queued, and wait")
                continue
            case Refusal.REFUSED:
                help = f"sbatch was asked: {' '.join([*options, *comment])}"
                if comment and refuses_comment(answer.said):
                    help = "write comment = false in the profile: jobs are told by their names"
                yield fail(subject, answer.said, help)
                continue
        start = re.search(r"to start at (\S+)", answer.err)
        closed = [partition.name for partition in used if not partition.up]
        if closed:
            yield warn(subject, f"partition {', '.join(closed)} is closed", "jobs wait until the site opens it")
        else:
            yield ok(subject, f"accepted{f', would start at {start[1]}' if start else ''} ({' '.join(options)})")


def _queueable(client: Client, subject: str, options: Sequence[str]) -> Finding:
    """Tell nodes that are drained from nodes that the site does not have: --test-only says the same of both.

    sbatch itself takes a job for the former only. This one is to begin in an hour, and cancelled at once (one on hold
    would be taken in any case).
    """
    fixed = ("--begin=now+1hour", "--parsable", "--job-name=replicate-doctor", "--output=/dev/null")
    answer = client.call("sbatch", *fixed, *options, "--wrap=true")
    if (number := number_of(answer.out)) is not None:
        client.call("scancel", number)
    if answer.refusal in (Refusal.UNAVAILABLE, Refusal.REFUSED):
        return fail(subject, answer.said, f"no node of the site is what was asked for: {' '.join(options)}")
    return warn(subject, "its nodes are down, drained or reserved now", "such jobs are queued, and wait")
