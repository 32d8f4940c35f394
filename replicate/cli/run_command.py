"""``run``: single jobs by key, and whether one comes out again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from replicate.cli import DONE, FAILED, UNFINISHED
from replicate.cli.workspace import Workspace, with_workspace
from replicate.errors import UserError

if TYPE_CHECKING:
    from replicate.backends.backend import RunReport
    from replicate.jobs.job import Job
    from replicate.store.result import Result
    from replicate.store.store import Store


@click.command(name="run")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--again", is_flag=True, help="Redo jobs that are done, and compare.")
@click.option("--retry", is_flag=True, help="Also run again what diverged.")
@with_workspace
def command(workspace: Workspace, keys: tuple[str, ...], again: bool, retry: bool) -> int:
    """Run the jobs KEY... and what they need.

    With --again a finished job is redone alone and compared with its old result, which stays under results/.aside:
    the files byte for byte; of a measurement, whose timings never come out twice, its ratio to the reference network
    within what both intervals allow.

    Exit code: 0 done (and the same), 1 failed or different, 3 submitted to a cluster and not done yet.
    """
    from replicate.actions import run_missing
    from replicate.actions.paper import check_name
    from replicate.cli.progress import Terminal
    from replicate.cli.update_commands import print_failures

    specs, graph, store = workspace.specs(), workspace.graph(), workspace.store()
    for key in keys:
        check_name("job", key, [*graph.jobs])
    before = _set_aside(store, keys) if again else {}
    needed = graph.needed_for(keys)
    # With --again there is nothing to compare before they have run.
    options = run_missing.RunOptions(retry=retry, wait=again)
    reporter = Terminal(workspace.json)
    report = run_missing.run_missing(workspace, needed, store, specs.scale, list(keys), options, reporter)
    compared = {key: _compared(graph.jobs[key], old, store.result(key)) for key, old in before.items()}
    if workspace.json:
        facts = {"failed": dict(report.failed), "done": list(report.done), "compared": compared}
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        for key in dict.fromkeys(keys):
            if said := _said(key, compared, report, store):
                click.echo(f"{key}: {said}")
        print_failures(workspace, report, store)
    if report.failed or any(one["outcome"] in ("moved", "missing") for one in compared.values()):
        return FAILED
    return DONE if all(store.result(key) is not None for key in keys) else UNFINISHED


def _set_aside(store: Store, keys: tuple[str, ...]) -> dict[str, Result]:
    """The results that are redone. Raises UserError where another process is at work in the folder of one."""
    before: dict[str, Result] = {}
    for key in dict.fromkeys(keys):
        result = store.result(key)
        if result is None:
            continue
        if store.set_aside(key) is None:
            raise UserError(f"another process computes {key}\n  call again when it has ended")
        before[key] = result
    return before


def _compared(job: Job, old: Result, new: Result | None) -> dict[str, Any]:
    from replicate.nightly.recheck import compared

    if new is None:
        return {"outcome": "missing", "detail": "no result", "cause": []}
    one = compared(job, old, new)
    return {"outcome": one.outcome, "detail": one.detail, "cause": list(one.cause)}


def _said(key: str, compared: dict[str, dict[str, Any]], report: RunReport, store: Store) -> str:
    if key in compared:
        one = compared[key]
        if one["outcome"] == "same":
            return str(one["detail"])
        if one["outcome"] == "within":
            return f"timed anew: {one['detail']}"
        cause = f" ({'; '.join(one['cause'])})" if one["cause"] else ""
        return f"DIFFERENT: {one['detail']}{cause}"
    if store.result(key) is not None:
        return "done"
    # Failures are told by `print_failures`.
    return "" if key in report.failed else report.elsewhere.get(key, ("", "not run yet"))[1]
