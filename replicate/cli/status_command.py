"""``status``: the table with a mark per cell, and the jobs behind it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from replicate.cli import DONE, FAILED, UNFINISHED
from replicate.cli.progress import share_of
from replicate.cli.workspace import Workspace, table_id_option, with_workspace

if TYPE_CHECKING:
    from replicate.plan.cells import Plan
    from replicate.store.store import State, Store

MARKS: Mapping[State, str] = {"done": "●", "running": "◐", "absent": "○", "failed": "⚠", "damaged": "⚠"}
"""In the order in which they are counted."""


@click.command(name="status")
@table_id_option(required=False)
@with_workspace
def command(workspace: Workspace, table_id: str | None) -> int:
    """Show a table (or all of them) with a mark per cell, and the jobs behind it. Runs nothing.

    With --cluster Slurm is asked once what is queued.

    Exit code: 0 all done, 1 a job failed, 3 not finished yet.
    """
    from replicate.judge.finish import Finisher
    from replicate.render import terminal

    specs = workspace.specs()
    names = [table_id] if table_id else specs.ordered
    plan = workspace.plan(names, specs)
    store = workspace.store()
    if workspace.profile is not None:
        return _on_cluster(workspace, plan, store, names)
    finisher = Finisher(plan, store)
    states = store.states(plan.graph.jobs)
    if workspace.json:
        jobs = [
            {
                "key": key,
                "state": state,
                "progress": round(share_of(store.progress(key)), 3),
                "failure": dict(store.failure(key)) or None,
            }
            for key, state in states.items()
        ]
        click.echo(json.dumps({"scale": specs.scale.id, "jobs": jobs, "damage": store.damage}, indent=1))
    else:
        for name in names:
            terminal.show(finisher.finish(name), terminal.console())
            click.echo()
        width = max(map(len, states), default=0)
        for key, state in states.items():
            click.echo(f"{MARKS[state]} {key:<{width}}  {_detail(store, key, state)}".rstrip())
        counts = Counter(states.values())
        said = [f"{counts[name]} {'not run' if name == 'absent' else name}" for name in MARKS if counts[name]]
        click.echo(f"\n{', '.join(said)}" if said else "no jobs: its numbers are read from the specs")
    if any(state in ("failed", "damaged") for state in states.values()):
        return FAILED
    return DONE if all(state == "done" for state in states.values()) else UNFINISHED


def _on_cluster(workspace: Workspace, plan: Plan, store: Store, names: list[str]) -> int:
    from replicate.actions import cluster
    from replicate.backends.slurm.step import look
    from replicate.judge.finish import Finisher
    from replicate.render import terminal

    world = look(plan.graph, store, cluster.profile_of(workspace))
    if workspace.json:
        jobs = [
            {
                "key": key,
                "state": view.state,
                "why": view.why,
                "class": view.kind,
                "job": view.row.id if view.row else None,
                "progress": round(share_of(store.progress(key)), 3),
            }
            for key, view in world.views.items()
        ]
        answer = {"scale": plan.specs.scale.id, "accounting": world.queue.accounting, "jobs": jobs}
        click.echo(json.dumps(answer | {"damage": store.damage}, indent=1))
    else:
        finisher = Finisher(plan, store, cluster.elsewhere(world))
        for name in names:
            terminal.show(finisher.finish(name), terminal.console())
            click.echo()
        width = max(map(len, world.views), default=0)
        for key, view in world.views.items():
            mark = cluster.MARKS[view.state]
            click.echo(f"{mark} {key:<{width}}  {cluster.line(key, view, store)}".rstrip())
        click.echo(f"\n{cluster.summary(world)}")
    if cluster.failures(world):
        return FAILED
    return DONE if all(view.state == "done" for view in world.views.values()) else UNFINISHED


def _detail(store: Store, key: str, state: str) -> str:
    if state == "done":
        result = store.result(key)
        return f"{result.cost['wall_seconds']:.1f} s" if result else ""
    if state == "running":
        progress = store.progress(key)
        loss = f", loss {progress['loss']:.3f}" if "loss" in progress else ""
        return f"running, {share_of(progress):.0%}{loss}"
    if state == "failed":
        failure = store.failure(key)
        return f"{failure.get('kind', 'error')}: {failure.get('message', '')}"
    return store.damage.get(key, "")
