"""``table``, ``figure`` and ``all``: bring tables and figures up to date, show them, write their files."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from replicate.cli import DONE, FAILED, MISTAKE, UNFINISHED
from replicate.cli.workspace import Formats, Workspace, complete_figure, run_options, table_id_option, with_workspace
from replicate.render import format_names
from replicate.text import plural

if TYPE_CHECKING:
    from replicate.actions.files import Unwritten
    from replicate.actions.run_missing import RunOptions
    from replicate.backends.backend import RunReport
    from replicate.store.store import Store


def _table_formats() -> tuple[str, ...]:
    from replicate.actions.files import MACROS
    from replicate.render.formats import names

    return (*names(), MACROS)


def _figure_formats() -> tuple[str, ...]:
    from replicate.actions.files import FIGURE_FORMATS

    return FIGURE_FORMATS


@click.command(name="table")
@table_id_option(required=True)
@click.option("--compare", is_flag=True, help="Show the paper's number beside each of ours.")
@click.option(
    "--format",
    "formats",
    type=Formats(_table_formats),
    default="tex,md,csv,html,json",
    show_default=True,
    help=f"Files to write: {', '.join(format_names())}, or macros (each number as a TeX macro).",
)
@click.option("--pdf", is_flag=True, help="Also typeset the table with pdflatex.")
@run_options
@with_workspace
def table(
    workspace: Workspace, table_id: str, compare: bool, formats: tuple[str, ...], pdf: bool, options: RunOptions
) -> int:
    """Bring a table up to date (running what is missing), show it, write its files.

    With --cluster what is missing is submitted, and the table shown as it stands; the same command goes on later.

    Exit code: 0 done, 1 a job failed, 2 a mistake in the call or a spec, 3 not finished yet.
    """
    from replicate.actions.files import Unwritten, write_tables
    from replicate.actions.run_missing import update_tables
    from replicate.cli.progress import Terminal
    from replicate.render import format_json, format_txt

    updated = update_tables(workspace, [table_id], options, Terminal(workspace.json))
    (finished,) = updated.tables
    unwritten = Unwritten()
    wanted = (*formats, "pdf") if pdf else formats
    paths = write_tables(workspace, [finished], wanted, f"{table_id}-numbers.tex", unwritten.part)
    if workspace.json:
        click.echo(format_json.render(finished), nl=False)
    else:
        format_txt.show(finished, format_txt.console(), "compare" if compare else "paper")
        click.echo()
        print_failures(workspace, updated.report, updated.store)
        _print_next(workspace, options, updated.complete, "table", "--id", table_id)
        for folder in dict.fromkeys(path.parent for path in paths):
            names = dict.fromkeys(path.name for path in paths if path.parent == folder)
            click.echo(f"files in {workspace.shown(folder)}: {', '.join(names)}")
    print_unwritten(unwritten)
    return _ended(updated.failed, updated.complete, updated.report, unwritten)


@click.command(name="figure")
@click.argument("figure_id", metavar="NAME", shell_complete=complete_figure)
@click.option(
    "--format",
    "formats",
    type=Formats(_figure_formats),
    default="pdf,png,svg",
    show_default=True,
    help="Files to write.",
)
@click.option("--run", "runs", multiple=True, metavar="RUN", help="Runs of a figure of curves, in place of its own.")
@run_options
@with_workspace
def figure(
    workspace: Workspace, figure_id: str, formats: tuple[str, ...], runs: tuple[str, ...], options: RunOptions
) -> int:
    """Bring figure NAME up to date (running what is missing) and draw it.

    With --cluster what is missing is submitted, and the figure drawn as it stands; the same command goes on later.

    Exit code: 0 done, 1 a job failed, 2 a mistake in the call or a spec, 3 not finished yet.
    """
    from replicate.actions.files import write_figure
    from replicate.actions.run_missing import update_figure
    from replicate.cli.progress import Terminal

    updated = update_figure(workspace, figure_id, options, Terminal(workspace.json), runs)
    finished = updated.figure
    files = [workspace.shown(path) for path in write_figure(workspace, finished, formats)]
    if workspace.json:
        click.echo(json.dumps(asdict(finished) | {"files": files}, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        if finished.banner:
            click.echo(finished.banner)
        click.echo(f"{finished.title}: {finished.caption}" if finished.title else finished.caption)
        click.echo(f"{finished.wanted - finished.pending} of {finished.wanted} values there")
        click.echo(f"files: {', '.join(files)}")
        print_failures(workspace, updated.report, updated.store)
    return _ended(updated.failed, finished.complete, updated.report)


@click.command(name="all")
@click.option(
    "--format",
    "formats",
    type=Formats(_table_formats),
    default="tex,md,csv,html,json,macros",
    show_default=True,
    help=f"Files of the tables: {', '.join(format_names())}, or macros (all numbers in one file, numbers.tex).",
)
@click.option("--pdf", is_flag=True, help="Also typeset all tables into one PDF with pdflatex.")
@click.option("--no-figures", is_flag=True, help="Tables only.")
@run_options
@with_workspace
def everything(workspace: Workspace, formats: tuple[str, ...], pdf: bool, no_figures: bool, options: RunOptions) -> int:
    """Bring every table and figure up to date and write all their files.

    A job that several of them need runs once (see: plan).

    Exit code: 0 done, 1 a job failed, 2 a mistake in the call or a spec, 3 not finished yet.
    """
    from replicate.actions.files import (
        NUMBERS,
        DrawnFigures,
        Unwritten,
        states_of,
        write_book,
        write_figures,
        write_tables,
    )
    from replicate.actions.run_missing import update_tables
    from replicate.cli.progress import Terminal

    updated = update_tables(workspace, (), options, Terminal(workspace.json), figures=not no_figures)
    tables, specs = updated.tables, updated.plan.specs
    unwritten = Unwritten()
    paths = write_tables(workspace, tables, formats, NUMBERS, unwritten.part)
    if pdf:
        paths += write_book(workspace, tables, unwritten.part)
    drawn = DrawnFigures() if no_figures else write_figures(workspace, specs, updated.store, unwritten.part)
    if drawn.why_not:
        click.echo(f"no figures: {drawn.why_not}", err=True)
    states = {
        finished.id: ", ".join(f"{count} {state}" for state, count in states_of(finished).items())
        for finished in tables
    }
    complete = updated.complete and not drawn.pending
    if workspace.json:
        facts = {
            "scale": workspace.scale,
            "tables": [
                {"id": finished.id, "complete": finished.complete, "states": states[finished.id]} for finished in tables
            ],
            "files": [workspace.shown(path) for path in (*paths, *drawn.paths)],
            "failed": dict(updated.report.failed),
            "unwritten": unwritten.reasons,
        }
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        if tables and tables[0].banner:
            click.echo(f"{tables[0].banner}\n")
        width = max(len(finished.id) for finished in tables)
        for finished in tables:
            title = f"Table {finished.number}" if finished.number is not None else "text"
            click.echo(f"{finished.id:<{width}}  {title:<8}  {states[finished.id]}")
        written = f"{plural(len(tables), 'table')} and {plural(len(drawn.paths), 'file')} of figures"
        click.echo(f"\n{written} in {workspace.shown(workspace.rendered)}; claims: {workspace.call('claims')}")
        print_failures(workspace, updated.report, updated.store)
        _print_next(workspace, options, complete, "all")
    print_unwritten(unwritten)
    return _ended(updated.failed, complete, updated.report, unwritten)


def print_unwritten(unwritten: Unwritten) -> None:
    """Which files are missing, and why, on standard error."""
    for name, reason in unwritten.reasons.items():
        click.echo(f"not written: {name}: {reason}", err=True)


def print_failures(workspace: Workspace, report: RunReport, store: Store) -> None:
    """What failed and what is damaged, on standard error."""
    from replicate.store.store import LOG

    for key, reason in report.failed.items():
        log = report.logs.get(key, store.folder(key) / LOG)
        click.echo(f"failed: {key}: {reason}\n  log: {workspace.shown(log)}", err=True)
    for damage in store.damage.values():
        click.echo(f"damaged: {damage}", err=True)


def _print_next(workspace: Workspace, options: RunOptions, complete: bool, *words: str) -> None:
    """With which call a command goes on that left things to a cluster."""
    if workspace.profile is not None and not complete:
        same = [] if options.train else ["--no-train"]
        click.echo(f"not finished yet; go on with: {workspace.call(*words, *same)}")


def _ended(failed: bool, complete: bool, report: RunReport, unwritten: Unwritten | None = None) -> int:
    """Say what Slurm does not take, on standard error; return the exit code."""
    for fault in (*map(str, report.refused), *([report.stuck] if report.stuck else [])):
        click.echo(f"error: {fault}", err=True)
    if failed:
        return FAILED
    if report.refused or (unwritten is not None and unwritten.reasons):
        return MISTAKE
    return DONE if complete else UNFINISHED
