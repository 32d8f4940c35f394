"""``figure``: bring a figure up to date and draw it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from replicate.cli import DONE, FAILED, UNFINISHED
from replicate.cli.workspace import Workspace, repository, with_workspace
from replicate.errors import NotAvailable, UnknownName, UserError

if TYPE_CHECKING:
    from replicate.figures.model import Figure

FORMATS = ("pdf", "png", "svg")


class Formats(click.ParamType[tuple[str, ...]]):
    name = "LIST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = tuple(part.strip() for part in str(value).split(","))
        for name in names:
            if name not in FORMATS:
                raise UnknownName("format", name, FORMATS)
        return names


def complete_figure(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    tables = ctx.params.get("tables") or repository() / "tables"
    names = sorted(path.stem for path in (Path(tables).parent / "figures").glob("*.toml"))
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command(name="figure")
@click.argument("figure_id", metavar="NAME", shell_complete=complete_figure)
@click.option("--no-run", is_flag=True, help="Draw what is there; run nothing.")
@click.option("--no-train", is_flag=True, help="Run only what needs no training that is still to be done.")
@click.option("--retry", is_flag=True, help="Also run again what diverged.")
@click.option("--format", "formats", type=Formats(), default="pdf,png,svg", show_default=True, help="Files to write.")
@click.option("--run", "runs", multiple=True, metavar="RUN", help="Runs of a figure of curves, in place of its own.")
@click.option("--wait", is_flag=True, help="With --cluster: stay until nothing is queued any more.")
@with_workspace
def command(
    workspace: Workspace,
    figure_id: str,
    no_run: bool,
    no_train: bool,
    retry: bool,
    formats: tuple[str, ...],
    runs: tuple[str, ...],
    wait: bool,
) -> int:
    """Bring figure NAME up to date (running what is missing) and draw it.

    With --cluster what is missing is submitted, and the figure drawn as it stands; the same command goes on later.

    Exit code: 0 done, 1 a job failed, 2 a mistake in the call or a spec, 3 not finished yet.
    """
    from replicate.actions.run_missing import RunReport, run_missing, without_training
    from replicate.figures.finish import finish_figure
    from replicate.figures.load import figures_of
    from replicate.figures.plan import plan_figure

    specs = workspace.specs()
    spec = figures_of(specs).spec(figure_id)
    if runs and spec.curves is None:
        raise UserError(f"figure {figure_id}: --run is for figures of curves, got a figure of kind '{spec.kind}'")
    for name in runs:
        if name not in specs.runs.runs:
            raise UnknownName("run", name, specs.runs.runs)
        if not specs.runs.runs[name].trainable:
            raise UserError(f"run {name}: is never trained\n  name a run that runs.toml trains")
    plan = plan_figure(specs, figure_id, workspace.seeds, runs)
    store = workspace.store()
    advance = RunReport()
    if not no_run:
        graph = without_training(plan.graph, store, plan.keys) if no_train else plan.graph
        names = [f"figure-{figure_id}"]
        advance = run_missing(workspace, graph, store, specs.scale, names, retry, wait)
    figure = finish_figure(plan, store)
    paths = write_figure(workspace, figure, formats)
    if workspace.json:
        files = [workspace.shown(path) for path in paths]
        click.echo(json.dumps(asdict(figure) | {"files": files}, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        _say(workspace, figure, paths)
        advance.tell(workspace, store)
    if advance.failed or any(store.state(key) == "failed" for key in plan.keys):
        return FAILED
    return DONE if figure.complete else UNFINISHED


def _say(workspace: Workspace, figure: Figure, paths: list[Path]) -> None:
    if figure.banner:
        click.echo(figure.banner)
    title = f"{figure.title}: " if figure.title else ""
    click.echo(f"{title}{figure.caption}")
    click.echo(f"{figure.wanted - figure.pending} of {figure.wanted} values there")
    click.echo(f"files: {', '.join(workspace.shown(path) for path in paths)}")


def write_figure(workspace: Workspace, figure: Figure, formats: tuple[str, ...]) -> list[Path]:
    try:
        from replicate.figures import draw as renderer
    except ModuleNotFoundError as error:
        raise NotAvailable(
            f"figures are drawn with matplotlib and seaborn, got none of '{error.name}'\n"
            "  install them: pip install 'deit-replicate[figures]'; tables need neither"
        ) from error
    # A folder of their own: some figures share the name of a table.
    folder = workspace.rendered / "figures"
    try:
        return renderer.write(figure, folder, formats)
    except OSError as error:
        raise UserError(
            f"{folder}: the figure cannot be written, got '{error.strerror}'\n"
            "  name a folder that you may write with --out DIR; results are not touched"
        ) from error
