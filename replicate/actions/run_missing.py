"""Brings the jobs behind some tables forward: on this machine with progress, or a step further on a cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from replicate.backends import devices
from replicate.backends.local import LocalRun, Outcome
from replicate.cli.progress import Bars, Estimate, Lines
from replicate.cli.workspace import Workspace
from replicate.errors import NotAvailable, UserError
from replicate.plan.graph import Graph
from replicate.plan.job import Job
from replicate.specs.scale import DATA_ROOT, PublishedFile, Scale
from replicate.store.provenance import provenance
from replicate.store.store import LOG, Store
from replicate.text import plural

if TYPE_CHECKING:
    from replicate.judge.table import State


@dataclass(frozen=True, slots=True)
class RunReport:
    """Where jobs stand after a call. ``failed``: key -> why, of those that somebody has to look at; ``logs`` theirs.

    ``elsewhere``: see `replicate.judge.finish.Finisher`.
    """

    done: list[str] = field(default_factory=list)
    failed: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, tuple[State, str]] = field(default_factory=dict)
    logs: Mapping[str, Path] = field(default_factory=dict)

    def tell(self, workspace: Workspace, store: Store) -> None:
        """What failed and what is damaged, on standard error."""
        for key, reason in self.failed.items():
            log = self.logs.get(key, store.folder(key) / LOG)
            click.echo(f"failed: {key}: {reason}\n  log: {workspace.shown(log)}", err=True)
        for damage in store.damage.values():
            click.echo(f"damaged: {damage}", err=True)


def run_missing(
    workspace: Workspace, graph: Graph, store: Store, scale: Scale, names: list[str], retry: bool, wait: bool
) -> RunReport:
    """Run what is missing of ``graph``, or submit it where a cluster was named.

    names: what it is wanted for, for squeue. wait: on a cluster, until nothing of it is queued any more.
    Raises StoreUnusable, NotAvailable or ClusterRefused before anything is started.
    """
    if workspace.profile is None:
        outcome = run_here(workspace, graph, store, scale, retry)
        return RunReport(outcome.done, outcome.failed)
    from replicate.actions import cluster

    world = cluster.forward(workspace, graph, store, names, retry, wait).world
    if not workspace.json:
        click.echo(f"{cluster.summary(world)}\n")
    failed = cluster.failures(world)
    return RunReport(
        failed=failed,
        elsewhere=cluster.elsewhere(world),
        logs={key: cluster.log_of(world, key) for key in failed},
    )


def go_on(workspace: Workspace, no_train: bool, *words: str) -> None:
    """Say with which call a command goes on that left things unfinished."""
    same = ["--no-train"] if no_train else []
    click.echo(f"not finished yet; go on with: {workspace.call(*words, *same)}")


def without_training(graph: Graph, store: Store, read: Iterable[str]) -> Graph:
    """The part of ``graph`` that rests on no training which is still to be done.

    read: keys of data sets that are numbers of their own (Table 6). Of the others, what only a training would read
    is left out with it: the images of a training set need not be there.
    """
    states = store.states(graph.jobs)
    held: set[str] = set()
    for job in graph:
        if (job.kind == "train" and states[job.key] != "done") or not held.isdisjoint(job.inputs.values()):
            held.add(job.key)
    directly, inputs = {*read}, {key for job in graph for key in job.inputs.values()}
    return graph.needed_for(key for key in graph.jobs if key not in held and (key not in inputs or key in directly))


def run_here(workspace: Workspace, graph: Graph, store: Store, scale: Scale, retry: bool) -> Outcome:
    """Run what is missing of ``graph`` in worker processes. Raises StoreUnusable or NotAvailable before that."""
    todo, failed = _todo(graph, store, retry)
    if not todo:
        return Outcome(failed=failed)
    _check_possible([graph.jobs[key] for key in todo], scale)
    store.check_writable()
    workers = devices.at_once(scale, workspace.workers)
    estimate = Estimate(workers, dict(todo))
    # With --json, standard output belongs to the program that reads it.
    bars = sys.stderr.isatty() and sys.stdout.isatty() and not workspace.json
    listener = Bars(estimate, len(todo)) if bars else Lines(estimate, len(todo), quiet=workspace.json)
    with listener:
        made = provenance(workspace.root)
        run = LocalRun(graph, store, made, workers, listener, retry, devices.for_jobs(scale))
        return run.run()


def _todo(graph: Graph, store: Store, retry: bool) -> tuple[dict[str, float], dict[str, str]]:
    """The seconds of each job that can run, and why others have failed that are not tried again by themselves."""
    todo: dict[str, float] = {}
    failed: dict[str, str] = {}
    stuck: set[str] = set()
    states = store.states(graph.jobs)
    for job in graph:
        state = states[job.key]
        if state == "done":
            continue
        if state == "failed" and not retry and store.fails_again(job.key):
            failed[job.key] = store.trouble(job.key)
            stuck.add(job.key)
        elif stuck.isdisjoint(job.inputs.values()):
            todo[job.key] = job.seconds
        else:
            stuck.add(job.key)
    return todo, failed


def _check_possible(jobs: Collection[Job], scale: Scale) -> None:
    """Refuse what every worker would fail at, before the first is started."""
    lacking = [name for name in ("torch", "torchvision", "timm", "safetensors") if find_spec(name) is None]
    if lacking:
        raise NotAvailable(
            f"this environment trains nothing: {', '.join(lacking)} is not installed\n"
            "  plan, status and table --no-run work; `make demo` creates an environment that trains"
        )
    mixed = devices.need_gpu(jobs)
    if mixed and not devices.has_gpu(scale):
        raise NotAvailable(
            f"scale '{scale.id}': no GPU for {plural(len(mixed), 'training')} in mixed precision\n"
            "  plan, status and table --no-run work here; train on a cluster with --cluster NAME (docs/cluster.md),\n"
            "  or at --scale mini"
        )
    check_data_root(jobs)


def check_data_root(jobs: Iterable[Job]) -> None:
    """Raises UserError where one of ``jobs`` reads files of the user's and nobody said where they are."""
    if os.environ.get(DATA_ROOT):
        return
    for job in jobs:
        data = job.kind == "data" and "name" in job.payload["data"]
        weights = job.kind == "weights" and not PublishedFile.of(job.payload["file"]).url
        if data or weights:
            raise UserError(
                f"{DATA_ROOT}: the folder that holds the image data sets, got nothing (the variable is unset)\n"
                f"  export {DATA_ROOT}=/path/to/datasets (docs/paper-scale.md says what lies in it)"
            )
