"""``table``: bring a table up to date, show it, write its files."""

from __future__ import annotations

import click

from replicate.cli import DONE, FAILED, UNFINISHED
from replicate.cli.files import DEFAULT, Formats, write_tables
from replicate.cli.workspace import Workspace, table_id_option, with_workspace


@click.command(name="table")
@table_id_option(required=True)
@click.option("--no-run", is_flag=True, help="Render what is there; run nothing.")
@click.option("--no-train", is_flag=True, help="Run only what needs no training that is still to be done.")
@click.option("--retry", is_flag=True, help="Also run again what diverged.")
@click.option("--compare", is_flag=True, help="Show the paper's number beside each of ours.")
@click.option(
    "--format", "formats", type=Formats(), default=",".join(DEFAULT), show_default=True, help="Files to write."
)
@click.option("--pdf", is_flag=True, help="Also typeset the table with pdflatex.")
@click.option("--wait", is_flag=True, help="With --cluster: stay until nothing is queued any more.")
@with_workspace
def command(
    workspace: Workspace,
    table_id: str,
    no_run: bool,
    no_train: bool,
    retry: bool,
    compare: bool,
    formats: tuple[str, ...],
    pdf: bool,
    wait: bool,
) -> int:
    """Bring a table up to date (running what is missing), show it, write its files.

    Formats: tex, md, csv, html, json, txt, pdf, and macros (each number as a TeX macro).

    With --cluster what is missing is submitted, and the table shown as it stands; the same command goes on later.

    Exit code: 0 done, 1 a job failed, 2 a mistake in the call or a spec, 3 not finished yet.
    """
    from replicate.actions.run_missing import RunReport, go_on, run_missing, without_training
    from replicate.judge.finish import Finisher
    from replicate.render import json_file, terminal

    specs = workspace.specs()
    specs.table(table_id)
    plan = workspace.plan([table_id], specs)
    store = workspace.store()
    advance = RunReport()
    if not no_run:
        graph = without_training(plan.graph, store, plan.keys) if no_train else plan.graph
        advance = run_missing(workspace, graph, store, specs.scale, [table_id], retry, wait)
    table = Finisher(plan, store, advance.elsewhere).finish(table_id)
    wanted = (*formats, "pdf") if pdf else formats
    paths = write_tables(workspace, [table], wanted, f"{table_id}-numbers.tex")
    if workspace.json:
        click.echo(json_file.render(table), nl=False)
    else:
        terminal.show(table, terminal.console(), "compare" if compare else "paper")
        click.echo()
        advance.tell(workspace, store)
        if workspace.profile is not None and not table.complete:
            go_on(workspace, no_train, "table", "--id", table_id)
        for folder in dict.fromkeys(path.parent for path in paths):
            names = dict.fromkeys(path.name for path in paths if path.parent == folder)
            click.echo(f"files in {workspace.shown(folder)}: {', '.join(names)}")
    if advance.failed or any(cell.state == "failed" for cell in table.cells.values()):
        return FAILED
    return DONE if table.complete else UNFINISHED
