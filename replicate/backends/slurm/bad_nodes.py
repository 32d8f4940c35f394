"""Nodes on which our jobs fail within seconds: they take one job after the other, and ruin all that wait.

A node without its GPU, or without the shared folder, is idle at once again, so Slurm gives it the next job. What ended
where is noted under the store, since Slurm forgets it: the newest endings on each node.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from replicate.backends.slurm.queue import Queue
from replicate.backends.slurm.submission import FOLDER, Submission, Task
from replicate.store.files import read_json, write_json

NODES = "nodes.json"
AGAIN = 12 * 3600.0
"""Seconds after which a node is tried again: sites repair or drain theirs within a day."""
QUICK = 120.0
"""Seconds within which a job fails that was never at work: it imports torch and reads its inputs for longer."""
FAILURES = 3
"""Different jobs that have to fail on a node, one after the other."""
_KEPT = 20
_FAILED = frozenset(["FAILED", "NODE_FAIL", "BOOT_FAIL"])


@dataclass(frozen=True, slots=True)
class Ending:
    """One element that ended. failed: within seconds. key: its first job. when: it was noted."""

    task: str
    key: str
    failed: bool
    when: float


@dataclass(frozen=True, slots=True)
class BadNode:
    """``failures``: how many jobs failed there one after the other. until: it is left out (seconds since 1970)."""

    name: str
    failures: int
    until: float

    def __str__(self) -> str:
        until = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.until))
        return f"node {self.name} is left out until {until}: {self.failures} different jobs failed there within seconds"


def note_endings(
    root: Path, queue: Queue, submissions: Iterable[Submission], done: Iterable[str], own_fault: Callable[[str], bool]
) -> None:
    """Add to what is noted of nodes what ``queue`` knows of ended elements.

    done: keys with a result. own_fault: whether a job would fail again wherever it ran.
    """
    noted, finished = _read(root), set(done)
    known = {ending.task for endings in noted.values() for ending in endings}
    keys = {Task(each.name, index): tuple(tasks) for each in submissions for index, tasks in each.tasks.items()}
    fresh: list[tuple[str, Ending]] = []
    for task, row in queue.rows.items():
        # One of several nodes may be at fault, and nobody says which.
        if row.live or str(task) in known or task not in keys or not row.node or "," in row.node or "[" in row.node:
            continue
        if row.state in _FAILED and row.seconds is not None and row.seconds < QUICK:
            if not any(map(own_fault, keys[task])):
                fresh.append((row.node, Ending(str(task), keys[task][0], True, time.time())))
        elif row.state == "COMPLETED" or finished.issuperset(keys[task]):
            fresh.append((row.node, Ending(str(task), keys[task][0], False, time.time())))
    if not fresh:
        return
    for node, ending in fresh:
        noted.setdefault(node, []).append(ending)
    body = {node: [_plain(ending) for ending in endings[-_KEPT:]] for node, endings in noted.items()}
    write_json(root / FOLDER / NODES, body)


def bad_nodes(root: Path) -> list[BadNode]:
    """Nodes on which several different jobs failed within seconds, without a success among them or after them.

    Where several nodes look so, and no other had a success since, the jobs are at fault and no node is.
    """
    noted, found, began = _read(root), [], time.time()
    for node, endings in sorted(noted.items()):
        newest = [ending for ending in endings if ending.when > time.time() - AGAIN]
        streak = list(takewhile(lambda ending: ending.failed, reversed(newest)))
        jobs = {ending.key for ending in streak}
        if len(jobs) >= FAILURES:
            found.append(BadNode(node, len(jobs), streak[0].when + AGAIN))
            began = min(began, streak[-1].when)
    works = any(not ending.failed and ending.when >= began for endings in noted.values() for ending in endings)
    return found if works or len(found) == 1 else []


def left_out(request: Mapping[str, object], nodes: Sequence[BadNode]) -> str:
    """sbatch's ``exclude`` for a request: the profile's own nodes and ``nodes``; empty for none.

    A request that names its nodes keeps them: sbatch refuses to leave out what is asked for.
    """
    own = str(request.get("exclude", ""))
    names = [] if request.get("nodelist") else [node.name for node in nodes]
    return ",".join(filter(None, [own, *names]))


def _read(root: Path) -> dict[str, list[Ending]]:
    found: dict[str, list[Ending]] = {}
    for node, endings in read_json(root / FOLDER / NODES).items():
        if isinstance(endings, list):
            found[node] = [ending for each in endings if (ending := _ending(each)) is not None]
    return found


def _ending(body: object) -> Ending | None:
    match body:
        case {"task": str(task), "key": str(key), "failed": bool(failed), "when": float(when) | int(when)}:
            # A clock that was ahead must not leave a node out for years.
            return Ending(task, key, failed, min(float(when), time.time()))
    return None


def _plain(ending: Ending) -> dict[str, object]:
    return {"task": ending.task, "key": ending.key, "failed": ending.failed, "when": ending.when}
