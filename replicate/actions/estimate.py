"""What a run would do, and what it would cost: jobs, time, disk. It changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from replicate.actions.paper import Paper
from replicate.actions.run_missing import without_training
from replicate.backends.backend import Capacity
from replicate.figures.plan import with_figures
from replicate.jobs.job import Job
from replicate.jobs.train import Train, teacher_seconds
from replicate.plan.cells import Plan
from replicate.plan.graph import Graph
from replicate.store.store import State, Store
from replicate.text import duration, plural


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """``missing``: jobs of ``graph`` without a result. ``seconds``: of one processor; ``wall_seconds``: until the end.

    megabytes: what the results take; meanwhile: what checkpoints take beside them while jobs run. together,
    one_by_one: trainings that all tables need, and those that each would need by itself, added up.
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

    @property
    def for_figures(self) -> int:
        """Jobs that no table needs."""
        return sum(key not in self.plan.graph.jobs for key in self.graph.jobs)

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
        waiting = sum(self.states[key] != "done" for key in job.inputs.values())
        return f"no result, waits for {plural(waiting, 'job')}" if waiting else "no result"

    def assumptions(self) -> list[str]:
        """What the hours rest on, at a scale whose seconds an image are somebody else's."""
        specs = self.plan.specs
        if not specs.scale.seconds_source or not self.missing:
            return []
        runs = specs.runs.runs
        trainings = [job for job in self.missing if isinstance(job, Train)]
        taught = sum(teacher_seconds(specs, runs[job.run], job.recipe.epochs) for job in trainings)
        teachers = {job.inputs["teacher"] for job in trainings if "teacher" in job.inputs}
        own = sum(job.seconds for job in trainings if job.key in teachers)
        source = f"{specs.scale.processor}-hours {specs.scale.seconds_source}: tables/scales/{specs.scale.id}.toml"
        if not trainings:
            return [source]
        return [
            source,
            f"{duration(own)} of them train teachers, {duration(taught)} are teachers' answers while students train "
            f"(taken to be {specs.scale.predict_share:g} of training on an image)",
        ]


def estimate_run(paper: Paper, table_id: str | None = None, train: bool = True) -> RunEstimate:
    """Estimate a run for one table, or for all tables and figures. ``train``: see `RunOptions`."""
    specs = paper.specs()
    plan = paper.plan([table_id] if table_id else specs.ordered, specs)
    graph, store = plan.graph if table_id else with_figures(plan), paper.store()
    if not train:
        graph = without_training(graph, store, plan.keys)
    states = store.states(graph.jobs)
    missing = [job for job in graph if states[job.key] != "done"]
    seconds = sum(job.seconds for job in missing)
    longest = max((value for key, value in graph.urgency().items() if states[key] != "done"), default=0.0)
    capacity = paper.backend(specs.scale).capacity(missing)
    at_once = capacity.at_once
    # Not more of them run at once, whichever they are.
    meanwhile = sorted((job.megabytes_meanwhile(graph.jobs) for job in missing), reverse=True)[:at_once]
    alone = (plan.graph.needed_for(key for cell in cells for key in cell.keys) for cells in plan.cells.values())
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
        one_by_one=sum(job.trains for needed in alone for job in needed),
    )
