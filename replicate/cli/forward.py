"""Brings the jobs behind some tables forward on this machine, with progress."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Never

from replicate.cli.progress import Bars, Estimate, Lines
from replicate.cli.workspace import Workspace
from replicate.errors import NotAvailable
from replicate.launch.local import LocalRun, Outcome
from replicate.plan.graph import Graph
from replicate.spec.scale import FolderData, Scale
from replicate.store.provenance import provenance
from replicate.store.store import Store


def bring_forward(workspace: Workspace, graph: Graph, store: Store, scale: Scale, retry: bool) -> Outcome:
    """Run what is missing of ``graph``, or submit it where a cluster was named.

    Raises StoreUnusable, NotAvailable or ClusterRefused before anything is started.
    """
    if workspace.profile is not None:
        from replicate.cli import cluster

        return Outcome(failed=cluster.failures(cluster.forward(workspace, graph, store, [], retry, wait=False).world))
    todo = {job.key: job.seconds for job in graph if store.state(job.key) != "done"}
    if not todo:
        return Outcome()
    _check_possible(scale)
    store.check_writable()
    estimate = Estimate(workspace.workers, dict(todo))
    # With --json, standard output belongs to the program that reads it.
    bars = sys.stderr.isatty() and sys.stdout.isatty() and not workspace.json
    listener = Bars(estimate, len(todo)) if bars else Lines(estimate, len(todo), quiet=workspace.json)
    with listener, _terminable():
        run = LocalRun(graph, store, provenance(workspace.root), workspace.workers, listener, retry)
        return run.run()


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM (timeout, a container that is stopped) does as Ctrl-C: workers write a checkpoint and end."""

    def stop(*_: object) -> Never:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_possible(scale: Scale) -> None:
    lacking = [name for name in ("torch", "torchvision", "timm", "safetensors") if find_spec(name) is None]
    if lacking:
        raise NotAvailable(
            f"this environment trains nothing: {', '.join(lacking)} is not installed\n"
            "  plan, status and table --no-run work; `make demo` creates an environment that trains"
        )
    if any(isinstance(data, FolderData) for data in scale.data.values()):
        raise NotAvailable(
            f"scale '{scale.id}': its networks are trained on a GPU cluster, which is not available yet\n"
            "  plan, status and table --no-run work; train at --scale mini"
        )
