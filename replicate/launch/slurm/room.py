"""Whether jobs can run as a profile would have them, and end in their time: before anything is queued."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from replicate.english import count
from replicate.errors import Fault, UserError
from replicate.launch.cadence import HOUR
from replicate.launch.profile import Profile
from replicate.plan.job import RESUMABLE, Job
from replicate.spec.recipe import Recipe
from replicate.spec.shares import check_shares
from replicate.store.atomic import canonical


@dataclass(frozen=True, slots=True)
class Strain:
    """Jobs of one kind that cannot end in time: what is expected of the longest, and what to do."""

    kind: str
    what: str
    help: str

    def __str__(self) -> str:
        return f"{self.what}\n  {self.help}"


def strained(jobs: Sequence[Job], profile: Profile) -> Iterator[Strain]:
    """One for each kind of which a job is expected to take longer than all its lives together.

    Expected: `Job.seconds`, of one processor of the scale (a V100 at the paper's), shared evenly by the processes.
    Whatever cannot resume has one life.
    """
    for kind in dict.fromkeys(job.kind for job in jobs):
        processes, limit = profile.processes(kind), float(profile.request(kind)["time"]) * 60.0
        lives = profile.requeue + 1 if kind in RESUMABLE else 1
        long = [job for job in jobs if job.kind == kind and job.seconds / processes > limit * lives]
        if not long:
            continue
        worst = max(long, key=lambda job: job.seconds)
        others = f" and {len(long) - 1} more" if len(long) > 1 else ""
        names = "ntasks_per_node and gpus_per_node, time, or requeue" if kind in RESUMABLE else "time"
        yield Strain(
            kind,
            f"{worst.key}{others}: expected to take {worst.seconds / processes / HOUR:,.1f} h in "
            f"{count(processes, 'process', 'processes')} (of the scale's processor), but may take "
            f"{limit / HOUR:,.1f} h{f' {lives} times' if lives > 1 else ''}",
            f"raise {names} in slurm/{profile.name}.toml for {kind} jobs",
        )


def unshareable(jobs: Sequence[Job], profile: Profile) -> Iterator[Fault]:
    """A fault for each way in which batches of trainings cannot be dealt out to the profile's processes.

    The nodes would find out, but after the wait in the queue, and once in each life that a job has.
    """
    processes = profile.processes("train")
    recipes: dict[bytes, list[str]] = {}
    for job in jobs:
        if job.kind == "train" and processes > 1:
            recipes.setdefault(canonical(job.payload["recipe"]), []).append(job.key)
    wrong: dict[str, list[str]] = {}
    for text, keys in recipes.items():
        try:
            check_shares(Recipe.model_validate_json(text), processes)
        except UserError as error:
            wrong.setdefault(str(error), []).extend(keys)
    for message, keys in wrong.items():
        what, _, help = message.partition("\n")
        others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        advice = f"{help.strip()}: nodes and ntasks_per_node in [kinds.train], now {processes} in all"
        yield Fault(f"slurm/{profile.name}.toml: {keys[0]}{others}", what, (advice,))
