"""What `explain` says of one job: what it computes, what came out, what it was made with, how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace

from replicate.cli.workspace import Workspace
from replicate.jobs.job import Job, Line
from replicate.plan.graph import Graph
from replicate.store.result import Result
from replicate.store.store import Store
from replicate.text import number, pairs, plural


def lines(workspace: Workspace, store: Store, graph: Graph, job: Job) -> list[str]:
    """A paragraph about ``job``; ``graph`` holds what it reads."""
    state, result = store.state(job.key), store.result(job.key)
    known = replace(job, seed=graph.seed_of(job))
    found = [*known.describe(result), *(_made(workspace, result) if result else ())]
    waiting = _waiting(store, graph, job)
    if waiting:
        missing = f"{plural(waiting, 'job')} that it reads {'has' if waiting == 1 else 'have'} no result"
        found.append(("first", f"{missing}: the command below begins there"))
    found.append(("alone" if state == "done" else "to run it", command(workspace, store, graph, job)))
    head = f"{job.key}  [{'not run' if state == 'absent' else state}]"
    return [head, *(f"  {name:<11} {text}" for name, text in found)]


def command(workspace: Workspace, store: Store, graph: Graph, job: Job) -> str:
    """The whole command that makes ``job`` (again) where this call looks for it; ``graph`` holds what it reads."""
    state = store.state(job.key)
    again = ["--again"] if state == "done" else []
    if state == "failed" and store.fails_again(job.key):
        again = ["--retry"]
    seed = graph.seed_of(job)
    seeds = ["--seeds", str(seed)] if seed else []
    return shlex.join(["python", "-m", "replicate", "run", job.key, *again, *seeds, *workspace.given])


def _waiting(store: Store, graph: Graph, job: Job) -> int:
    return sum(one.key != job.key and store.result(one.key) is None for one in graph.needed_for([job.key]))


def _made(workspace: Workspace, result: Result) -> Iterator[Line]:
    made, cost = result.provenance, result.cost
    dirty = " with uncommitted changes" if made["dirty"] else ""
    versions = {name: version for name, version in made["packages"].items() if version}
    yield (
        "made by",
        ", ".join(filter(None, [f"commit {made['commit'][:12]}{dirty}", f"Python {made['python']}", pairs(versions)])),
    )
    yield "on", ", ".join(filter(None, [made["processor"], made["system"], plural(made["threads"], "thread")]))
    seconds = f"{number(cost['wall_seconds'], 3)} s, {number(cost['cpu_seconds'], 3)} s of processors"
    yield "cost", f"{seconds}, {cost['peak_mb']:.0f} MB at most"
    for name, digest in result.files.items():
        yield "file", f"{workspace.shown(result.path(name))}  sha256 {digest}"
