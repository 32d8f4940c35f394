"""``table``: bring a table up to date, show it, write its files."""

from __future__ import annotations

from pathlib import Path

import click

from replicate.cli import DONE, FAILED, UNFINISHED
from replicate.cli.forward import bring_forward
from replicate.cli.workspace import Workspace, table_id_option, with_workspace
from replicate.collect.finish import Finisher
from replicate.collect.table import Table
from replicate.launch.local import Outcome
from replicate.render import formats, json_file, terminal

DEFAULT = ("tex", "md", "csv", "html", "json")


@click.command(name="table")
@table_id_option(required=True)
@click.option("--no-run", is_flag=True, help="Render what is there; run nothing.")
@click.option("--retry", is_flag=True, help="Also run again what diverged.")
@click.option("--compare", is_flag=True, help="Show the paper's number beside each of ours.")
@click.option("--pdf", is_flag=True, help="Also typeset the table with pdflatex.")
@with_workspace
def command(workspace: Workspace, table_id: str, no_run: bool, retry: bool, compare: bool, pdf: bool) -> int:
    """Bring a table up to date (running what is missing), show it, write its files.

    Exit code: 0 done, 1 a job failed, 2 a mistake in the call or a spec, 3 not finished yet.
    """
    specs = workspace.specs()
    specs.table(table_id)
    plan = workspace.plan([table_id], specs)
    store = workspace.store()
    outcome = Outcome() if no_run else bring_forward(workspace, plan.graph, store, specs.scale, retry)
    table = Finisher(plan, store).finish(table_id)
    paths = _write(workspace, table, pdf)
    if workspace.json:
        click.echo(json_file.render(table), nl=False)
    else:
        terminal.show(table, terminal.console(), "compare" if compare else "paper")
        click.echo()
        for key, reason in outcome.failed.items():
            click.echo(f"failed: {key}: {reason}\n  log: {workspace.shown(store.folder(key) / 'log.txt')}", err=True)
        for damage in store.damage.values():
            click.echo(f"damaged: {damage}", err=True)
        click.echo(f"files: {', '.join(workspace.shown(path) for path in paths)}")
    if outcome.failed:
        return FAILED
    return DONE if table.complete else UNFINISHED


def _write(workspace: Workspace, table: Table, pdf: bool) -> list[Path]:
    folder = workspace.out / workspace.scale
    wanted = (*DEFAULT, "pdf") if pdf else DEFAULT
    return [path for variant in ("paper", "compare") for path in formats.write(table, folder, wanted, variant)]
