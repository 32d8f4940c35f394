"""``status`` and ``list``: how tables, figures and the jobs behind them stand. They run nothing."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from replicate.cli import DONE, FAILED, UNFINISHED
from replicate.cli.workspace import Workspace, table_id_option, with_workspace

if TYPE_CHECKING:
    from replicate.backends.backend import JobStates


@click.command(name="status")
@table_id_option(required=False)
@with_workspace
def status(workspace: Workspace, table_id: str | None) -> int:
    """Show a table (or all of them) with a mark per cell, and the jobs behind it. Runs nothing.

    With --cluster Slurm is asked once what is queued.

    Exit code: 0 all done, 1 a job failed, 3 not finished yet.
    """
    from replicate.backends.backend import MARKS
    from replicate.judge.finish import Finisher
    from replicate.plan.answers import with_answers
    from replicate.render import format_txt

    specs = workspace.specs()
    names = [table_id] if table_id else specs.ordered
    plan, store = workspace.plan(names, specs), workspace.store()
    states = workspace.backend(specs.scale).look(with_answers(plan.graph, specs, store), store)
    if workspace.json:
        answer: dict[str, object] = {"scale": specs.scale.id, "accounting": states.accounting, "jobs": _entries(states)}
        answer |= {"remarks": states.remarks()}
        click.echo(json.dumps(answer | {"damage": store.damage}, indent=1))
    else:
        finisher = Finisher(plan, store, states.elsewhere())
        for name in names:
            format_txt.show(finisher.finish(name), format_txt.console())
            click.echo()
        width = max(map(len, states.views), default=0)
        for key, view in states.views.items():
            click.echo(f"{MARKS[view.state]} {key:<{width}}  {states.line(key)}".rstrip())
        click.echo(f"\n{states.summary()}" if states.views else "no jobs: its numbers are read from the specs")
        for remark in states.remarks():
            click.echo(remark)
    if states.failures():
        return FAILED
    return DONE if states.done else UNFINISHED


def _entries(states: JobStates) -> list[dict[str, object]]:
    from replicate.backends.backend import share_of

    return [
        {
            "key": key,
            "state": view.state,
            "why": view.why,
            "class": view.kind,
            "job": view.row.id if view.row else None,
            "progress": round(share_of(states.store.progress(key)), 3),
            **(asdict(states.store.place(key)) if view.state == "running" else {"devices": (), "ranks": None}),
            "epoch": next((asdict(line) for line in states.store.epochs(key)[-1:]), None)
            if view.state == "running"
            else None,
            "suspicious": (states.store.suspicion(key) or None) if view.state == "running" else None,
            "failure": dict(states.store.failure(key)) or None,
        }
        for key, view in states.views.items()
    ]


@click.command(name="list")
@with_workspace
def list_all(workspace: Workspace) -> int:
    """List the tables and figures there are, with the state of their numbers."""
    from replicate.actions.files import states_of
    from replicate.figures.finish import progress
    from replicate.figures.load import figures_of
    from replicate.figures.plan import plan_figure
    from replicate.judge.finish import Finisher

    specs, store = workspace.specs(), workspace.store()
    finisher = Finisher(workspace.plan(specs.ordered, specs), store)
    tables = [finisher.finish(name) for name in specs.ordered]
    drawn_by = figures_of(specs)
    heads = {name: drawn_by.spec(name).figure for name in sorted(drawn_by.specs)}
    counts = {name: progress(plan_figure(specs, name, workspace.seeds), store) for name in heads}
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
        figures = [
            {
                "id": name,
                "kind": "figure",
                "number": head.number,
                "caption": head.caption,
                "spec": f"figures/{drawn_by.files[name].name}",
                "wanted": counts[name][0],
                "pending": counts[name][1],
                "complete": counts[name][1] == 0,
            }
            for name, head in heads.items()
        ]
        facts = {"scale": specs.scale.id, "tables": entries, "figures": figures}
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
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
            name,
            f"Figure {head.number}" if head.number else "figure",
            f"{counts[name][0] - counts[name][1]} of {counts[name][0]} there",
            head.caption,
        )
        for name, head in heads.items()
    ]
    widths = [max(len(line[place]) for line in [*lines, *drawn]) for place in range(3)]
    for block in filter(None, (lines, drawn)):
        for *fields, caption in block:
            padded = [f"{field:<{width}}" for field, width in zip(fields, widths, strict=True)]
            click.echo("  ".join([*padded, caption]))
        click.echo()
    click.echo(specs.scale.title)
    return DONE
