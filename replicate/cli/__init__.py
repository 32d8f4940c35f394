"""The command line: parsing and printing only. ``main`` turns every error into one message and an exit code.

0 done, 1 a job failed, 2 the user's mistake, 3 not finished yet or Slurm does not answer, 130 stopped by Ctrl-C, 141
the reader of its output has closed the pipe (as of any program that SIGPIPE ends).
"""

from __future__ import annotations

import codecs
import gc
import io
import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click
from click.shell_completion import get_completion_class

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
"""In the order of ``--help``."""

_TOGETHER: Mapping[str, tuple[str, ...]] = {
    "update_commands": ("table", "figure", "all"),
    "cluster_commands": ("logs", "why", "cancel", "retry"),
    "status_commands": ("status", "list"),
}
"""Modules of this folder with several commands; any other command has a module of its own. A module is imported only
when one of its commands is called: ``--help`` and completion must answer at once."""

OUTPUT = "standard output"
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
        if cmd_name == "completion":
            return completion
        module = next((name for name, commands in _TOGETHER.items() if cmd_name in commands), f"{cmd_name}_command")
        for member in vars(import_module(f"replicate.cli.{module}")).values():
            if isinstance(member, click.Command) and member.name == cmd_name:
                return member
        raise AssertionError(f"{module} has no command {cmd_name}")

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


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from replicate.store.provenance import Provenance, provenance, version_of

    click.echo(f"{ctx.info_name}, version {version_of('deit-replicate') or 'unknown'}")
    click.echo(f"code: {Provenance.of(provenance()).code}")
    ctx.exit()


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Replicate the tables of the DeiT paper (arXiv:2012.12877), number by number.

    Start with: python -m replicate table --id distillation_ablation
    """


@click.command(name="completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the completion script of SHELL; for bash: eval "$(deit-replicate completion bash)"."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "deit-replicate", _COMPLETE).source())
    return DONE


_COMPLETE = "_DEIT_REPLICATE_COMPLETE"
"""Without its name click would look for the variable of a program called "python -m replicate"."""


def main() -> None:
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    # Whoever stops a cron job or a session sends SIGTERM; that too ends with checkpoints and no worker left.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Modules are no garbage, and while they are imported they would be searched for some 80 to 130 times.
    gc.set_threshold(200_000)
    _set_output()
    try:
        code = cli.main(arguments, prog_name="python -m replicate", complete_var=_COMPLETE, standalone_mode=False)
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
        # `| head` has read enough; a flush at exit would complain again. Exit code 0 would hide that the command was
        # cut off.
        sys.stdout = None
        code = UNREAD
    finally:
        # As it ends, the interpreter searches all that is not frozen: a tenth of a command that only looks. After one
        # that ran jobs, circles of objects have to end before their modules do; triton, which comes with torch, says of
        # what is not searched that it leaked.
        if "triton" in sys.modules or "multiprocessing.popen_forkserver" in sys.modules:
            gc.unfreeze()
        else:
            gc.freeze()
    sys.exit(code or DONE)


class _Output(io.TextIOWrapper):
    """Standard output whose errors can be told from those of files: they name it."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            error.filename = OUTPUT
            raise

    def flush(self) -> None:
        # Without the names of this module, which may be gone when the interpreter flushes for the last time.
        try:
            super().flush()
        except OSError as error:
            error.filename = OUTPUT
            raise


def _set_output() -> None:
    """From now on escape what the encoding of standard output does not have.

    ASCII is taken for a locale that nobody has set, and UTF-8 written, as click and Python itself do.
    """
    old = sys.stdout
    if isinstance(old, io.TextIOWrapper):
        codecs.register_error("escaped", _escaped)
        encoding = "utf-8" if codecs.lookup(old.encoding).name == "ascii" else old.encoding
        sys.stdout = _Output(old.buffer, encoding, "escaped", None, old.line_buffering, old.write_through)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """As JSON writes it, which so stays JSON. A ``?`` would be the mark of what is undecided."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def unusable(error: OSError) -> str:
    """What could not be used, and why."""
    reason = error.strerror or str(error)
    if error.filename == OUTPUT:
        # A flush at exit would complain again.
        sys.stdout = None
    return f"{error.filename}: cannot be used, got '{reason}'" if error.filename else reason
