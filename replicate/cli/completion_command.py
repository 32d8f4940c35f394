"""``completion``: print the completion script of a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from replicate.cli import DONE

PROGRAM = "deit-replicate"


@click.command(name="completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the completion script of SHELL; for bash: eval "$(deit-replicate completion bash)"."""
    from replicate.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, PROGRAM, "_DEIT_REPLICATE_COMPLETE").source())
    return DONE
