"""``retry``: submit again what failed, and nothing else."""

from __future__ import annotations

import json

import click

from replicate.cli import DONE, UNFINISHED
from replicate.cli.workspace import Workspace, table_id_option, with_workspace
from replicate.errors import UnknownName


@click.command(name="retry")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@table_id_option(required=False)
@click.option("--class", "kind", default=None, metavar="CLASS", help="Only failures of this class, such as OOM.")
@with_workspace
def command(workspace: Workspace, keys: tuple[str, ...], table_id: str | None, kind: str | None) -> int:
    """Submit the failed jobs KEY... again, or all failed ones of a table (or of all tables and figures).

    Their restarts are counted anew. What a checkpoint holds is not computed again.
    """
    from replicate.actions import cluster
    from replicate.backends.slurm.ending import KINDS
    from replicate.backends.slurm.step import forgive, look

    profile = cluster.profile_of(workspace)
    graph = cluster.queued_graph(workspace, table_id)
    for key in keys:
        if key not in graph.jobs:
            raise UnknownName("job", key, graph.jobs)
    store = workspace.store()
    views = look(graph, store, profile).of(keys or tuple(graph.jobs))
    failed = {key: view for key, view in views.items() if view.state in ("failed", "lost")}
    if kind is not None and kind not in (known := {*KINDS, *(view.kind for view in failed.values() if view.kind)}):
        raise UnknownName("class", kind, known)
    chosen = [key for key, view in failed.items() if kind is None or view.kind == kind]
    if not chosen:
        nothing = "nothing of this has failed" + (f" with class {kind}" if kind else "")
        click.echo(json.dumps({"again": [], "submitted": {}}, indent=1) if workspace.json else nothing)
        return DONE
    forgive(store, chosen)
    if not workspace.json:
        for key in chosen:
            click.echo(f"again: {key} ({failed[key].kind or 'failed'})")
    # Only these and what waits for them, not whatever else is missing.
    name = [table_id] if table_id else ["all"]
    step = cluster.forward(workspace, graph.needed_for(chosen), store, name, retry=False, wait=False)
    if workspace.json:
        click.echo(json.dumps({"again": chosen, "submitted": dict(step.submitted)}, indent=1))
    else:
        click.echo(cluster.summary(step.world))
    return UNFINISHED
