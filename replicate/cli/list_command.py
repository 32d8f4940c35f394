"""``list``: the tables and figures there are, with their state."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from replicate.cli import DONE
from replicate.cli.workspace import Workspace, with_workspace

if TYPE_CHECKING:
    from replicate.collect.table import Table
    from replicate.spec.load import Specs


@click.command(name="list")
@with_workspace
def command(workspace: Workspace) -> int:
    """List the tables and figures there are, with the state of their numbers."""
    from replicate.collect.finish import Finisher

    specs = workspace.specs()
    names = specs.ordered
    finisher = Finisher(workspace.plan(names, specs), workspace.store())
    tables = [finisher.finish(name) for name in names]
    figures = [_figure(workspace, specs, figure_id) for figure_id in sorted(specs.figures)]
    if workspace.json:
        entries = [
            {
                "id": table.id,
                "kind": "table",
                "number": table.number,
                "caption": table.caption,
                "spec": table.spec,
                "cells": dict(_states(table)),
                "complete": table.complete,
            }
            for table in tables
        ]
        click.echo(
            json.dumps({"scale": specs.scale.id, "tables": entries, "figures": figures}, indent=1, ensure_ascii=False)
        )
        return DONE
    width = max(len(name) for name in names)
    for table in tables:
        states = ", ".join(f"{count} {state}" for state, count in _states(table).items())
        number = f"Table {table.number}" if table.number else "text"
        click.echo(f"{table.id:<{width}}  {number:<8}  {states:<12}  {table.caption}")
    click.echo()
    for one in figures:
        states = f"{one['wanted'] - one['pending']} of {one['wanted']} there"
        number = f"Figure {one['number']}" if one["number"] else "figure"
        click.echo(f"{one['id']:<{width}}  {number:<8}  {states:<12}  {one['caption']}")
    click.echo(f"\n{specs.scale.title}")
    return DONE


def _figure(workspace: Workspace, specs: Specs, figure_id: str) -> dict[str, Any]:
    from replicate.collect.figure_finish import progress
    from replicate.plan.figures import plan_figure

    wanted, pending = progress(plan_figure(specs, figure_id, workspace.seeds), workspace.store())
    head = specs.figure(figure_id).figure
    return {
        "id": figure_id,
        "kind": "figure",
        "number": head.number,
        "caption": head.caption,
        "spec": f"figures/{specs.figure_files[figure_id].name}",
        "wanted": wanted,
        "pending": pending,
        "complete": pending == 0,
    }


def _states(table: Table) -> Counter[str]:
    """Of the cells that hold numbers and are printed."""
    return Counter(cell.state for (row, _), cell in table.cells.items() if row != "@" and cell.state != "text")
