"""Jobs one by one: the states behind a number, and jobs of a cluster that are found, cancelled or tried again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from replicate.actions.paper import Paper, check_name
from replicate.backends.backend import JobStates, JobView, Reporter, RunReport
from replicate.backends.slurm.ending import CANCELLED, KINDS
from replicate.backends.slurm.job_states import QueuedStates
from replicate.errors import UnknownName, UserError
from replicate.plan.answers import with_answers
from replicate.specs.cell import CellRef


def states_behind(paper: Paper, table_id: str, row: str, column: str) -> JobStates:
    """The states of all jobs that one number rests on."""
    specs = paper.specs()
    spec = specs.table(table_id)
    plan = paper.plan([table_id], specs)
    cells, ref = {cell.ref: cell for cell in plan.cells[table_id]}, CellRef(table_id, row, column)
    if ref not in cells:
        check_name("row", row, list(dict.fromkeys(other.row for other in cells)))
        if not ref.is_reference and column in {known.key for known in spec.table.columns if known.text}:
            raise UserError(f"column {column} holds words of the spec, which no job makes\n  name a column of numbers")
        raise UnknownName("column", column, [other.column for other in cells if other.row == row])
    store = paper.store()
    graph = with_answers(plan.graph, specs, store).needed_for(cells[ref].keys)
    return paper.backend(specs.scale).look(graph, store)


def find_job(paper: Paper, name: str) -> tuple[QueuedStates, str]:
    """The states of all jobs, and the key of the one with this key or number of Slurm."""
    states = paper.cluster().look(paper.graph(), paper.store())
    numbers = {view.row.id: key for key, view in states.views.items() if view.row is not None}
    key = numbers.get(name, name)
    if key not in states.views and name[:1].isdigit():
        raise UserError(
            f"no job of these tables has Slurm's number '{name}'\n"
            "  Slurm forgets numbers; name the job by its key (status --id ID lists them)"
        )
    check_name("job", key, [*states.views, *numbers])
    return states, key


def cancel_jobs(paper: Paper, keys: Collection[str], table_id: str | None = None) -> dict[str, str]:
    """Cancel these jobs, or all of a table, or of everything; returns Slurm's number of each that was queued."""
    states = _look(paper, keys, table_id)
    return paper.cluster().cancel(states, keys or states.views)


def retry_jobs(
    paper: Paper,
    keys: Collection[str],
    table_id: str | None = None,
    kind: str | None = None,
    reporter: Reporter | None = None,
) -> tuple[Mapping[str, JobView], RunReport]:
    """Submit again what failed of these jobs, of a table, or of everything, and nothing else.

    kind: only failures of this class. Returns how they had failed, and what was submitted.
    """
    states = _look(paper, keys, table_id)
    failed = {key: view for key, view in states.of(keys or states.views).items() if _over(view)}
    if kind is not None:
        check_name("class", kind, sorted({*KINDS, *(view.kind for view in failed.values() if view.kind)}))
    chosen = {key: view for key, view in failed.items() if kind is None or view.kind == kind}
    if not chosen:
        return {}, RunReport()
    states.store.forgive(chosen)
    if reporter is not None:
        for key, view in chosen.items():
            reporter.say(f"again: {key} ({view.kind or 'failed'})")
    # Only these and what waits for them, not whatever else is missing.
    graph = states.graph.needed_for(chosen)
    return chosen, paper.cluster(reporter).run(graph, states.store, [table_id or "all"])


def _over(view: JobView) -> bool:
    """Whether ``view`` is of a job that ended without a result, or that somebody cancelled."""
    return view.state in ("failed", "lost") or (view.kind == CANCELLED and not view.again)


def _look(paper: Paper, keys: Iterable[str], table_id: str | None) -> QueuedStates:
    cluster, graph = paper.cluster(), paper.graph(table_id)
    for key in keys:
        check_name("job", key, [*graph.jobs])
    return cluster.look(graph, paper.store())
