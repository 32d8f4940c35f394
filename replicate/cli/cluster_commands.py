"""``logs``, ``why``, ``cancel`` and ``retry``: jobs one by one, most of them in Slurm's queue."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import click

from replicate.cli import DONE, UNFINISHED
from replicate.cli.workspace import Workspace, complete_table, table_id_option, with_workspace

FOLLOWED_SECONDS = 1.0
"""How often `logs --follow` reads the files."""
ASKED_SECONDS = 15.0
"""How often it asks which jobs run: on a cluster that is a call of squeue."""


@click.command(name="logs")
@click.argument("table_id", metavar="ID", shell_complete=complete_table)
@click.argument("row")
@click.argument("column")
@click.option("-n", "--lines", type=click.IntRange(1), default=40, show_default=True, help="Last lines of each file.")
@click.option("-f", "--follow", is_flag=True, help="Show what is added, until none of these jobs runs (or Ctrl-C).")
@with_workspace
def logs(workspace: Workspace, table_id: str, row: str, column: str, lines: int, follow: bool) -> int:
    """Show the logs behind the number of table ID at ROW and COLUMN.

    Of the jobs it rests on: those that failed or run, else the last one that ran. With --cluster also what Slurm
    wrote. Every file is named, so that it can be opened. A training adds a line an epoch.
    """
    from replicate.actions.jobs import states_behind

    states = states_behind(workspace, table_id, row, column)
    files = {key: states.logs(key) for key in states.views}
    views = {
        key: view
        for key, view in states.views.items()
        if view.state in ("failed", "lost", "running", "damaged") or (view.state == "absent" and files[key])
    }
    done = sorted(
        (key for key, view in states.views.items() if view.state == "done"), key=lambda key: _written(files[key])
    )
    views = views or {key: states.views[key] for key in done[-1:]}
    if workspace.json:
        entries = [
            {
                "key": key,
                "state": view.state,
                "why": view.why,
                "logs": {workspace.shown(path): _tail(path, lines).splitlines() for path in files[key]},
            }
            for key, view in views.items()
        ]
        click.echo(json.dumps({"jobs": entries}, indent=1, ensure_ascii=False))
        return DONE
    for key, view in views.items():
        click.echo(f"{key}  [{view.state}] {view.why}".rstrip())
        for path in files[key]:
            click.echo(f"--- {workspace.shown(path)}")
            click.echo(_tail(path, lines))
        if not files[key]:
            click.echo("  it wrote nothing" if view.state == "done" else "  it has not written anything yet")
    if not views:
        click.echo("none of its jobs has run yet" if states.views else "no job makes this number: it has no logs")
    if follow:
        _follow({path for key in views for path in files[key]}, lambda: _running(workspace, table_id, row, column))
    return DONE


def _written(files: Iterable[Path]) -> float:
    """When something was last written to ``files``; 0 where there are none."""
    return max((path.stat().st_mtime for path in files if path.exists()), default=0.0)


def _running(workspace: Workspace, table_id: str, row: str, column: str) -> set[Path]:
    """The logs of the jobs behind a number that run now."""
    from replicate.actions.jobs import states_behind

    states = states_behind(workspace, table_id, row, column)
    running = [key for key, view in states.views.items() if view.state == "running"]
    return {path for key in running for path in states.logs(key)}


def _follow(shown: set[Path], running: Callable[[], set[Path]]) -> None:
    """Print what is added to the files of ``running``; what the files ``shown`` hold already was printed before."""
    read = {path: path.stat().st_size for path in shown if path.exists()}
    last, asked = None, 0.0
    while True:
        if time.monotonic() - asked >= ASKED_SECONDS or not asked:
            live, asked = running(), time.monotonic()
            # What a job that has just ended wrote last is still to be read.
            files, done = sorted(live | read.keys()), not live
        for path in files:
            with suppress(OSError), path.open("rb") as file:
                file.seek(read.get(path, 0))
                text = file.read().decode(errors="replace")
                read[path] = file.tell()
                if text and path != last:
                    click.echo(f"--- {path}")
                    last = path
                click.echo(_printable(text), nl=False)
        if done:
            return
        time.sleep(FOLLOWED_SECONDS)


def _tail(path: Path, lines: int) -> str:
    # A log may be long, and hold anything.
    with path.open(encoding="utf-8", errors="replace") as file:
        text = "".join(deque(file, maxlen=lines))
    return _printable(text).rstrip(os.linesep)


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "�" for sign in text)


@click.command(name="why")
@click.argument("job", metavar="JOB")
@with_workspace
def why(workspace: Workspace, job: str) -> int:
    """Say why JOB (a key, or Slurm's number of it) waits, or how it ended: Slurm's reason and what it means."""
    from replicate.actions.jobs import find_job
    from replicate.backends.slurm.ending import meaning

    states, key = find_job(workspace, job)
    view, files = states.views[key], states.logs(key)
    row = view.row
    if workspace.json:
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
    if row is not None and row.reason not in ("", "None"):
        click.echo(f"  Slurm says   {row.reason}\n  that is      {meaning(row.reason)}")
    if view.state != "done":
        click.echo(f"  so           {states.line(key)}".rstrip())
    for upstream in states.graph.waits_for(states.graph.jobs[key]):
        other = states.views[upstream]
        if other.state != "done":
            click.echo(f"  waits for    {upstream}  [{other.state}] {other.why}".rstrip())
    if view.state in ("failed", "lost", "blocked"):
        click.echo(
            f"  next         {'the next call submits it again' if view.again else 'retry, once the cause is gone'}"
        )
    for remark in states.remarks():
        click.echo(f"  beside       {remark}")
    for path in files:
        click.echo(f"  log          {workspace.shown(path)}")
    return DONE


@click.command(name="cancel")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@table_id_option(required=False)
@with_workspace
def cancel(workspace: Workspace, keys: tuple[str, ...], table_id: str | None) -> int:
    """Cancel the jobs KEY..., or all that are queued or running for a table (or for all tables and figures).

    Running jobs write a checkpoint first. Results stay, and `table` submits again what is missing.
    """
    from replicate.actions.jobs import cancel_jobs

    cancelled = cancel_jobs(workspace, keys, table_id)
    if workspace.json:
        click.echo(json.dumps({"cancelled": cancelled}, indent=1))
        return DONE
    for key, number in cancelled.items():
        click.echo(f"cancelled {key} (job {number})")
    if not cancelled:
        click.echo("nothing of this is queued")
    return DONE


@click.command(name="retry")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@table_id_option(required=False)
@click.option("--class", "kind", default=None, metavar="CLASS", help="Only failures of this class, such as OOM.")
@with_workspace
def retry(workspace: Workspace, keys: tuple[str, ...], table_id: str | None, kind: str | None) -> int:
    """Submit the failed jobs KEY... again, or all failed ones of a table (or of all tables and figures).

    Their restarts are counted anew. What a checkpoint holds is not computed again.
    """
    from replicate.actions.jobs import retry_jobs
    from replicate.cli.progress import Terminal

    again, report = retry_jobs(workspace, keys, table_id, kind, Terminal(workspace.json))
    if workspace.json:
        click.echo(json.dumps({"again": [*again], "submitted": dict(report.submitted)}, indent=1))
    elif not again:
        click.echo("nothing of this has failed" + (f" with class {kind}" if kind else ""))
    return UNFINISHED if again else DONE
