"""``check``: validate every spec without running anything."""

from __future__ import annotations

import json

import click

from replicate.cli import DONE
from replicate.cli.workspace import Workspace, with_workspace
from replicate.errors import Fault, SpecError


@click.command(name="check")
@with_workspace
def command(workspace: Workspace) -> int:
    """Validate every spec at every scale. All faults are reported together; exit code 2 if there are any."""
    from replicate.plan.figures import with_figures
    from replicate.spec.load import load, scales

    names = scales(workspace.tables) or [workspace.scale]
    faults: dict[Fault, None] = {}
    for name in names:
        try:
            specs = load(workspace.tables, name)
            with_figures(workspace.plan(sorted(specs.tables), specs))
        except SpecError as error:
            faults |= dict.fromkeys(error.faults)
    if workspace.json:
        entries = [{"where": fault.where, "what": fault.what, "help": list(fault.help)} for fault in sorted(faults)]
        click.echo(json.dumps({"faults": entries}, indent=1, ensure_ascii=False))
        return SpecError.exit_code if faults else DONE
    if faults:
        raise SpecError(sorted(faults))
    cells = sum(len(spec.rows) * len(spec.table.columns) for spec in specs.tables.values())
    claims = sum(len(spec.claims) for spec in specs.tables.values())
    click.echo(
        f"{len(specs.tables)} tables, {len(specs.figures)} figures, {cells} cells, {claims} claims, "
        f"{len(specs.runs.runs)} runs: "
        f"no fault at the scales {', '.join(names)}"
    )
    return DONE
