"""``explain``: everything one number rests on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from replicate.cli import DONE
from replicate.cli.workspace import Workspace, complete_table, with_workspace
from replicate.errors import UnknownName

if TYPE_CHECKING:
    from replicate.collect.table import Cell
    from replicate.plan.job import Job
    from replicate.spec.load import Specs
    from replicate.store.store import Store


def _complete_place(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    import tomllib

    from replicate.cli.workspace import repository

    path = repository() / "tables" / f"{ctx.params.get('table_id')}.toml"
    try:
        spec = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError):
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
    from replicate.collect.finish import Finisher
    from replicate.render import wording

    specs = workspace.specs()
    spec = specs.table(table_id)
    if row == "@":
        _known("reference", column, [reference.key for reference in spec.references])
    else:
        _known("row", row, [known.key for known in spec.rows])
        _known("column", column, [known.key for known in spec.table.columns])
    plan = workspace.plan([table_id], specs)
    store = workspace.store()
    table = Finisher(plan, store).finish(table_id)
    cell = table.cell(row, column)
    chain = list(plan.graph.needed_for(cell.jobs)) if cell.jobs else []
    facts = [_job_facts(job, store) for job in chain]
    if workspace.json:
        click.echo(json.dumps({"cell": _cell_facts(cell), "jobs": facts}, indent=1, ensure_ascii=False))
        return DONE
    if table.banner:
        click.echo(table.banner)
    label = next((known.label for known in (*table.rows, *table.references) if known.key in (row, column)), row)
    click.echo(f"{wording.title(table)}\n{label}, {column}: {cell.shown or cell.state}")
    for name, value in _cell_facts(cell).items():
        if value not in (None, "", [], ()):
            click.echo(f"  {name:<11} {_text(value)}")
    for job, fact in zip(chain, facts, strict=True):
        _show_job(workspace, specs, store, job, fact)
    return DONE


def _known(what: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise UnknownName(what, name, known)


def _cell_facts(cell: Cell) -> dict[str, Any]:
    return {
        "state": cell.state,
        "origin": cell.origin,
        "counts": [f"seed {seed.seed}: {seed.correct}/{seed.images}" for seed in cell.seeds],
        "error": f"±{cell.error:.2f}, standard error over {'seeds' if cell.spread is not None else 'images'}"
        if cell.error is not None
        else None,
        "paper": f"{cell.paper} ({cell.paper_source})" if cell.paper else None,
        "difference": cell.difference_shown,
        "tolerance": cell.tolerance,
        "verdict": cell.verdict,
        "reason": cell.reason,
    }


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _job_facts(job: Job, store: Store) -> dict[str, Any]:
    result = store.result(job.key)
    return {
        "key": job.key,
        "state": store.state(job.key),
        "run": job.run,
        "seed": job.seed,
        "payload": job.payload,
        "files": dict(result.files) if result else {},
        "summary": dict(result.summary) if result else {},
        "cost": dict(result.cost) if result else {},
        "provenance": dict(result.provenance) if result else {},
    }


def _show_job(workspace: Workspace, specs: Specs, store: Store, job: Job, fact: dict[str, Any]) -> None:
    click.echo(f"\n{job.key}  [{fact['state']}]")
    if job.kind == "train":
        payload = job.payload
        click.echo(f"  run         {job.run} (tables/runs.toml), seed {job.seed}, {payload['size']} pixels")
        click.echo(f"  model       {payload['model']['timm']} {_pairs(payload['model']['args'])}")
        if payload["distillation"]:
            click.echo(f"  distilled   {_pairs(payload['distillation'])}")
        click.echo(f"  recipe      {_pairs(payload['recipe'])}")
    elif job.kind == "data":
        click.echo(f"  data        {_pairs(job.payload['data'])}")
    else:
        click.echo(f"  evaluation  {_pairs(job.payload['evaluation'])}, {job.payload['size']} pixels")
    if fact["provenance"]:
        made = fact["provenance"]
        dirty = {True: " with uncommitted changes", False: "", None: ""}[made["dirty"]]
        versions = {name: version for name, version in made["packages"].items() if version}
        click.echo(f"  made by     commit {made['commit'][:12]}{dirty}, Python {made['python']}, {_pairs(versions)}")
        click.echo(f"  on          {made['processor']}, {made['system']}, {made['threads']} thread")
        click.echo(f"  cost        {_pairs(fact['cost'])}")
        click.echo(f"  result      {_pairs(fact['summary'])}")
        for name, digest in fact["files"].items():
            click.echo(f"  file        {workspace.shown(store.folder(job.key) / name)}  sha256 {digest[:16]}")
    options = "" if specs.scale.id == "mini" else f" --scale {specs.scale.id}"
    options += f" --seeds {job.seed}" if job.seed else ""
    click.echo(f"  alone       python -m replicate run {job.key} --again{options}")


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
