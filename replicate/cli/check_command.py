"""``check``: validate every spec without running anything."""

from __future__ import annotations

import json

import click
from click.core import ParameterSource

from replicate.cli import DONE
from replicate.cli.workspace import Workspace, with_workspace
from replicate.errors import SpecError
from replicate.text import plural


@click.command(name="check")
@with_workspace
def command(workspace: Workspace) -> int:
    """Validate every spec at every scale. All faults are reported together; exit code 2 if there are any.

    Where timm is installed, the networks that the scales name must be among its own.
    """
    from replicate.actions.check import check_specs
    from replicate.actions.paper import check_name
    from replicate.specs.load import scales

    if click.get_current_context().get_parameter_source("scale") is ParameterSource.COMMANDLINE:
        check_name("scale", workspace.scale, scales(workspace.tables) or [workspace.scale])
    checked = check_specs(workspace)
    if workspace.json:
        entries = [{"where": fault.where, "what": fault.what, "help": list(fault.help)} for fault in checked.faults]
        click.echo(json.dumps({"faults": entries}, indent=1, ensure_ascii=False))
        return SpecError.exit_code if checked.faults else DONE
    if checked.faults:
        raise SpecError(checked.faults)
    counts = ", ".join(plural(number, noun) for noun, number in checked.counts.items())
    scales_named = f"the scale{'s' if len(checked.scales) > 1 else ''} {', '.join(checked.scales)}"
    click.echo(f"{counts}: no fault at {scales_named}")
    return DONE
