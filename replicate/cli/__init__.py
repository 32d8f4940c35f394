"""The command line: parsing and printing only. ``main`` turns every error into one message and an exit code.

0 done, 1 a job failed, 2 the user's mistake, 3 not finished yet, 130 stopped by Ctrl-C, 141 the reader of its output
has closed the pipe (as of any program that SIGPIPE ends).
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from replicate.cli.output import set_output, unusable
from replicate.errors import ReplicateError

COMMANDS = {
    "table": "bring a table up to date, show it, write its files",
    "figure": "bring a figure up to date and draw it",
    "all": "bring everything up to date in one go, write all files",
    "plan": "what would run and why; changes nothing",
    "status": "the table with a mark per cell, and the jobs behind it",
    "explain": "everything one number rests on",
    "run": "run single jobs by key, or redo them and compare",
    "logs": "what the jobs behind a number said",
    "why": "what a job in Slurm's queue waits for, or how it ended",
    "cancel": "take jobs out of Slurm's queue",
    "retry": "submit again what failed on a cluster",
    "list": "the tables and figures there are, with their state",
    "report": "a static site of everything that is known",
    "check": "validate every spec without running anything",
    "claims": "what the paper says about its numbers, judged on them and on ours",
    "nightly": "keep everything fresh, unattended, and say what moved since the last night",
    "doctor": "whether a cluster can do what its profile asks",
    "completion": "print the completion script of a shell",
}
"""In the order of ``--help``. Each is a module of this folder, imported only when it is called: ``--help`` and
completion must answer at once."""

DONE, FAILED, MISTAKE, UNFINISHED, INTERRUPTED, UNREAD = 0, 1, 2, 3, 130, 141


class _Unread(Exception):
    """Whoever read the output has closed the pipe."""


@contextmanager
def _pipes() -> Iterator[None]:
    """Before click and rich end with 1, which says that a job failed."""
    try:
        yield
    except BrokenPipeError as error:
        raise _Unread from error
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            raise _Unread from end
        raise


class _Lazy(click.Group):
    def make_context(self, *arguments: Any, **keywords: Any) -> click.Context:
        with _pipes():
            return super().make_context(*arguments, **keywords)

    def invoke(self, ctx: click.Context) -> Any:
        with _pipes():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"replicate.cli.{cmd_name}_command").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from replicate.errors import UnknownName

            raise UnknownName("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="deit-replicate")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Replicate the tables of the DeiT paper (arXiv:2012.12877), number by number.

    Start with: python -m replicate table --id distillation_ablation
    """


def main() -> None:
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    # Whoever stops a cron job or a session sends SIGTERM; that too ends with checkpoints and no worker left.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    set_output()
    try:
        # Without its name click would look for the variable of a program called "python -m replicate".
        code = cli.main(
            arguments, prog_name="python -m replicate", complete_var="_DEIT_REPLICATE_COMPLETE", standalone_mode=False
        )
    except ReplicateError as error:
        if debug:
            raise
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped; what is finished is kept, and the same command goes on from there", err=True)
        code = INTERRUPTED
    except OSError as error:
        if debug:
            raise
        click.echo(f"error: {unusable(error)}", err=True)
        code = MISTAKE
    except _Unread:
        # `| head` has read enough; a flush at exit would complain again. 0 would be said of a command that had not
        # come to its exit code.
        sys.stdout = None
        code = UNREAD
    finally:
        # What `Workspace.plan` froze; some extension modules call it leaked when it is never looked at again.
        gc.unfreeze()
    sys.exit(code or DONE)
