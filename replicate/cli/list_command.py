"""``list``: the tables and figures there are, with their state."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from replicate.cli import DONE
from replicate.cli.all_command import states_of
from replicate.cli.workspace import Workspace, with_workspace

if TYPE_CHECKING:
    from replicate.specs.load import Specs


@click.command(name="list")
@with_workspace
def command(workspace: Workspace) -> int:
    """List the tables and figures there are, with the state of their numbers."""
    from replicate.figures.load import figures_of
    from replicate.judge.finish import Finisher

    specs = workspace.specs()
    names = specs.ordered
    finisher = Finisher(workspace.plan(names, specs), workspace.store())
    tables = [finisher.finish(name) for name in names]
    figures = [_figure(workspace, specs, figure_id) for figure_id in sorted(figures_of(specs).specs)]
    if workspace.json:
        entries = [
            {
                "id": table.id,
                "kind": "table",
                "number": table.number,
                "caption": table.caption,
                "spec": table.spec,
                "cells": states_of(table),
                "complete": table.complete,
            }
            for table in tables
        ]
        click.echo(
            json.dumps({"scale": specs.scale.id, "tables": entries, "figures": figures}, indent=1, ensure_ascii=False)
        )
        return DONE
    lines = [
        (
            table.id,
            f"Table {table.number}" if table.number else "text",
            ", ".join(f"{count} {state}" for state, count in states_of(table).items()),
            table.caption,
        )
        for table in tables
    ]
    drawn = [
        (
            one["id"],
            f"Figure {one['number']}" if one["number"] else "figure",
            f"{one['wanted'] - one['pending']} of {one['wanted']} there",
            one["caption"],
        )
        for one in figures
    ]
    widths = [max(len(line[place]) for line in [*lines, *drawn]) for place in range(3)]
    for block in filter(None, (lines, drawn)):
        for *fields, caption in block:
            padded = [f"{field:<{width}}" for field, width in zip(fields, widths, strict=True)]
            click.echo("  ".join([*padded, caption]))
        click.echo()
    click.echo(specs.scale.title)
    return DONE


def _figure(workspace: Workspace, specs: Specs, figure_id: str) -> dict[str, Any]:
    from replicate.figures.finish import progress
    from replicate.figures.load import figures_of
    from replicate.figures.plan import plan_figure

    wanted, pending = progress(plan_figure(specs, figure_id, workspace.seeds), workspace.store())
    figures = figures_of(specs)
    head = figures.spec(figure_id).figure
    return {
        "id": figure_id,
        "kind": "figure",
        "number": head.number,
        "caption": head.caption,
        "spec": f"figures/{figures.files[figure_id].name}",
        "wanted": wanted,
        "pending": pending,
        "complete": pending == 0,
    }
