"""``plan``: what would run and why; changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from replicate.cli import DONE
from replicate.cli.workspace import Workspace, table_id_option, with_workspace
from replicate.text import duration, plural

if TYPE_CHECKING:
    from replicate.jobs.job import Job
    from replicate.plan.cells import Plan
    from replicate.store.store import State, Store


@click.command(name="plan")
@table_id_option(required=False)
@click.option("--no-train", is_flag=True, help="Only what needs no training that is still to be done.")
@with_workspace
def command(workspace: Workspace, table_id: str | None, no_train: bool) -> int:
    """Show what would run for a table (or all tables and figures), why, for how many cells, how long, how much disk.

    Nothing is run or written.
    """
    from replicate.actions.run_missing import without_training
    from replicate.figures.plan import with_figures

    specs = workspace.specs()
    plan = workspace.plan([table_id] if table_id else specs.ordered, specs)
    graph = plan.graph if table_id else with_figures(plan)
    store = workspace.store()
    if no_train:
        graph = without_training(graph, store, plan.keys)
    served = plan.served()
    figures = sum(key not in plan.graph.jobs for key in graph.jobs)
    states = store.states(graph.jobs)
    missing = [job for job in graph if states[job.key] != "done"]
    seconds = sum(job.seconds for job in missing)
    longest = max((value for key, value in graph.urgency().items() if states[key] != "done"), default=0.0)
    capacity = workspace.backend(specs.scale).capacity(missing)
    at_once = capacity.at_once
    wall = longest if at_once is None else max(seconds / at_once, longest)
    megabytes = sum(job.megabytes(graph.jobs) for job in missing)
    # Not more of them run at once, whichever they are.
    meanwhile = sum(sorted((job.megabytes_meanwhile(graph.jobs) for job in missing), reverse=True)[:at_once])
    together, alone = _trainings(plan)
    if workspace.json:
        jobs = [
            {
                "key": job.key,
                "kind": job.kind,
                "state": states[job.key],
                "why": _why(job, states, store),
                "cells": served.get(job.key, 0),
                "seconds": round(job.seconds, 1),
                "inputs": dict(job.inputs),
            }
            for job in graph
        ]
        total = {
            "jobs": len(graph),
            "missing": len(missing),
            "for_figures_alone": figures,
            "processor_seconds": round(seconds, 1),
            "processor": specs.scale.processor,
            "wall_seconds": round(wall, 1),
            "at_once": at_once,
            "disk_mb": round(megabytes, 1),
            "disk_running_mb": round(meanwhile, 1),
            "trainings": {"together": together, "one_by_one": alone},
        }
        click.echo(json.dumps({"scale": specs.scale.id, "total": total, "jobs": jobs}, indent=1))
        return DONE
    width = max((len(job.key) for job in missing), default=0)
    for job in missing:
        readers = plural(served[job.key], "cell") if job.key in served else "figures"
        click.echo(f"{job.key:<{width}}  {duration(job.seconds):>8}  {readers:>8}  {_why(job, states, store)}")
    if missing:
        click.echo()
    alone_for = f" ({figures} for figures alone)" if figures else ""
    checkpoints = f", and up to {_size(meanwhile)} of checkpoints while they run" if meanwhile else ""
    on = "as many as are ready at once" if at_once is None else str(at_once)
    on = f"{duration(wall)} on {on}"
    if capacity.no_gpu:
        on = "and this machine has no GPU"
    click.echo(
        f"{specs.scale.title}\n"
        f"{len(graph)} jobs{alone_for}, {len(graph) - len(missing)} done, {len(missing)} to run: "
        f"about {duration(seconds)} of one {specs.scale.processor}, {on}\n"
        f"{_size(megabytes)} on disk{checkpoints}"
    )
    for line in _assumed(plan, missing):
        click.echo(line)
    if len(plan.cells) > 1 and not no_train:
        click.echo(f"{together} trainings serve all {len(plan.cells)} tables; one by one they would need {alone}")
    return DONE


def _size(megabytes: float) -> str:
    return f"{megabytes:,.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:,.1f} GB"


def _assumed(plan: Plan, missing: list[Job]) -> list[str]:
    """What the hours rest on, at a scale whose seconds an image are somebody else's."""
    from replicate.jobs.train import Train, teacher_seconds

    specs = plan.specs
    if not specs.scale.seconds_source or not missing:
        return []
    runs = specs.runs.runs
    trainings = [job for job in missing if isinstance(job, Train)]
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


def _trainings(plan: Plan) -> tuple[int, int]:
    """Trainings that all tables need together, and those that each would need by itself, added up."""
    alone = 0
    for cells in plan.cells.values():
        needed = plan.graph.needed_for(key for cell in cells for key in cell.keys)
        alone += sum(job.kind == "train" for job in needed)
    return sum(job.kind == "train" for job in plan.graph), alone


def _why(job: Job, states: dict[str, State], store: Store) -> str:
    state = states[job.key]
    if state == "failed":
        failure = store.failure(job.key)
        again = "tried again" if failure.get("retry", True) else "tried again only with --retry"
        return f"failed ({failure.get('kind', 'error')}), {again}"
    if state == "damaged":
        return "its result is damaged"
    if state == "running":
        return "running now"
    waiting = sum(states[key] != "done" for key in job.inputs.values())
    return f"no result, waits for {waiting} job{'s' if waiting != 1 else ''}" if waiting else "no result"
