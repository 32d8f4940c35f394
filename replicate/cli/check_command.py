"""``check``: validate every spec without running anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from replicate.cli import DONE
from replicate.cli.workspace import Workspace, with_workspace
from replicate.english import count
from replicate.errors import Fault, SpecError, UnknownName

if TYPE_CHECKING:
    from replicate.spec.scale import Scale


@click.command(name="check")
@with_workspace
def command(workspace: Workspace) -> int:
    """Validate every spec at every scale. All faults are reported together; exit code 2 if there are any.

    Where timm is installed, the networks that the scales name must be among its own.
    """
    from replicate.cli.timm_names import misspelt
    from replicate.plan.figures import with_figures
    from replicate.spec.load import load, scales

    names = scales(workspace.tables) or [workspace.scale]
    given = click.get_current_context().get_parameter_source("scale") is ParameterSource.COMMANDLINE
    if given and workspace.scale not in names:
        raise UnknownName("scale", workspace.scale, names)
    faults: dict[Fault, None] = {}
    bound: dict[str, Scale] = {}
    for name in names:
        try:
            specs = load(workspace.tables, name)
            bound[name] = specs.scale
            with_figures(workspace.plan(sorted(specs.tables), specs))
        except SpecError as error:
            faults |= dict.fromkeys(error.faults)
    faults |= dict.fromkeys(misspelt(bound))
    if workspace.json:
        entries = [{"where": fault.where, "what": fault.what, "help": list(fault.help)} for fault in sorted(faults)]
        click.echo(json.dumps({"faults": entries}, indent=1, ensure_ascii=False))
        return SpecError.exit_code if faults else DONE
    if faults:
        raise SpecError(sorted(faults))
    found = {
        "table": len(specs.tables),
        "figure": len(specs.figures),
        "cell": sum(len(spec.rows) * len(spec.table.columns) for spec in specs.tables.values()),
        "claim": sum(len(spec.claims) for spec in specs.tables.values()),
        "run": len(specs.runs.runs),
    }
    said = ", ".join(count(number, noun) for noun, number in found.items())
    click.echo(f"{said}: no fault at the scale{'s' if len(names) > 1 else ''} {', '.join(names)}")
    return DONE
