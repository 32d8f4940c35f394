"""``explain``: everything one number rests on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from replicate.cli import DONE
from replicate.cli.workspace import Workspace, complete_table, with_workspace
from replicate.text import number, pairs, plural

if TYPE_CHECKING:
    from replicate.actions.explain import Explanation
    from replicate.jobs.job import Job, Line
    from replicate.store.result import Result


def _complete_place(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    import tomllib

    from replicate.actions.paper import repository

    path = repository() / "tables" / f"{ctx.params.get('table_id')}.toml"
    try:
        spec = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    entries = spec.get("rows", []) if param.name == "row" else spec.get("table", {}).get("columns", [])
    return [CompletionItem(entry["key"]) for entry in entries if entry.get("key", "").startswith(incomplete)]


@click.command(name="explain")
@click.argument("table_id", metavar="ID", shell_complete=complete_table)
@click.argument("row", shell_complete=_complete_place)
@click.argument("column", shell_complete=_complete_place)
@with_workspace
def command(workspace: Workspace, table_id: str, row: str, column: str) -> int:
    """Show everything the number of table ID at ROW and COLUMN rests on.

    A reference of the table, such as the teacher, is ROW '@' and its key as COLUMN.
    """
    from replicate.actions.explain import explain

    explanation = explain(workspace, table_id, row, column)
    if workspace.json:
        jobs = [_entry(workspace, explanation, job) for job in explanation.jobs]
        click.echo(json.dumps({"cell": explanation.facts(), "jobs": jobs}, indent=1, ensure_ascii=False))
    else:
        click.echo("\n".join(lines(workspace, explanation)))
    return DONE


def lines(workspace: Workspace, explanation: Explanation) -> list[str]:
    """Everything about one cell, the jobs behind it in the order they run in."""
    from replicate.render import wording

    table, cell, jobs = explanation.table, explanation.cell, explanation.jobs
    shown = [table.banner] if table.banner else []
    shown += [wording.title(table), f"{explanation.place()}: {cell.shown or cell.state}"]
    for name, value in explanation.facts().items():
        if value:
            words = "a word of the spec" if value == "text" else value
            shown.append(f"  {name:<11} {', '.join(words) if isinstance(words, list) else words}")
    if not jobs.jobs and cell.state != "text":
        shown.append(f"  {'jobs':<11} none: no job makes this number")
    for job in jobs:
        shown += ["", *_job_lines(workspace, explanation, job)]
    return shown


def _job_lines(workspace: Workspace, explanation: Explanation, job: Job) -> list[str]:
    """A paragraph about ``job``: what it computes, what came out, what it was made with, how to make it again."""
    from replicate.actions.explain import command_of

    store, graph = explanation.store, explanation.jobs
    state, result = store.state(job.key), store.result(job.key)
    facts = [*replace(job, seed=graph.seed_of(job)).describe(result), *(_made(workspace, result) if result else ())]
    waiting = sum(needed.key != job.key and store.result(needed.key) is None for needed in graph.needed_for([job.key]))
    if waiting:
        missing = f"{plural(waiting, 'job')} that it reads {'has' if waiting == 1 else 'have'} no result"
        facts.append(("first", f"{missing}: the command below begins there"))
    facts.append(("alone" if state == "done" else "to run it", command_of(workspace, store, graph, job)))
    where = str(store.place(job.key)) if state == "running" else ""
    head = f"{job.key}  [{'not run' if state == 'absent' else state}{where and f' {where}'}]"
    return [head, *(f"  {name:<11} {text}" for name, text in facts)]


def _made(workspace: Workspace, result: Result) -> Iterator[Line]:
    from replicate.store.code import DIFF

    made, cost = result.made, result.cost
    changes = result.path(DIFF)
    kept = f", uncommitted changes in {workspace.shown(changes)}" if changes.exists() else ""
    yield "code", f"digest {made.code_digest}{kept}"
    by = [made.at_commit, f"Python {made.python}", pairs(made.versions)]
    yield "made by", ", ".join(filter(None, by))
    machine = made.machine
    gpu = "" if machine.kind == "cpu" else machine.hardware if machine.kind == "cuda" else "device unknown"
    shared = plural(machine.processes, "process", "processes") if machine.processes else ""
    on = [gpu, made.processor, made.system, plural(made.threads, "thread"), shared, f"host {machine.host}"]
    yield "on", ", ".join(filter(None, on))
    yield "computed", machine.precision
    if {"wall_seconds", "cpu_seconds", "peak_mb"} <= cost.keys():
        seconds = f"{number(cost['wall_seconds'], 3)} s, {number(cost['cpu_seconds'], 3)} s of processors"
        yield "cost", f"{seconds}, {cost['peak_mb']:.0f} MB at most"
    for name, digest in result.files.items():
        yield "file", f"{workspace.shown(result.path(name))}  sha256 {digest}"


def _entry(workspace: Workspace, explanation: Explanation, job: Job) -> dict[str, object]:
    from replicate.actions.explain import command_of

    store, graph = explanation.store, explanation.plan.graph
    result, state = store.result(job.key), store.state(job.key)
    place = store.place(job.key)
    return {
        "key": job.key,
        "state": state,
        "devices": place.devices if state == "running" else (),
        "ranks": place.ranks if state == "running" else None,
        "run": job.run,
        "seed": graph.seed_of(job),
        "payload": job.payload,
        "files": dict(result.files) if result else {},
        "summary": dict(result.summary) if result else {},
        "cost": dict(result.cost) if result else {},
        "provenance": dict(result.provenance) if result else {},
        "command": command_of(workspace, store, graph, job),
    }
