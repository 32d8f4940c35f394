"""``cancel``: take jobs out of Slurm's queue."""

from __future__ import annotations

import json
import os

import click

from replicate.cli import DONE
from replicate.cli.workspace import Workspace, table_id_option, with_workspace
from replicate.errors import UnknownName


@click.command(name="cancel")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@table_id_option(required=False)
@with_workspace
def command(workspace: Workspace, keys: tuple[str, ...], table_id: str | None) -> int:
    """Cancel the jobs KEY..., or all that are queued or running for a table (or for all tables and figures).

    Running jobs write a checkpoint first. Results stay, and `table` submits again what is missing.
    """
    from replicate.actions.cluster import profile_of, queued_graph
    from replicate.backends.slurm.client import Client
    from replicate.backends.slurm.step import look

    profile = profile_of(workspace)
    graph = queued_graph(workspace, table_id)
    for key in keys:
        if key not in graph.jobs:
            raise UnknownName("job", key, graph.jobs)
    client = Client(profile.client_environment(os.environ))
    world = look(graph, workspace.store(), profile, client)
    wanted = keys or tuple(graph.jobs)
    # By what squeue shows now: a number that was written down earlier may be another job's by now.
    live = {key: view.row.id for key, view in world.of(wanted).items() if view.row is not None and view.row.live}
    ids = sorted(set(live.values()))
    for begin in range(0, len(ids), 200):
        client.ask("scancel", *ids[begin : begin + 200])
    if workspace.json:
        click.echo(json.dumps({"cancelled": live}, indent=1))
        return DONE
    for key, id in live.items():
        click.echo(f"cancelled {key} (job {id})")
    if not ids:
        click.echo("nothing of this is queued")
    return DONE
