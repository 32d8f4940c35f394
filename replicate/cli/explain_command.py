"""``explain``: everything one number rests on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from replicate.cli import DONE
from replicate.cli.workspace import Workspace, complete_table, with_workspace
from replicate.errors import UnknownName
from replicate.text import number, plural

if TYPE_CHECKING:
    from replicate.jobs.job import Job
    from replicate.judge.table import Cell, Table
    from replicate.plan.cells import Plan
    from replicate.plan.graph import Graph
    from replicate.store.store import Store


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
    from replicate.cli import explain_job
    from replicate.judge.finish import Finisher
    from replicate.specs.cell import REFERENCE

    specs = workspace.specs()
    spec = specs.table(table_id)
    if row == REFERENCE:
        _known("reference", column, [reference.key for reference in spec.references])
    else:
        _known("row", row, [known.key for known in spec.rows])
        _known("column", column, [known.key for known in spec.table.columns])
    plan = workspace.plan([table_id], specs)
    store = workspace.store()
    table = Finisher(plan, store).finish(table_id)
    if workspace.json:
        cell = table.cell(row, column)
        jobs = [
            _job_facts(plan.graph, job, store) | {"command": explain_job.command(workspace, store, plan.graph, job)}
            for job in _chain(plan, cell)
        ]
        click.echo(json.dumps({"cell": _cell_facts(plan, table, cell), "jobs": jobs}, indent=1, ensure_ascii=False))
    else:
        click.echo("\n".join(lines(workspace, plan, store, table, row, column)))
    return DONE


def lines(workspace: Workspace, plan: Plan, store: Store, table: Table, row: str, column: str) -> list[str]:
    """Everything about one cell of ``table``, the jobs behind it in the order they run in."""
    from replicate.cli import explain_job
    from replicate.render import wording

    cell = table.cell(row, column)
    found = [table.banner] if table.banner else []
    found += [wording.title(table), f"{_place(table, row, column)}: {cell.shown or cell.state}"]
    for name, value in (_cell_facts(plan, table, cell) | _in_words(cell)).items():
        if value:
            found.append(f"  {name:<11} {', '.join(value) if isinstance(value, list) else value}")
    chain = _chain(plan, cell)
    if not chain.jobs and cell.state != "text":
        found.append(f"  {'jobs':<11} none: no job makes this number")
    for job in chain:
        found += ["", *explain_job.lines(workspace, store, chain, job)]
    return found


def _known(what: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise UnknownName(what, name, known)


def _chain(plan: Plan, cell: Cell) -> Graph:
    return plan.graph.needed_for(cell.jobs)


def _place(table: Table, row: str, column: str) -> str:
    """The cell in the words of the table: its row and the header of its column, each with its group where needed."""
    if table.cell(row, column).ref.is_reference:
        return next(reference.label for reference in table.references if reference.key == column)
    at = next(known for known in table.rows if known.key == row)
    head = next(known for known in table.columns if known.key == column)
    label = f"{at.group}: {at.label}" if at.group else at.label
    alike = sum(known.header == head.header for known in table.columns) > 1
    header = f"{head.group} {head.header}".strip() if alike else head.header
    return f"{label}, {header or column}"


def _cell_facts(plan: Plan, table: Table, cell: Cell) -> dict[str, Any]:
    from replicate.render import wording

    if cell.state == "text":
        return {"state": cell.state, "file": table.spec}
    return {
        "state": cell.state,
        "origin": cell.origin,
        "reads": _reads(plan, table, cell),
        "counts": [
            wording.of_seed(seed, f"{seed.correct} of {plural(seed.images, 'image')}")
            for seed in cell.seeds
            if seed.correct is not None and seed.images is not None
        ],
        "error": _error(plan, table, cell),
        "paper": f"{cell.paper.text} ({cell.paper_source})" if cell.paper else None,
        "difference": cell.difference_shown,
        "tolerance": cell.tolerance,
        "verdict": cell.verdict,
        "reason": cell.reason,
    }


def _in_words(cell: Cell) -> dict[str, Any]:
    return {"state": "a word of the spec"} if cell.state == "text" else {}


def _reads(plan: Plan, table: Table, cell: Cell) -> str | None:
    from replicate import metrics

    read = plan.cell(cell.ref).read
    if read is None:
        return None
    parts = [f"{read.metric} {read.field}" if read.field else read.metric]
    if read.run:
        parts.append(f"of the run {read.run}")
    if metrics.find(read.metric).headed:
        parts.append(f"at its head {read.head}")
    if read.against:
        parts.append(f"against {read.against[0]} at its head {read.against[1]}")
    return " ".join([*parts, f"on {read.on}"] if read.on else parts)


def _error(plan: Plan, table: Table, cell: Cell) -> str | None:
    if cell.error is None:
        return None
    from replicate import metrics

    planned = plan.cell(cell.ref)
    if cell.spread is not None:
        over = f"over {plural(len(cell.seeds), 'seed')}"
    elif planned.read is not None and metrics.find(planned.read.metric).timed:
        from replicate.jobs.measure import Measure

        job = planned.jobs[0]
        paired = isinstance(job, Measure) and job.protocol.reference is not None
        over = "from the interval of its ratio to the reference network" if paired else "over the times of its runs"
    else:
        over = "over images"
    return f"±{number(cell.error, 3)}, standard error {over}"


def _job_facts(graph: Graph, job: Job, store: Store) -> dict[str, Any]:
    result = store.result(job.key)
    return {
        "key": job.key,
        "state": store.state(job.key),
        "run": job.run,
        "seed": graph.seed_of(job),
        "payload": job.payload,
        "files": dict(result.files) if result else {},
        "summary": dict(result.summary) if result else {},
        "cost": dict(result.cost) if result else {},
        "provenance": dict(result.provenance) if result else {},
    }
