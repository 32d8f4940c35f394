"""What a run would do, and what it would cost: jobs, time, disk. It changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from replicate.actions.learned import Learned, learn
from replicate.actions.paper import Paper
from replicate.actions.run_missing import without_training
from replicate.backends.backend import Capacity
from replicate.figures.plan import with_figures
from replicate.jobs.answers import Answers
from replicate.jobs.job import Job
from replicate.jobs.train import Train, teacher_seconds
from replicate.plan.answers import saved_seconds, with_answers
from replicate.plan.cells import Plan
from replicate.plan.graph import Graph
from replicate.specs.load import Specs
from replicate.store.store import State, Store
from replicate.text import duration, plural


@dataclass(frozen=True, slots=True)
class AnswersEstimate:
    """What is gained by storing the answers of teachers that several trainings need: ``jobs`` would run.

    saved: seconds of one processor, without what the jobs cost. megabytes: of answers, stored ones among them.
    live: seconds of teachers that answer while students train, all the same.
    """

    jobs: int
    saved: float
    megabytes: float
    live: float


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """``missing``: jobs of ``graph`` without a result. ``seconds``: of one processor; ``wall_seconds``: until the end.

    megabytes: what the results take; meanwhile: what checkpoints take beside them while jobs run. together,
    one_by_one: trainings that all tables need, and those that each would need by itself, added up. learned: what
    finished jobs say of others. tables: what each table lacks, if only it were wanted.
    """

    plan: Plan
    graph: Graph
    store: Store
    states: Mapping[str, State]
    missing: list[Job]
    capacity: Capacity
    seconds: float
    wall_seconds: float
    megabytes: float
    meanwhile: float
    together: int
    one_by_one: int
    learned: Learned
    tables: Mapping[str, Lacking]
    answers: AnswersEstimate

    def expected(self, job: Job) -> float | None:
        """Seconds of one processor that ``job`` takes; None if nobody knows."""
        return self.learned.seconds(job)

    @property
    def unknown(self) -> int:
        """Missing jobs of which nobody knows what they take; the sums are without them."""
        return sum(self.expected(job) is None for job in self.missing)

    @property
    def processor(self) -> str:
        """What a second is a second of."""
        scale = self.plan.specs.scale
        knows = scale.device != "cpu" and any(self.learned.knows(job) for job in self.missing)
        return self.learned.device if knows else scale.processor

    @property
    def for_figures(self) -> int:
        """Jobs that no table needs."""
        return sum(job.key not in self.plan.graph.jobs and not isinstance(job, Answers) for job in self.graph)

    def why(self, job: Job) -> str:
        """Why ``job`` would run."""
        state = self.states[job.key]
        if state == "failed":
            failure = self.store.failure(job.key)
            again = "tried again" if failure.get("retry", True) else "tried again only with --retry"
            return f"failed ({failure.get('kind', 'error')}), {again}"
        if state == "damaged":
            return "its result is damaged"
        if state == "running":
            return "running now"
        waiting = sum(self.states[key] != "done" for key in self.graph.waits_for(job))
        return f"no result, waits for {plural(waiting, 'job')}" if waiting else "no result"

    def assumptions(self) -> list[str]:
        """What the hours rest on, at a scale whose seconds an image are somebody else's."""
        specs = self.plan.specs
        known = sum(self.learned.knows(job) for job in self.missing)
        lines = [f"{known} of {plural(len(self.missing), 'estimate')} by what {self._finished}"] if known else []
        if not specs.scale.seconds_source or known == len(self.missing):
            return lines
        trainings = [job for job in self.missing if isinstance(job, Train)]
        teachers = {job.inputs["teacher"] for job in trainings if "teacher" in job.inputs}
        own = sum(job.seconds for job in trainings if job.key in teachers)
        source = f"{specs.scale.processor}-hours {specs.scale.seconds_source}: tables/scales/{specs.scale.id}.toml"
        if not trainings:
            return [*lines, source]
        return [
            *lines,
            source,
            f"{duration(own)} of them train teachers, {duration(self.answers.live)} are teachers' answers while "
            "students train "
            f"(taken to be {specs.scale.predict_share:g} of training on an image)",
        ]

    @property
    def _finished(self) -> str:
        return f"{plural(self.learned.jobs, 'finished job')} took on {self.learned.device}"


@dataclass(frozen=True, slots=True)
class Lacking:
    """Jobs without a result: their number, the seconds of those that are known, and the number of the others."""

    jobs: int
    seconds: float
    unknown: int

    @classmethod
    def of(cls, seconds: Sequence[float | None]) -> Lacking:
        known = [each for each in seconds if each is not None]
        return cls(len(seconds), sum(known), len(seconds) - len(known))


def estimate_run(paper: Paper, table_id: str | None = None, train: bool = True) -> RunEstimate:
    """Estimate a run for one table, or for all tables and figures. ``train``: see `RunOptions`."""
    specs = paper.specs()
    plan = paper.plan([table_id] if table_id else specs.ordered, specs)
    graph, store = plan.graph if table_id else with_figures(plan), paper.store()
    if not train:
        graph = without_training(graph, store, plan.keys)
    live, graph = graph, with_answers(graph, specs, store)
    states = store.states(graph.jobs)
    missing = [job for job in graph if states[job.key] != "done"]
    learned = learn(specs, store, [job for job in graph if states[job.key] == "done"])
    expected = {job.key: learned.seconds(job) for job in missing}
    seconds = Lacking.of(list(expected.values())).seconds
    # What is done takes nothing any more, wherever in a chain it stands.
    longest = max(graph.urgency({job.key: expected.get(job.key) or 0.0 for job in graph}).values(), default=0.0)
    capacity = paper.backend(specs.scale).capacity(missing)
    at_once = capacity.at_once
    # Not more of them run at once, whichever they are.
    meanwhile = sorted((job.megabytes_meanwhile(graph.jobs) for job in missing), reverse=True)[:at_once]
    alone = {
        table: with_answers(plan.graph.needed_for(key for cell in cells for key in cell.keys), specs, store)
        for table, cells in plan.cells.items()
    }
    return RunEstimate(
        plan=plan,
        graph=graph,
        store=store,
        states=states,
        missing=missing,
        capacity=capacity,
        seconds=seconds,
        wall_seconds=longest if at_once is None else max(seconds / at_once, longest),
        megabytes=sum(job.megabytes(graph.jobs) for job in missing),
        meanwhile=sum(meanwhile),
        together=sum(job.trains for job in plan.graph),
        one_by_one=sum(job.trains for needed in alone.values() for job in needed),
        learned=learned,
        tables={
            table: Lacking.of([learned.seconds(job) for job in needed if states.get(job.key, "done") != "done"])
            for table, needed in alone.items()
        },
        answers=_answers(specs, live, graph, states),
    )


def _answers(specs: Specs, live: Graph, graph: Graph, states: Mapping[str, State]) -> AnswersEstimate:
    blocks = [job for job in graph if isinstance(job, Answers)]
    runs = specs.runs.runs
    still = sum(
        teacher_seconds(specs, runs[job.run], job.recipe.epochs) - (live.jobs[job.key].seconds - job.seconds)
        for job in graph
        if isinstance(job, Train) and states[job.key] != "done"
    )
    return AnswersEstimate(
        jobs=sum(states[job.key] != "done" for job in blocks),
        saved=saved_seconds(live, graph, states),
        megabytes=sum(job.megabytes(graph.jobs) for job in blocks),
        live=still,
    )
