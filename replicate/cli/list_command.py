"""``list``: the tables there are, with their state."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import click

from replicate.cli import DONE
from replicate.cli.workspace import Workspace, with_workspace

if TYPE_CHECKING:
    from replicate.collect.table import Table


@click.command(name="list")
@with_workspace
def command(workspace: Workspace) -> int:
    """List the tables there are, with the state of their cells."""
    from replicate.collect.finish import Finisher

    specs = workspace.specs()
    names = specs.ordered
    finisher = Finisher(workspace.plan(names, specs), workspace.store())
    tables = [finisher.finish(name) for name in names]
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
        click.echo(json.dumps({"scale": specs.scale.id, "tables": entries}, indent=1, ensure_ascii=False))
        return DONE
    width = max(len(name) for name in names)
    for table in tables:
        states = ", ".join(f"{count} {state}" for state, count in _states(table).items())
        number = f"Table {table.number}" if table.number else "text"
        click.echo(f"{table.id:<{width}}  {number:<8}  {states:<12}  {table.caption}")
    click.echo(f"\n{specs.scale.title}")
    return DONE


def _states(table: Table) -> Counter[str]:
    """Of the cells that hold numbers and are printed."""
    return Counter(cell.state for (row, _), cell in table.cells.items() if row != "@" and cell.state != "text")
