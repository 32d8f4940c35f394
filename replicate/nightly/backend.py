"""Where a night computes: on this machine, where it stays until all is done, or on a cluster, where it submits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from replicate.cli.workspace import Workspace
from replicate.nightly.agenda import Standing
from replicate.plan.cells import Plan
from replicate.plan.graph import Graph
from replicate.store.store import Store

if TYPE_CHECKING:
    from replicate.backends.slurm.job_states import JobStates
    from replicate.judge.table import State


@dataclass(slots=True, kw_only=True)
class Place(ABC):
    """``failed``: jobs that somebody has to look at, with the reason; ``recovered``: those that go on by themselves."""

    computed: list[str] = field(default_factory=list)
    submitted: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    recovered: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    @abstractmethod
    def elsewhere(self) -> Mapping[str, tuple[State, str]]:
        """See `replicate.judge.finish.Finisher`."""

    @abstractmethod
    def look(self) -> None:
        """Learn how things stand now."""

    @abstractmethod
    def standing(self, key: str) -> Standing: ...
    @abstractmethod
    def state(self, key: str) -> str: ...
    @abstractmethod
    def why(self, key: str) -> str: ...

    @abstractmethod
    def bring(self, graph: Graph, store: Store) -> None:
        """Bring what is missing of ``graph`` into ``store``."""

    @abstractmethod
    def repeat(self, graph: Graph, store: Store) -> None:
        """As `bring`, for results that are computed again: they are tried anew each night."""


def place_of(workspace: Workspace, plan: Plan, graph: Graph, store: Store) -> Place:
    return Here(workspace, plan, store) if workspace.profile is None else Cluster(workspace, graph, store)


@dataclass(slots=True)
class Here(Place):
    """Worker processes of this machine."""

    workspace: Workspace
    plan: Plan
    store: Store

    @property
    def elsewhere(self) -> Mapping[str, tuple[State, str]]:
        return {}

    def look(self) -> None:
        return

    def standing(self, key: str) -> Standing:
        state = self.store.state(key)
        if state == "failed" and self.store.fails_again(key):
            return "stuck"
        return "done" if state == "done" else "busy" if state == "running" else "open"

    def state(self, key: str) -> str:
        state = self.store.state(key)
        return "absent" if state == "damaged" else state

    def why(self, key: str) -> str:
        return self.store.trouble(key)

    def bring(self, graph: Graph, store: Store) -> None:
        from replicate.actions.run_missing import run_here

        outcome = run_here(self.workspace, graph, store, self.plan.specs.scale, retry=False)
        self.computed += outcome.done
        self.failed |= outcome.failed

    def repeat(self, graph: Graph, store: Store) -> None:
        from replicate.actions.run_missing import run_here

        outcome = run_here(self.workspace, graph, store, self.plan.specs.scale, retry=True)
        self.failed |= {key: f"computed again: {reason}" for key, reason in outcome.failed.items()}


@dataclass(slots=True)
class Cluster(Place):
    """Slurm, by the profile of the workspace. Errors of its methods: `ClusterDown`, `ClusterRefused`."""

    workspace: Workspace
    graph: Graph
    store: Store
    world: JobStates | None = None

    @property
    def elsewhere(self) -> Mapping[str, tuple[State, str]]:
        from replicate.actions.cluster import elsewhere

        return elsewhere(self.world) if self.world else {}

    def look(self) -> None:
        from replicate.actions.cluster import profile_of
        from replicate.backends.slurm.step import look

        self.world = look(self.graph, self.store, profile_of(self.workspace))

    def standing(self, key: str) -> Standing:
        assert self.world is not None
        view = self.world.views[key]
        if view.state == "done":
            return "done"
        if view.state in ("running", "pending"):
            return "busy"
        return "stuck" if view.state == "blocked" or not view.again else "open"

    def state(self, key: str) -> str:
        if self.world is None:
            # Slurm does not answer: what the store says is all there is.
            state = self.store.state(key)
            return "absent" if state == "damaged" else state
        view = self.world.views[key]
        if view.state in ("failed", "lost"):
            return "pending" if view.again else "failed"
        return {"damaged": "absent", "blocked": "absent"}.get(view.state, view.state)

    def why(self, key: str) -> str:
        return self.world.views[key].why if self.world else str(self.store.failure(key).get("message", ""))

    def bring(self, graph: Graph, store: Store) -> None:
        step_world = self._step(graph, store, "nightly", retry=False)
        assert self.world is not None
        ended = {key: view.why for key, view in self.world.views.items() if view.state in ("failed", "lost")}
        self.recovered |= {key: ended[key] for key in self.submitted if key in ended}
        self.world.views.update(step_world.views)

    def repeat(self, graph: Graph, store: Store) -> None:
        from replicate.actions.cluster import failures, profile_of
        from replicate.backends.slurm.step import look, put_away_done

        # Said once, then tried anew: what it would be compared with is there, so no table waits for it.
        seen = look(graph, store, profile_of(self.workspace))
        self.failed |= {key: f"computed again: {why}" for key, why in failures(seen).items()}
        put_away_done(self._step(graph, store, "nightly-again", retry=True))

    def _step(self, graph: Graph, store: Store, name: str, retry: bool) -> JobStates:
        from replicate.actions.cluster import profile_of
        from replicate.backends.slurm.step import advance_on_cluster

        step = advance_on_cluster(
            graph, store, profile_of(self.workspace), name, self.workspace.root, click.echo, retry
        )
        self.submitted |= step.submitted
        self.notes += step.notes
        return step.world
