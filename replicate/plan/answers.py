"""Which answers of teachers are worth storing: where several trainings that are still to be done see the same images.

Apart from `replicate.plan.cells`, since it depends on what is stored: no number of a table rests on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Protocol

from replicate.jobs.answers import Answers
from replicate.jobs.network import has_seconds
from replicate.jobs.train import Train, stream_seconds, teacher_seconds
from replicate.plan.graph import Graph
from replicate.specs.load import Specs


class Stored(Protocol):
    """What is asked of `replicate.store.store.Store`."""

    def states(self, keys: Iterable[str], /) -> Mapping[str, str]: ...

    def fails_again(self, key: str, /) -> bool: ...

    def progress(self, key: str, /) -> Mapping[str, float]: ...


@dataclass(slots=True)
class _Block:
    """``teaches``: seconds of a teacher that answers live, once. ``readers``: trainings that are not done."""

    job: Answers
    teaches: float
    makes: float
    readers: int = 0

    @property
    def pays(self) -> bool:
        """Whether storing costs less than it spares: of the readers, the first saves nothing."""
        return (self.readers - 1) * self.teaches > self.makes


def with_answers(graph: Graph, specs: Specs, store: Stored) -> Graph:
    """``graph`` with the answers of teachers that are stored, or that pay (`_Block.pays`), before their students.

    A student that is finished or failed for good asks for none, one that was stopped for none that it has used, and
    the readers of a block that failed for good do without it. Keys and inputs stay what they are; what trainings cost
    is less.
    """
    if graph.aids:
        return graph
    aids = {job.key: found for job in graph if isinstance(job, Train) and (found := [*job.aids().values()])}
    if not aids:
        return graph
    blocks = {block.key: block for found in aids.values() for block in found}
    states = store.states([*aids, *blocks])
    lost = {key for key, state in states.items() if state == "failed" and store.fails_again(key)}
    ended = lost | {key for key in aids if states[key] == "done"}
    known = _known(graph, specs, aids, ended, store)
    wanted = {key for key, block in known.items() if states[key] == "done" or (block.pays and key not in lost)}
    if not wanted:
        return graph
    planned = Graph()
    for job in graph:
        chosen = [block for block in aids.get(job.key, ()) if block.key in wanted]
        for block in chosen:
            planned.add(known[block.key].job)
        if not chosen or not isinstance(job, Train):
            planned.add(job)
            continue
        saved = teacher_seconds(specs, specs.runs.runs[job.run], sum(block.epochs for block in chosen))
        planned.add(replace(job, seconds=job.seconds - saved))
        planned.aids[job.key] = tuple(block.key for block in chosen)
    return planned


def _known(
    graph: Graph, specs: Specs, aids: Mapping[str, list[Answers]], ended: Set[str], store: Stored
) -> dict[str, _Block]:
    """All blocks that students of ``graph`` could read, with what they would cost."""
    known: dict[str, _Block] = {}
    for key, blocks in aids.items():
        run = specs.runs.runs[graph.jobs[key].run]
        assert run.teacher is not None, "it learns from decisions"
        begun = 0 if key in ended else int(store.progress(key).get("epoch", 1)) - 1
        for block in blocks:
            if block.key not in known:
                teaches = teacher_seconds(specs, run, block.epochs)
                makes = specs.scale.job_seconds + stream_seconds(specs, run, block.epochs)
                estimated = has_seconds(specs, specs.runs.runs[run.teacher])
                job = replace(block, run=run.teacher, seconds=teaches + makes, estimated=estimated)
                known[block.key] = _Block(job, teaches, makes)
            known[block.key].readers += key not in ended and block.first + block.epochs > begun
    return known


def saved_seconds(before: Graph, after: Graph, states: Mapping[str, str]) -> float:
    """What the answers of ``after`` spare the jobs that are not done, beside ``before``, with what they cost."""
    open_jobs = [job for job in after if states[job.key] != "done"]
    live = sum(before.jobs[job.key].seconds for job in open_jobs if job.key in before.jobs)
    return live - sum(job.seconds for job in open_jobs)
