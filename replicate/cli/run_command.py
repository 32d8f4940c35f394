"""``run``: single jobs by key, and whether one comes out again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, assert_never

import click

from replicate.cli import DONE, FAILED, UNFINISHED
from replicate.cli.workspace import Workspace, watch_options, with_workspace

if TYPE_CHECKING:
    from replicate.actions.recheck import Recheck, Redone
    from replicate.specs.watch import TrackerName
    from replicate.store.store import Store


@click.command(name="run")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--again", is_flag=True, help="Redo jobs that are done, and compare.")
@click.option("--retry", is_flag=True, help="Also run again what diverged.")
@watch_options
@with_workspace
def command(
    workspace: Workspace,
    keys: tuple[str, ...],
    again: bool,
    retry: bool,
    stop_suspicious: bool,
    tracker: TrackerName | None,
) -> int:
    """Run the jobs KEY... and what they need.

    With --again a finished job is redone alone, beside its result, and the two are compared: the files byte for byte;
    of a measurement, whose timings never come out twice, its ratio to the reference network within what both intervals
    allow. Only then the new result takes the place of the old one, which stays under results/.aside.

    Exit code: 0 done (and the same), 1 failed or different, 3 submitted to a cluster and not done yet, or not compared.
    """
    from replicate.actions.paper import check_name
    from replicate.actions.recheck import Redone, redo
    from replicate.actions.run_missing import RunOptions, run_missing
    from replicate.cli.progress import Terminal
    from replicate.cli.update_commands import print_failures

    specs, graph, store = workspace.specs(), workspace.graph(), workspace.store()
    for key in keys:
        check_name("job", key, [*graph.jobs])
    reporter = Terminal(workspace.json)
    options = RunOptions(retry=retry, stop_suspicious=stop_suspicious, tracker=tracker)
    if again:
        redone = redo(workspace, specs, graph, store, keys, options, reporter)
    else:
        needed = graph.needed_for(keys)
        redone = Redone(run_missing(workspace, needed, store, specs, list(keys), options, reporter))
    report = redone.report
    if workspace.json:
        facts = {"failed": dict(report.failed), "done": list(report.done), "compared": _facts(redone)}
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        for key in dict.fromkeys(keys):
            if said := _said(key, redone, store):
                click.echo(f"{key}: {said}")
        print_failures(workspace, report, store)
    if report.failed or any(each.outcome == "moved" for each in redone.compared.values()):
        return FAILED
    missing = [key for key in keys if key in redone.not_compared or store.result(key) is None]
    return UNFINISHED if missing else DONE


def _facts(redone: Redone) -> Mapping[str, Mapping[str, object]]:
    compared = {
        key: {"outcome": each.outcome, "detail": each.detail, "cause": each.cause, "aside": each.aside}
        for key, each in redone.compared.items()
    }
    not_compared = {key: {"outcome": "not compared", "detail": why} for key, why in redone.not_compared.items()}
    return compared | not_compared


def _said(key: str, redone: Redone, store: Store) -> str:
    if key in redone.compared:
        return _outcome(redone.compared[key])
    if key in redone.not_compared:
        return f"NOT COMPARED, its result is as it was: {redone.not_compared[key]}"
    if store.result(key) is not None:
        return "done"
    # Failures are told by `print_failures`.
    return "" if key in redone.report.failed else redone.report.elsewhere.get(key, ("", "not run yet"))[1]


def _outcome(compared: Recheck) -> str:
    match compared.outcome:
        case "same":
            return compared.detail
        case "within":
            return f"timed anew: {compared.detail}"
        case "moved":
            cause = f" ({'; '.join(compared.cause)})" if compared.cause else ""
            return f"DIFFERENT: {compared.detail}{cause}"
        case _:
            assert_never(compared.outcome)
