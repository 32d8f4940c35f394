"""``logs``: what the jobs behind a number said."""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path

import click

from replicate.cli import DONE
from replicate.cli.workspace import Workspace, complete_table, with_workspace
from replicate.errors import UnknownName, UserError


@click.command(name="logs")
@click.argument("table_id", metavar="ID", shell_complete=complete_table)
@click.argument("row")
@click.argument("column")
@click.option("-n", "--lines", type=click.IntRange(1), default=40, show_default=True, help="Last lines of each file.")
@with_workspace
def command(workspace: Workspace, table_id: str, row: str, column: str, lines: int) -> int:
    """Show the logs behind the number of table ID at ROW and COLUMN.

    Of the jobs it rests on: those that failed or run, else the last one that ran. With --cluster also what Slurm
    wrote. Every file is named, so that it can be opened.
    """
    from replicate.backends.slurm.attempt import logs
    from replicate.backends.slurm.client import Queue
    from replicate.backends.slurm.job_states import JobStates
    from replicate.backends.slurm.step import look
    from replicate.backends.slurm.submission import read_submissions
    from replicate.specs.cell import CellRef

    specs = workspace.specs()
    spec = specs.table(table_id)
    plan = workspace.plan([table_id], specs)
    cells = {cell.ref: cell for cell in plan.cells[table_id]}
    ref = CellRef(table_id, row, column)
    if ref not in cells:
        rows = {other.row for other in cells}
        if row not in rows:
            raise UnknownName("row", row, rows)
        if not ref.is_reference and column in {known.key for known in spec.table.columns if known.text}:
            raise UserError(f"column {column}: holds words of the spec, which no job makes\n  name a column of numbers")
        raise UnknownName("column", column, [other.column for other in cells if other.row == row])
    store = workspace.store()
    graph = plan.graph.needed_for(cells[ref].keys)
    if workspace.profile is not None:
        world = look(graph, store, workspace.profile)
    else:
        world = JobStates(graph, store, Queue(), read_submissions(store.root), 0.0)
    active = [key for key, view in world.views.items() if view.state in ("failed", "lost", "running", "damaged")]
    shown = active or [key for key, view in world.views.items() if view.state == "done"][-1:]
    if workspace.json:
        entries = [
            {
                "key": key,
                "state": world.views[key].state,
                "why": world.views[key].why,
                "logs": {workspace.shown(path): _tail(path, lines).splitlines() for path in logs(world, key)},
            }
            for key in shown
        ]
        click.echo(json.dumps({"jobs": entries}, indent=1, ensure_ascii=False))
        return DONE
    for key in shown:
        click.echo(f"{key}  [{world.views[key].state}] {world.views[key].why}".rstrip())
        files = logs(world, key)
        for path in files:
            click.echo(f"--- {workspace.shown(path)}")
            click.echo(_tail(path, lines))
        if not files:
            click.echo(
                "  it has not written anything yet" if world.views[key].state != "done" else "  it wrote nothing"
            )
    if not shown:
        click.echo("none of its jobs has run yet" if graph.jobs else "no job makes this number: it has no logs")
    return DONE


def _tail(path: Path, lines: int) -> str:
    # A log may be long, and hold anything.
    with path.open(encoding="utf-8", errors="replace") as file:
        text = "".join(deque(file, maxlen=lines))
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "�" for sign in text).rstrip(os.linesep)
