"""What sbatch and the profile say of each kind of request, before anything of it is queued."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from replicate.backends.slurm.client import Answer
from replicate.backends.slurm.gpus import misfits
from replicate.backends.slurm.profile import Profile
from replicate.backends.slurm.refusal import Refusal, refuses_comment
from replicate.backends.slurm.waves import unsplittable_batches
from replicate.errors import Fault
from replicate.jobs.job import Job


@dataclass(slots=True)
class Trial:
    """``refused``: why jobs of a kind cannot be submitted. notes: what makes those of others wait."""

    refused: dict[str, list[Fault]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[Fault]:
        return [fault for faults in self.refused.values() for fault in faults]

    def refuse(self, kind: str, fault: Fault) -> None:
        self.refused.setdefault(kind, []).append(fault)


def tried(jobs: Sequence[Job], profile: Profile, test: Callable[[str], Answer]) -> Trial:
    """The trial of every kind among ``jobs``. test: what ``sbatch --test-only`` answers for a kind.

    A kind that is refused holds back itself and what waits for it, and no other. Nodes that are drained or down, a
    maintenance and a full queue pass: sbatch queues what its test does not find nodes for now.
    """
    trial = Trial()
    for kind in dict.fromkeys(job.kind for job in jobs):
        like = [job for job in jobs if job.kind == kind]
        faults = [*unsplittable_batches(like, profile)]
        faults += [misfit for misfit in misfits(like, profile) if isinstance(misfit, Fault)]
        for fault in faults:
            trial.refuse(kind, fault)
        answer = test(kind)
        match answer.refusal:
            case None | Refusal.LIMIT:
                continue
            case Refusal.UNAVAILABLE | Refusal.OUTAGE:
                trial.notes.append(f"{kind} jobs may wait long: {answer.said}")
            case Refusal.REFUSED:
                trial.refuse(kind, refused_request(profile, kind, answer.said))
    return trial


def refused_request(profile: Profile, kind: str, said: str) -> Fault:
    """The fault of a kind that sbatch refuses in these words."""
    asked = ", ".join(f"{name} = {value}" for name, value in profile.request(kind).items())
    advice = f"change [kinds.{kind}] or [sbatch]; see: doctor --cluster {profile.name}"
    if profile.comment and refuses_comment(said):
        advice = f"write comment = false in slurm/{profile.name}.toml: jobs are told by their names"
    return Fault(f"slurm/{profile.name}.toml: {kind} jobs", f"sbatch refuses: {said}", (f"asked: {asked}", advice))
