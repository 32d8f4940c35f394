"""A graph brought forward on a cluster, and what is said about it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from replicate.backends.slurm.attempt import logs
from replicate.backends.slurm.ending import meaning
from replicate.backends.slurm.job_states import JobStates, JobView
from replicate.backends.slurm.job_states import State as JobState
from replicate.backends.slurm.step import advance_on_cluster, plan_name
from replicate.backends.slurm.submitter import Step
from replicate.cli.progress import share_of
from replicate.cli.workspace import Workspace
from replicate.errors import UserError
from replicate.plan.graph import Graph
from replicate.store.store import Store

if TYPE_CHECKING:
    from replicate.backends.slurm.profile import Profile
    from replicate.judge.table import State

MARKS: Mapping[JobState, str] = {
    "done": "●",
    "running": "◐",
    "pending": "◔",
    "absent": "○",
    "failed": "⚠",
    "lost": "⚠",
    "damaged": "⚠",
    "blocked": "⊘",
}
"""In the order in which they are counted."""
SLOWEST = 10
"""Back-off of ``--wait``: at most so many times the profile's poll_seconds between two looks."""
SHARES = 30.0
"""Seconds that ``--wait`` says nothing while only the shares of running jobs change."""


def forward(workspace: Workspace, graph: Graph, store: Store, names: list[str], retry: bool, wait: bool) -> Step:
    """One step, or with ``wait`` steps until nothing is queued any more and nothing can be submitted."""
    profile = profile_of(workspace)

    def step(again: bool) -> Step:
        return advance_on_cluster(graph, store, profile, plan_name(names), workspace.root, say, again)

    say: Callable[[str], None] = (lambda message: None) if workspace.json else click.echo
    taken = step(retry)
    seconds, seen, said, then = profile.poll_seconds, "", "", 0.0
    for note in taken.notes:
        say(note)
    while wait and (taken.submitted or _moving(taken.world)):
        line = summary(taken.world)
        if line != seen:
            seconds, seen = profile.poll_seconds, line
        moved = line.partition("  (")[0] != said.partition("  (")[0]
        if moved or (line != said and time.monotonic() - then > SHARES):
            say(line)
            said, then = line, time.monotonic()
        time.sleep(seconds)
        seconds = min(1.5 * seconds, SLOWEST * profile.poll_seconds)
        taken = step(False)
    return taken


def profile_of(workspace: Workspace) -> Profile:
    """Raises UserError where no cluster was named."""
    if workspace.profile is None:
        raise UserError(
            "this command asks Slurm: no cluster is chosen\n  name its profile: --cluster NAME (slurm/NAME.toml)"
        )
    return workspace.profile


def queued_graph(workspace: Workspace, table_id: str | None) -> Graph:
    """The jobs that may be on the cluster: of one table, or of all tables and figures."""
    from replicate.figures.plan import with_figures

    specs = workspace.specs()
    if table_id is not None:
        return workspace.plan([table_id], specs).graph
    return with_figures(workspace.plan(sorted(specs.tables), specs))


def _moving(world: JobStates) -> bool:
    return any(
        view.state in ("pending", "running") or (view.again and view.state in ("lost", "absent", "failed"))
        for view in world.views.values()
    )


def summary(world: JobStates) -> str:
    """``3 done, 1 running (deit-s-224-none-s0 40%), 8 pending``."""
    counts = Counter(view.state for view in world.views.values())
    running = [key for key, view in world.views.items() if view.state == "running"]
    shares = [f"{key.rpartition('-')[0]} {share_of(world.store.progress(key)):.0%}" for key in running[:4]]
    words = {"absent": "not submitted"}
    parts = [f"{count} {words.get(state, state)}" for state in MARKS if (count := counts[state])]
    return ", ".join(parts) + (f"  ({', '.join(shares)})" if shares else "")


def failures(world: JobStates) -> dict[str, str]:
    """Jobs that somebody has to look at: key -> why."""
    return {key: view.why for key, view in world.views.items() if view.state in ("failed", "lost") and not view.again}


def elsewhere(world: JobStates) -> Mapping[str, tuple[State, str]]:
    """For the cells of a table (see `Finisher.elsewhere`): what the queue says of jobs without a result."""
    states: dict[str, State] = {"pending": "pending", "running": "running", "blocked": "failed"}
    found: dict[str, tuple[State, str]] = {}
    for key, view in world.views.items():
        if view.state in states:
            found[key] = (states[view.state], line(key, view, world.store))
        elif view.state in ("failed", "lost"):
            found[key] = ("pending" if view.again else "failed", view.why)
    return found


def log_of(world: JobStates, key: str) -> Path:
    """The file to read first."""
    found = logs(world, key)
    errors = [path for path in found if path.name.endswith("err")]
    return [world.store.folder(key) / "log.txt", *found[-1:], *errors[-1:]][-1]


def line(key: str, view: JobView, store: Store) -> str:
    """One line on a job, behind its key."""
    if view.state == "done":
        result = store.result(key)
        return f"{result.cost['wall_seconds']:.1f} s" if result else ""
    if view.state == "running":
        progress = store.progress(key)
        loss = f", loss {progress['loss']:.3f}" if "loss" in progress else ""
        number = f", job {view.row.id}" if view.row else ""
        return f"running {view.why}, {share_of(progress):.0%}{loss}{number}"
    if view.state == "pending":
        number = f", job {view.row.id}" if view.row else ""
        start = f", expected {view.row.start}" if view.row and view.row.start else ""
        return f"queued: {view.why} ({meaning(view.why)}){start}{number}" if view.row else f"queued: {view.why}"
    return view.why
