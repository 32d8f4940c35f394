"""``all``: every table and figure brought up to date in one graph of jobs, and all their files written."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from replicate.cli import DONE, FAILED, UNFINISHED
from replicate.cli.files import DEFAULT, MACROS, Formats, write_tables
from replicate.cli.workspace import Workspace, with_workspace
from replicate.errors import NotAvailable
from replicate.text import STATES, plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate.judge.table import Table
    from replicate.specs.load import Specs
    from replicate.store.store import Store

NUMBERS = "numbers.tex"


@click.command(name="all")
@click.option("--no-run", is_flag=True, help="Write the files of what is there; run nothing.")
@click.option("--no-train", is_flag=True, help="Run only what needs no training that is still to be done.")
@click.option("--retry", is_flag=True, help="Also run again what diverged.")
@click.option(
    "--format",
    "formats",
    type=Formats(),
    default=",".join((*DEFAULT, MACROS)),
    show_default=True,
    help="Files of the tables.",
)
@click.option("--pdf", is_flag=True, help="Also typeset all tables into one PDF with pdflatex.")
@click.option("--no-figures", is_flag=True, help="Tables only.")
@click.option("--wait", is_flag=True, help="With --cluster: stay until nothing is queued any more.")
@with_workspace
def command(
    workspace: Workspace,
    no_run: bool,
    no_train: bool,
    retry: bool,
    formats: tuple[str, ...],
    pdf: bool,
    no_figures: bool,
    wait: bool,
) -> int:
    """Bring every table and figure up to date and write all their files.

    What several of them need is run once (see: plan). Formats: tex, md, csv, html, json, txt, pdf, and macros, which
    is one file for all numbers, numbers.tex.

    Exit code: 0 done, 1 a job failed, 2 a mistake in the call or a spec, 3 not finished yet.
    """
    from replicate.actions.run_missing import RunReport, go_on, run_missing, without_training
    from replicate.figures.plan import with_figures
    from replicate.judge.finish import Finisher

    specs = workspace.specs()
    plan = workspace.plan(specs.ordered, specs)
    graph = plan.graph if no_figures else with_figures(plan)
    store = workspace.store()
    advance = RunReport()
    if not no_run:
        if no_train:
            graph = without_training(graph, store, plan.keys)
        advance = run_missing(workspace, graph, store, specs.scale, ["all"], retry, wait)
    finisher = Finisher(plan, store, advance.elsewhere)
    tables = [finisher.finish(name) for name in specs.ordered]
    paths = write_tables(workspace, tables, formats, NUMBERS)
    if pdf:
        paths += _pdf(workspace, tables)
    drawn, pending = ([], 0) if no_figures else draw_figures(workspace, specs, store)
    complete = all(table.complete for table in tables) and not pending
    if workspace.json:
        click.echo(_json(workspace, tables, [*paths, *drawn], advance.failed))
    else:
        _show(workspace, tables, len(drawn))
        advance.tell(workspace, store)
        if workspace.profile is not None and not complete:
            go_on(workspace, no_train, "all")
    if advance.failed or any(cell.state == "failed" for table in tables for cell in table.cells.values()):
        return FAILED
    return DONE if complete else UNFINISHED


def _pdf(workspace: Workspace, tables: list[Table]) -> list[Path]:
    """tables.tex and tables.pdf: ours beside the paper's, a table after the other."""
    from replicate.render import standalone
    from replicate.store.files import write_text

    source = workspace.rendered / "tables.tex"
    write_text(source, standalone.book(tables, "compare"))
    return [source, standalone.pdf(source)]


def draw_figures(workspace: Workspace, specs: Specs, store: Store) -> tuple[list[Path], int]:
    """The files of all figures, and how many of their values are not there yet."""
    from replicate.cli.figure_command import FORMATS, write_figure
    from replicate.figures.finish import finish_figure
    from replicate.figures.load import figures_of
    from replicate.figures.plan import plan_figure

    paths: list[Path] = []
    pending = 0
    for figure_id in figures_of(specs).specs:
        figure = finish_figure(plan_figure(specs, figure_id, workspace.seeds), store)
        pending += figure.pending
        try:
            paths += write_figure(workspace, figure, FORMATS)
        except NotAvailable as error:
            click.echo(f"no figures: {error}", err=True)
            return [], 0
    return paths, pending


def _show(workspace: Workspace, tables: list[Table], figures: int) -> None:
    if tables and tables[0].banner:
        click.echo(f"{tables[0].banner}\n")
    width = max(len(table.id) for table in tables)
    for table in tables:
        title = f"Table {table.number}" if table.number is not None else "text"
        click.echo(f"{table.id:<{width}}  {title:<8}  {_states(table)}")
    folder = workspace.shown(workspace.rendered)
    written = f"{plural(len(tables), 'table')} and {plural(figures, 'file')} of figures"
    click.echo(f"\n{written} in {folder}; claims: {workspace.call('claims')}")


def states_of(table: Table) -> dict[str, int]:
    """Of the cells that hold numbers and are printed, in the order of ``STATES``."""
    counts = Counter[str](
        cell.state for ref, cell in table.cells.items() if not ref.is_reference and cell.state != "text"
    )
    return {state: counts[state] for state in STATES if state in counts}


def _states(table: Table) -> str:
    return ", ".join(f"{count} {state}" for state, count in states_of(table).items())


def _json(workspace: Workspace, tables: list[Table], paths: list[Path], failures: Mapping[str, str]) -> str:
    facts = {
        "scale": workspace.scale,
        "tables": [{"id": table.id, "complete": table.complete, "states": _states(table)} for table in tables],
        "files": [workspace.shown(path) for path in paths],
        "failed": dict(failures),
    }
    return json.dumps(facts, indent=1, ensure_ascii=False)
