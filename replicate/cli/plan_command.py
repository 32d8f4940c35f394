"""``plan``: what would run and why; changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from replicate.cli import DONE
from replicate.cli.progress import duration
from replicate.cli.workspace import Workspace, table_id_option, with_workspace

if TYPE_CHECKING:
    from replicate.plan.cells import Plan
    from replicate.plan.job import Job
    from replicate.store.store import State, Store

MEGABYTES = {"data": 22.0, "train": 0.8, "predict": 0.1, "measure": 0.01, "probe": 0.01}
"""Stored by one job of each kind at mini scale (measured: `du -sm results/*`), for the estimate of disk."""

MEGABYTES_ELSEWHERE = {"data": 1.0, "train": 700.0, "predict": 2.0, "measure": 0.01, "probe": 0.01}
"""By parameters and images: weights twice (last and averaged), 50 bytes an image and head."""


@click.command(name="plan")
@table_id_option(required=False)
@with_workspace
def command(workspace: Workspace, table_id: str | None) -> int:
    """Show what would run for a table (or all of them), why, for how many cells, how long and how much disk.

    Nothing is run or written.
    """
    specs = workspace.specs()
    plan = workspace.plan([table_id] if table_id else specs.ordered, specs)
    store = workspace.store()
    served = plan.served()
    states = {job.key: store.state(job.key) for job in plan.graph}
    missing = [job for job in plan.graph if states[job.key] != "done"]
    seconds = sum(job.seconds for job in missing)
    longest = max((value for key, value in plan.graph.urgency().items() if states[key] != "done"), default=0.0)
    wall = max(seconds / workspace.workers, longest)
    sizes = MEGABYTES if specs.scale.id.startswith("mini") else MEGABYTES_ELSEWHERE
    megabytes = sum(sizes[job.kind] for job in missing)
    together, alone = _trainings(plan)
    if workspace.json:
        jobs = [
            {
                "key": job.key,
                "kind": job.kind,
                "state": states[job.key],
                "why": _why(job, states, store),
                "cells": served[job.key],
                "seconds": round(job.seconds, 1),
                "inputs": dict(job.inputs),
            }
            for job in plan.graph
        ]
        total = {
            "jobs": len(plan.graph),
            "missing": len(missing),
            "processor_seconds": round(seconds, 1),
            "processor": specs.scale.processor,
            "wall_seconds": round(wall, 1),
            "disk_mb": round(megabytes, 1),
            "trainings": {"together": together, "one_by_one": alone},
        }
        click.echo(json.dumps({"scale": specs.scale.id, "total": total, "jobs": jobs}, indent=1))
        return DONE
    width = max((len(job.key) for job in missing), default=0)
    for job in missing:
        cells = f"{served[job.key]} cell{'s' if served[job.key] != 1 else ''}"
        click.echo(f"{job.key:<{width}}  {duration(job.seconds):>8}  {cells:>8}  {_why(job, states, store)}")
    if missing:
        click.echo()
    click.echo(
        f"{specs.scale.title}\n"
        f"{len(plan.graph)} jobs, {len(plan.graph) - len(missing)} done, {len(missing)} to run: "
        f"about {duration(seconds)} of one {specs.scale.processor}, "
        f"{duration(wall)} on {workspace.workers}, {megabytes:,.0f} MB on disk"
    )
    if len(plan.cells) > 1:
        click.echo(f"{together} trainings serve all {len(plan.cells)} tables; one by one they would need {alone}")
    return DONE


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
