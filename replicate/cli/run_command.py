"""``run``: single jobs by key, and whether redoing one gives the same bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from replicate.cli import DONE, FAILED, UNFINISHED
from replicate.cli.workspace import Workspace, with_workspace
from replicate.errors import UnknownName

if TYPE_CHECKING:
    from replicate.store.result import Result


@click.command(name="run")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--again", is_flag=True, help="Redo jobs that are done, and compare the files.")
@click.option("--retry", is_flag=True, help="Also run again what diverged.")
@with_workspace
def command(workspace: Workspace, keys: tuple[str, ...], again: bool, retry: bool) -> int:
    """Run the jobs KEY... and what they need.

    With --again a finished job is redone alone, and its new files are compared with the old ones, which stay
    under results/.aside. Exit code: 0 done (and identical), 1 failed or different, 3 submitted to a cluster and not
    done yet.
    """
    from replicate.cli.forward import bring_forward
    from replicate.plan.figures import with_figures

    specs = workspace.specs()
    graph = with_figures(workspace.plan(sorted(specs.tables), specs))
    for key in keys:
        if key not in graph.jobs:
            raise UnknownName("job", key, graph.jobs)
    store = workspace.store()
    before: dict[str, Result] = {}
    if again:
        for key in keys:
            result = store.result(key)
            if result is not None:
                before[key] = result
                store.set_aside(key)
    needed = graph.needed_for(keys)
    # With --again there is nothing to compare before they have run.
    outcome = bring_forward(workspace, needed, store, specs.scale, list(keys), retry, wait=again)
    differing = {key: _differing(old, store.result(key)) for key, old in before.items()}
    if workspace.json:
        click.echo(json.dumps({"failed": dict(outcome.failed), "done": outcome.done, "differing": differing}, indent=1))
    else:
        for key, names in differing.items():
            click.echo(f"{key}: " + (f"DIFFERENT: {', '.join(names)}" if names else "identical, byte for byte"))
        for key, reason in outcome.failed.items():
            click.echo(f"failed: {key}: {reason}", err=True)
    if outcome.failed or any(differing.values()):
        return FAILED
    return DONE if all(store.result(key) is not None for key in keys) else UNFINISHED


def _differing(old: Result, new: Result | None) -> list[str]:
    if new is None:
        return ["no result"]
    return sorted(name for name in {*old.files, *new.files} if old.files.get(name) != new.files.get(name))
