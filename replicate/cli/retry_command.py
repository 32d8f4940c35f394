"""``retry``: submit again what failed, and nothing else."""

from __future__ import annotations

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
    """Submit the failed jobs KEY... again, or all failed ones of a table (or of all tables).

    Their restarts are counted anew. What a checkpoint holds is not computed again.
    """
    from replicate.cli import cluster
    from replicate.launch.slurm.ending import KINDS
    from replicate.launch.slurm.step import forgive, look

    profile = cluster.profile_of(workspace)
    specs = workspace.specs()
    names = [table_id] if table_id else sorted(specs.tables)
    plan = workspace.plan(names, specs)
    for key in keys:
        if key not in plan.graph.jobs:
            raise UnknownName("job", key, plan.graph.jobs)
    store = workspace.store()
    views = look(plan.graph, store, profile).of(keys or tuple(plan.graph.jobs))
    failed = {key: view for key, view in views.items() if view.state in ("failed", "lost")}
    if kind is not None and kind not in (known := {*KINDS, *(view.kind for view in failed.values() if view.kind)}):
        raise UnknownName("class", kind, known)
    chosen = [key for key, view in failed.items() if kind is None or view.kind == kind]
    if not chosen:
        click.echo("nothing of this has failed" + (f" with class {kind}" if kind else ""))
        return DONE
    forgive(store, chosen)
    for key in chosen:
        click.echo(f"again: {key} ({failed[key].kind or 'failed'})")
    # Only these and what waits for them, not whatever else is missing.
    graph = plan.graph.needed_for(chosen)
    step = cluster.forward(workspace, graph, store, names, retry=False, wait=False)
    click.echo(cluster.summary(step.world))
    return UNFINISHED
