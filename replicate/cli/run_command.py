"""``run``: single jobs by key, and whether one comes out again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, assert_never

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
        facts = {
            "failed": dict(report.failed),
            "done": list(report.done),
            "compared": {key: asdict(each) for key, each in compared.items()},
        }
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        for key in dict.fromkeys(keys):
            if said := _said(key, compared, report, store):
                click.echo(f"{key}: {said}")
        print_failures(workspace, report, store)
    if report.failed or any(each.outcome in ("moved", "missing") for each in compared.values()):
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


@dataclass(frozen=True, slots=True)
class _Comparison:
    """A result that was redone beside the old one, as ``--json`` has it."""

    outcome: Literal["same", "within", "moved", "missing"]
    detail: str
    cause: tuple[str, ...] = ()


def _compared(job: Job, old: Result, new: Result | None) -> _Comparison:
    from replicate.nightly.recheck import compared

    if new is None:
        return _Comparison("missing", "no result")
    recheck = compared(job, old, new)
    return _Comparison(recheck.outcome, recheck.detail, recheck.cause)


def _said(key: str, compared: Mapping[str, _Comparison], report: RunReport, store: Store) -> str:
    if key in compared:
        redone = compared[key]
        match redone.outcome:
            case "same":
                return redone.detail
            case "within":
                return f"timed anew: {redone.detail}"
            case "moved" | "missing":
                cause = f" ({'; '.join(redone.cause)})" if redone.cause else ""
                return f"DIFFERENT: {redone.detail}{cause}"
            case _:
                assert_never(redone.outcome)
    if store.result(key) is not None:
        return "done"
    # Failures are told by `print_failures`.
    return "" if key in report.failed else report.elsewhere.get(key, ("", "not run yet"))[1]
