"""``why``: what a job waits for or why it ended, in Slurm's words and in plain ones."""

from __future__ import annotations

import json

import click

from replicate.cli import DONE
from replicate.cli.workspace import Workspace, with_workspace
from replicate.errors import UnknownName, UserError


@click.command(name="why")
@click.argument("job", metavar="JOB")
@with_workspace
def command(workspace: Workspace, job: str) -> int:
    """Say why JOB (a key, or Slurm's number of it) waits, or how it ended: Slurm's reason and what it means."""
    from replicate.actions.cluster import line, profile_of, queued_graph
    from replicate.backends.slurm.attempt import logs
    from replicate.backends.slurm.ending import meaning
    from replicate.backends.slurm.step import look

    profile = profile_of(workspace)
    graph = queued_graph(workspace, None)
    world = look(graph, workspace.store(), profile)
    numbers = {view.row.id: key for key, view in world.views.items() if view.row is not None}
    key = numbers.get(job, job)
    if key not in world.views and job[:1].isdigit():
        raise UserError(
            f"no job of these tables has Slurm's number '{job}'\n"
            "  Slurm forgets numbers; name the job by its key (status --id ID lists them)"
        )
    if key not in world.views:
        raise UnknownName("job", job, [*world.views, *numbers])
    view = world.views[key]
    files = logs(world, key)
    if workspace.json:
        row = view.row
        answer = {
            "key": key,
            "state": view.state,
            "why": view.why,
            "class": view.kind,
            "job": row.id if row else None,
            "slurm": {"state": row.state, "reason": row.reason, "node": row.node, "start": row.start} if row else None,
            "meaning": meaning(row.reason) if row and row.reason else None,
            "again": view.again,
            "logs": [str(path) for path in files],
        }
        click.echo(json.dumps(answer, indent=1))
        return DONE
    click.echo(f"{key}  [{view.state}]")
    if view.row is not None and view.row.reason not in ("", "None"):
        click.echo(f"  Slurm says   {view.row.reason}\n  that is      {meaning(view.row.reason)}")
    if view.state != "done":
        click.echo(f"  so           {line(key, view, world.store)}".rstrip())
    for upstream in graph.jobs[key].inputs.values():
        if world.views[upstream].state != "done":
            click.echo(
                f"  waits for    {upstream}  [{world.views[upstream].state}] {world.views[upstream].why}".rstrip()
            )
    if view.state in ("failed", "lost", "blocked"):
        click.echo(
            f"  next         {'the next call submits it again' if view.again else 'retry, when the cause is gone'}"
        )
    for path in files:
        click.echo(f"  log          {workspace.shown(path)}")
    return DONE
