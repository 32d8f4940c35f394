"""One step forward on a cluster: look at everything, submit what can be, say what is the case. Safe to repeat."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from replicate.backends.slurm import client as queues
from replicate.backends.slurm import submission as submissions
from replicate.backends.slurm.client import Client
from replicate.backends.slurm.job_states import RETRIED, JobStates, JobView
from replicate.backends.slurm.profile import Profile
from replicate.backends.slurm.snapshot import take
from replicate.backends.slurm.submission import Task
from replicate.backends.slurm.submitter import Say, Step, Submitter
from replicate.plan.graph import Graph
from replicate.store import lease
from replicate.store.store import FAILURE, Store

_STALE = 900.0
"""Seconds after which the claim of a submitter on another machine counts as abandoned; it is renewed at each sbatch."""


def look(graph: Graph, store: Store, profile: Profile, client: Client | None = None) -> JobStates:
    """The state of every job: one squeue, and one sacct if squeue has forgotten something. Changes nothing.

    Errors: `ClusterDown`.
    """
    client = client or Client(profile.client_environment(os.environ))
    known = submissions.read_submissions(store.root)
    queue = queues.look(client)
    lost_seconds = 60.0 * profile.lost_after_minutes
    world = JobStates(graph, store, queue, known, lost_seconds)
    unseen = world.unseen()
    if unseen:
        queues.ask_accounting(client, queue, unseen)
        if queue.accounting:
            world = JobStates(graph, store, queue, known, lost_seconds)
    return world


def advance_on_cluster(
    graph: Graph, store: Store, profile: Profile, plan: str, root: Path, say: Say, retry: bool = False
) -> Step:
    """Submit whatever of ``graph`` is missing and can be, and return at once.

    plan: the name of what is wanted, for squeue's comment. root: the repository. retry: also what diverged.
    Errors: `StoreUnusable`, `ClusterDown`, and `ClusterRefused` before anything is queued.
    """
    client = Client(profile.client_environment(os.environ))
    prepare(store, profile)
    with _sole(store.root) as alone:
        world = _settled(graph, store, profile, client)
        if not alone:
            return Step(world, notes=[_who(store.root)])
        if retry and forgive(store, [key for key, view in world.views.items() if view.state in ("failed", "lost")]):
            world = look(graph, store, profile, client)
        step = Step(world)
        todo = [key for key, view in world.views.items() if _wanted(view)]
        for submission in world.settled():
            submissions.put_away(submission)
        submissions.prune(store.root)
        if todo:
            Submitter(graph, store, profile, client, plan, take(root, Path(profile.paths.shared)), say, step).run(todo)
        return step


def _wanted(view: JobView) -> bool:
    return view.again and view.state in ("absent", "lost", "damaged", "failed")


def forgive(store: Store, keys: Iterable[str]) -> list[str]:
    """Forget how jobs failed, so that the next step submits them; their logs stay. Returns those forgiven."""
    found = [key for key in keys if store.folder(key).is_dir()]
    for key in found:
        (store.folder(key) / FAILURE).unlink(missing_ok=True)
        (store.folder(key) / RETRIED).touch()
    return found


def put_away_done(world: JobStates) -> None:
    """Put away submissions that no job of the graph waits for any more, where results are moved elsewhere."""
    needed = {one.name for job in world.graph for one in world.submissions_of(job.key)}
    for one in world.submissions:
        rows = [world.queue.rows.get(Task(one.name, index)) for index in one.tasks]
        if one.name not in needed and not any(row is not None and row.live for row in rows):
            submissions.put_away(one)


def _settled(graph: Graph, store: Store, profile: Profile, client: Client) -> JobStates:
    """`look`, again for a while where a job ended well and its result is not visible here yet."""
    deadline = time.monotonic() + profile.visible_seconds
    while True:
        world = look(graph, store, profile, client)
        late = [key for key, view in world.views.items() if view.kind == "no result"]
        if not late or time.monotonic() > deadline:
            return world
        time.sleep(2)
        for key in late:
            store.forget(key)
            with suppress(OSError):
                os.listdir(store.folder(key))


def prepare(store: Store, profile: Profile) -> None:
    """The folders, for the user alone, or readable by the profile's group."""
    folder = store.root / submissions.FOLDER
    created = [path for path in (store.root, folder, Path(profile.paths.shared) / "code") if not path.exists()]
    for path in created:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o2750 if profile.group else 0o700)
        if profile.group:
            shutil.chown(path, group=profile.group)
    store.check_writable()
    submissions.check_private(folder, group=False)


@contextmanager
def _sole(root: Path) -> Iterator[bool]:
    """Hold the claim on submitting into this store; yields whether we have it."""
    folder = root / submissions.FOLDER

    alone = lease.acquire(folder, lambda _: lease.silence(folder) > _STALE)
    try:
        yield alone
    finally:
        if alone:
            lease.release(folder)


def _who(root: Path) -> str:
    owner = lease.holder(root / submissions.FOLDER)
    who = f"process {owner.pid} on {owner.host}" if owner else "another process"
    return f"{who} is submitting just now; nothing was submitted here"


def plan_name(names: list[str]) -> str:
    """A word for squeue's comment that holds none of its separators."""
    several = f"{len(names)}-tables" if names else "jobs"
    return re.sub(r"[^\w.-]", "-", names[0] if len(names) == 1 else several)
