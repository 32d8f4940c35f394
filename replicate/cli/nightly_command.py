"""``nightly``: everything kept fresh, unattended, and what moved since the last night."""

from __future__ import annotations

import os
import re
import sys
import traceback
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from replicate.cli import unusable
from replicate.cli.workspace import Amount, Workspace, watch_options, with_workspace
from replicate.errors import ReplicateError, UserError

if TYPE_CHECKING:
    from replicate.backends.slurm.profile import Profile
    from replicate.specs.watch import TrackerName

INFRASTRUCTURE = 3
FORMS = ("cron", "scrontab", "systemd")
BUDGET = 24.0
PYTHON, LOG, SETUP, DATA, CLUSTER = (f"REPLICATE_{name}" for name in ("PYTHON", "LOG", "SETUP", "DATA", "CLUSTER"))
CARRIED = (
    DATA,
    SETUP,
    "REPLICATE_KEEP",
    "REPLICATE_NOTIFY",
    "REPLICATE_MICRO_BATCH",
    "REPLICATE_COMPILE",
    "REPLICATE_DECODE_THREADS",
    "REPLICATE_DECODE_WITH",
    "REPLICATE_CHECKPOINT_SECONDS",
    "SLURM_CONF",
)
"""Variables that a timetable sets as they are where it is printed."""
PLACES = ("tables", "results", "out", "cluster")
"""Options that a timetable always has, with absolute paths."""


class Unattended(UserError):
    """Any fault that is no result, so that cron can tell it from 1 and 2."""

    exit_code = INFRASTRUCTURE


class Nightly(click.Command):
    def make_context(self, *arguments: Any, **keywords: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **keywords)
        except click.ClickException as error:
            error.show()
            raise click.exceptions.Exit(INFRASTRUCTURE) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            error.show()
            raise click.exceptions.Exit(INFRASTRUCTURE) from error
        except ReplicateError as error:
            raise Unattended(str(error)) from error
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except OSError as error:
            raise Unattended(unusable(error)) from error
        except Exception as error:
            # Python would end with 1, which says that numbers moved.
            traceback.print_exc()
            raise click.exceptions.Exit(INFRASTRUCTURE) from error


class Hour(click.ParamType[tuple[int, int]]):
    name = "HH:MM"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", str(value))
        if match is None:
            self.fail(f"a time of day, got '{value}'; expected HH:MM such as 04:17", param, ctx)
        return int(match[1]), int(match[2])


@click.command(name="nightly", cls=Nightly)
@click.option(
    "--budget",
    type=Amount(min=0),
    default=BUDGET,
    show_default=True,
    metavar="HOURS",
    help="Of one processor of the scale (GPU-hours); what does not fit waits for another night.",
)
@click.option("--train", is_flag=True, help="Also begin trainings that have never run.")
@click.option("--again", is_flag=True, help="Compute evaluations again however fresh they are.")
@watch_options
@click.option("--no-run", is_flag=True, help="Only look: render, compare and record nothing.")
@click.option(
    "--print", "form", type=click.Choice(FORMS), default=None, help="Print the lines of a timetable, and end."
)
@click.option("--at", type=Hour(), default="04:17", show_default=True, help="Of --print: the time of day.")
@with_workspace
def command(
    workspace: Workspace,
    budget: float,
    train: bool,
    again: bool,
    stop_suspicious: bool,
    tracker: TrackerName | None,
    no_run: bool,
    form: str | None,
    at: tuple[int, int],
) -> int:
    """Bring everything up to date within a budget, render it, and say what moved since the last night.

    Evaluations are computed again every night and compared; trainings run only with --train, when their recipe
    changed, or to finish what was begun. With --cluster jobs are submitted and a later night finds their results.
    The summary is printed (with --json as JSON) and kept in <results>/.nights/<scale>/, with --from
    released in <scale>-released/.

    Exit code: 0 same, 1 numbers moved beyond their tolerance, 2 jobs failed, 3 infrastructure (a mistake in the call
    or a spec, results that cannot be written, no answer from Slurm, another night still running).
    """
    if form is not None:
        from replicate.backends.local import check_data_root

        # A timetable of a call that cannot work would only be found out at night.
        specs = workspace.specs()
        if workspace.profile is None:
            check_data_root(workspace.plan(specs.ordered, specs).graph)
        click.echo(_printed(workspace, form, at), nl=False)
        return 0
    from replicate.actions.run_missing import check_tracker
    from replicate.cli.progress import Terminal
    from replicate.nightly.history import Nights
    from replicate.nightly.night import Night, NightlyOptions
    from replicate.nightly.summary import as_json, as_markdown
    from replicate.specs.load import namespace

    if tracker is not None and workspace.profile is None:
        check_tracker(tracker)
    store = workspace.store()
    nights = Nights(store.root, namespace(workspace.scale, workspace.released))
    options = NightlyOptions(budget, train, again, not no_run, stop_suspicious, tracker)
    summary = Night(workspace, options, store, nights, Terminal(workspace.json)).run()
    click.echo(as_json(summary) if workspace.json else as_markdown(summary), nl=False)
    for fault in summary.faults:
        click.echo(f"error: {fault}", err=True)
    return summary.code


def _printed(workspace: Workspace, form: str, at: tuple[int, int]) -> str:
    from replicate.nightly.timetable import FORMS as RENDERED
    from replicate.nightly.timetable import Timetable, changed_clock

    script = Path(__file__).resolve().parents[2] / "slurm" / "nightly.sh"
    if not script.is_file():
        raise UserError(
            f"no script to call: {script} does not exist\n"
            "  nights are called through a checkout of the project: call this command from one"
        )
    profile = workspace.profile
    log = os.environ.get(LOG) or (profile.log if profile else workspace.root / "log") / "nightly"
    asked = profile.request("data") if profile else {}
    table = Timetable(
        script=str(script),
        arguments=[*_places(workspace), *_arguments(click.get_current_context())],
        # Not resolved: a virtual environment's interpreter is a link, and found by its own path.
        environment={PYTHON: sys.executable, LOG: str(Path(log).absolute()), **_carried(profile)},
        log=str(Path(log).absolute()),
        options={name: str(asked[name]) for name in ("account", "partition", "qos") if asked.get(name) is not None},
        hour=at[0],
        minute=at[1],
    )
    if day := changed_clock(at[0], at[1], datetime.now()):
        click.echo(
            f"warning: {at[0]:02}:{at[1]:02} is skipped or comes twice on {day:%Y-%m-%d}, when the clocks of this time "
            "zone change\n  choose another time of day with --at; between 04:00 and 20:59 no time zone does so",
            err=True,
        )
    return RENDERED[form](table)


def _carried(profile: Profile | None) -> dict[str, str]:
    """The variables that this call would heed, and cron does not have."""
    carried = {name: os.environ[name] for name in CARRIED if os.environ.get(name)}
    if profile is not None and profile.paths.data:
        # The profile says where the images are.
        carried.pop(DATA, None)
    if profile is None or profile.paths.slurm_conf:
        carried.pop("SLURM_CONF", None)
    paths = {name: str(Path(carried[name]).absolute()) for name in (DATA, SETUP) if name in carried}
    return carried | paths


def _places(workspace: Workspace) -> list[str]:
    """The options that name what was found from the current folder: slurm/nightly.sh runs in another one."""
    words: list[str] = []
    for name, path in (("tables", workspace.tables), ("results", workspace.results), ("out", workspace.out)):
        words += [f"--{name}", str(path.absolute())]
    chosen = click.get_current_context().params["cluster"] or os.environ.get(CLUSTER) or ""
    if workspace.profile is None:
        cluster = "local"
    elif "/" in chosen:
        cluster = str(Path(chosen).absolute())
    else:
        cluster = str((workspace.root / "slurm" / f"{workspace.profile.name}.toml").absolute())
    return [*words, "--cluster", cluster]


def _arguments(context: click.Context) -> list[str]:
    """The other options of this call, as the timetable has to repeat them."""
    words: list[str] = []
    for parameter in context.command.params:
        name, value = parameter.name or "", context.params.get(parameter.name or "")
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if (
            not given
            or name in ("form", "at", "tables", "results", "out", "cluster")
            or value is None
            or value is False
        ):
            continue
        if isinstance(value, tuple):
            value = ",".join(map(str, value))
        if isinstance(value, float):
            value = f"{value:g}"
        words += [parameter.opts[0]] if value is True else [parameter.opts[0], str(value)]
    return words
