"""The one graph of jobs behind all tables: nothing is in it twice."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from replicate.jobs.job import Job


@dataclass(slots=True)
class Graph:
    """Jobs by key, in the order they were added: inputs before what reads them."""

    jobs: dict[str, Job] = field(default_factory=dict)
    aids: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Of a job, the keys of those of its `Job.aids` that it waits for. Where one fails it goes on without."""

    def waits_for(self, job: Job) -> tuple[str, ...]:
        """The keys of the jobs that ``job`` starts after: its inputs, and its aids."""
        return (*job.inputs.values(), *self.aids.get(job.key, ()))

    def without_aids(self, keys: Container[str]) -> Graph:
        """This graph, in which nothing waits for the aids ``keys``."""
        return Graph(self.jobs, {key: tuple(aid for aid in aids if aid not in keys) for key, aids in self.aids.items()})

    def add(self, job: Job) -> Job:
        """Add ``job`` unless it is there. Its inputs must have been added before it."""
        present = self.jobs.get(job.key)
        if present is not None:
            return present
        missing = [key for key in job.inputs.values() if key not in self.jobs]
        if missing:
            raise ValueError(f"{job.key} reads {missing[0]}, which is not in the graph")
        self.jobs[job.key] = job
        return job

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs.values())

    def __len__(self) -> int:
        return len(self.jobs)

    def needed_for(self, keys: Iterable[str]) -> Graph:
        """The part of the graph that ``keys`` rest on. Costs by the size of that part: every cell asks for its own."""
        part = Graph()
        stack = list(keys)[::-1]
        while stack:
            job = self.jobs[stack[-1]]
            lacking = [key for key in self.waits_for(job) if key not in part.jobs]
            if lacking:
                stack += lacking[::-1]
            else:
                part.add(job)
                if job.key in self.aids:
                    part.aids[job.key] = self.aids[job.key]
                stack.pop()
        return part

    def seed_of(self, job: Job) -> int | None:
        """The seed that the network behind ``job`` was trained with; None without one, and where it is published.

        `Job.seed` says beside which trainings a published network stands; nobody here knows its own.
        """
        network = self.jobs.get(job.inputs.get("network", job.key), job)
        return None if network.kind == "weights" else job.seed

    def urgency(self, seconds: Mapping[str, float] = {}) -> Mapping[str, float]:
        """Seconds from the start of each job to the end of the longest chain that waits for it.

        seconds: what jobs take that do not take what was expected of them, such as nothing where they are done.

        Starting the most urgent first keeps all workers busy to the end (critical-path scheduling).
        """
        taken = {job.key: seconds.get(job.key, job.seconds) for job in self}
        urgency = dict(taken)
        for key, job in reversed(self.jobs.items()):
            behind = urgency[key]
            for read in self.waits_for(job):
                through = taken[read] + behind
                if through > urgency[read]:
                    urgency[read] = through
        return urgency

    def served(self, readers: Mapping[tuple[str, ...], int]) -> dict[str, int]:
        """How many of ``readers`` rest on each job, directly or through others.

        A reader is the keys it reads, given with how often it occurs; those that read the same are followed once.
        """
        served = dict.fromkeys(self.jobs, 0)
        for keys, times in readers.items():
            found, stack = set(keys), list(keys)
            while stack:
                for key in self.waits_for(self.jobs[stack.pop()]):
                    if key not in found:
                        found.add(key)
                        stack.append(key)
            for key in found:
                served[key] += times
        return served
