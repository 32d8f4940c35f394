"""Slurm as a backend: one idempotent step after the other, each of which submits what can be submitted."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from replicate.backends.backend import Capacity, JobView, Reporter, RunReport
from replicate.backends.slurm import cancelled
from replicate.backends.slurm import queue as queues
from replicate.backends.slurm import submission as submissions
from replicate.backends.slurm.bad_nodes import note_endings
from replicate.backends.slurm.client import PATIENCE, Client
from replicate.backends.slurm.ending import CANCELLED
from replicate.backends.slurm.job_states import QueuedStates
from replicate.backends.slurm.profile import Profile
from replicate.backends.slurm.snapshot import take
from replicate.backends.slurm.submission import Task
from replicate.backends.slurm.submitter import Step, Submitter
from replicate.errors import ClusterDown, ClusterRefused, NoSlurm, SpecError, StoreUnusable
from replicate.jobs.job import Job
from replicate.plan.graph import Graph
from replicate.store import lease
from replicate.store.store import Store
from replicate.text import plural

_STALE = 900.0
"""Seconds after which the lock of a submitter on another machine counts as abandoned; it is renewed at each sbatch."""
CANCEL_SECONDS = 30.0
"""How long `cancel` waits for a process that submits, so that nothing is submitted behind its back."""
SLOWEST = 10
"""Back-off of ``--wait``: at most so many times the profile's poll_seconds between two looks."""
STUCK_STEPS = 4
"""How often ``--wait`` tries again where Slurm takes no job though none is queued: a limit may be a group's."""
SHARES = 30.0
"""Seconds that ``--wait`` says nothing while only the shares of running jobs change."""


@dataclass(frozen=True, slots=True)
class Slurm:
    """The backend of one cluster. root: the repository.

    Errors of its methods: `StoreUnusable`, `ClusterDown`, and `ClusterRefused` before anything is queued.
    """

    profile: Profile
    root: Path
    reporter: Reporter = field(default_factory=Reporter)

    @property
    def name(self) -> str:
        return self.profile.name

    @property
    def chains(self) -> bool:
        return True

    def prepare(self, store: Store) -> None:
        """Make the folders, for the user alone, or readable by the profile's group."""
        _check_name(store.root)
        folder = store.root / submissions.FOLDER
        shared = Path(self.profile.paths.shared)
        for path in [path for path in (store.root, folder, shared / "code") if not path.exists()]:
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o2750 if self.profile.group else 0o700)
            if self.profile.group:
                shutil.chown(path, group=self.profile.group)
        store.check_writable()
        submissions.check_private(folder, group=False)

    def look(self, graph: Graph, store: Store) -> QueuedStates:
        return self._look(graph, store, self._client())

    def capacity(self, jobs: Sequence[Job]) -> Capacity:
        return Capacity(self.profile.max_running)

    def run(
        self, graph: Graph, store: Store, names: Sequence[str], retry: bool = False, wait: bool = False
    ) -> RunReport:
        """Submit what is missing and can be; with ``wait`` again and again, until nothing more can come of it."""
        step = _taken(self._first(graph, store, names, retry, wait))
        for note in step.notes:
            self.reporter.say(note)
        if wait:
            step = self._wait(graph, store, names, step)
        failed = step.states.failures()
        logs = {key: step.states.first_log(key) for key in failed}
        self.reporter.say(f"{step.states.summary()}\n")
        return RunReport((), step.submitted, failed, logs, step.notes, step.states, step.refused, step.stuck)

    def rerun(self, graph: Graph, store: Store, names: Sequence[str], wait: bool = False) -> RunReport:
        # Reported once, then tried anew: what it would be compared with is there, so no table waits for it.
        failed = self.look(graph, store).failures()
        step = _taken(self._first(graph, store, names, True, wait))
        if wait:
            step = self._wait(graph, store, names, step)
            failed = step.states.failures()
        self._put_away_done(step.states)
        logs = {key: step.states.first_log(key) for key in failed}
        return RunReport((), step.submitted, failed, logs, step.notes, step.states, step.refused, step.stuck)

    def cancel(self, states: QueuedStates, keys: Iterable[str]) -> dict[str, str]:
        """Cancel those of ``keys`` that are queued or run; returns Slurm's number of each.

        All of ``keys`` that lack a result are noted, so that a ``--wait`` in another terminal does not submit them.
        """
        store, client = states.store, self._client()
        if not (store.root / submissions.FOLDER).is_dir():
            return {}
        keys, began = [*keys], time.monotonic()
        with _sole(store.root, CANCEL_SECONDS):
            if time.monotonic() - began > 0.5:
                # Another process was submitting.
                states = self._look(states.graph, store, client)
            # By what squeue shows now: a number that was written down earlier may be another job's by now.
            live = {key: view.row.id for key, view in states.of(keys).items() if view.row is not None and view.row.live}
            if live:
                cancelled.note(store.root, [key for key, view in states.of(keys).items() if view.again])
            numbers = sorted(set(live.values()))
            for begin in range(0, len(numbers), 200):
                answer = client.test("scancel", *numbers[begin : begin + 200])
                if answer.code and not _all_gone(answer.said):
                    raise ClusterRefused(f"scancel: {answer.said}\n  the others of its jobs are cancelled")
        return live

    def step(self, graph: Graph, store: Store, names: Sequence[str], retry: bool = False) -> Step:
        """Submit whatever of ``graph`` is missing and can be, and return at once. Safe to repeat.

        names: what is wanted, for squeue's comment. retry: also what failed for good.
        """
        client = self._client()
        self.prepare(store)
        with _sole(store.root) as alone:
            states = self._settled(graph, store, client)
            if not alone:
                return Step(states, notes=[_who(store.root)])
            if retry and store.forgive([key for key, view in states.views.items() if view.state in ("failed", "lost")]):
                states = self._look(graph, store, client)
            states.note_unseen()
            done = [key for key, view in states.views.items() if view.state == "done"]
            note_endings(store.root, states.queue, states.submissions, done, store.fails_again)
            step = Step(states, notes=states.doubts())
            todo = [key for key, view in states.views.items() if _wanted(view)]
            for submission in states.settled():
                submissions.put_away(submission)
            submissions.prune(store.root)
            if todo:
                code = take(self.root, Path(self.profile.paths.shared))
                plan, say = plan_name(names), self.reporter.say
                Submitter(graph, store, self.profile, client, plan, code, say, step).run(todo)
            return step

    def _put_away_done(self, states: QueuedStates) -> None:
        """Put away submissions that no job of the graph waits for any more, where results are moved elsewhere."""
        needed = {submission.name for job in states.graph for submission in states.submissions_of(job.key)}
        idle = [each for each in states.submissions if each.name not in needed and not states.live(each)]
        unseen = [each for each in idle if any(Task(each.name, index) not in states.queue.rows for index in each.tasks)]
        if unseen:
            # A job whose submission was put away finds its map no more: silence of squeue alone is not enough.
            queues.ask_accounting(self._client(), states.queue, unseen)
        for submission in idle:
            known = submission not in unseen or submission.name in states.queue.asked
            if known and not states.live(submission):
                submissions.put_away(submission)

    def _client(self) -> Client:
        environment = self.profile.client_environment(os.environ)
        return Client(environment, patience=PATIENCE, cluster=self.profile.cluster)

    def _look(self, graph: Graph, store: Store, client: Client) -> QueuedStates:
        """One squeue; one sacct if squeue has forgotten something, and another squeue where the two differ."""
        submitted = submissions.read_submissions(store.root)
        queue = queues.look(client, [submission.name for submission in submitted])
        lost_seconds = 60.0 * self.profile.lost_after_minutes
        states = QueuedStates(graph, store, queue, submitted, lost_seconds)
        unseen = states.unseen()
        if unseen:
            queues.ask_accounting(client, queue, unseen)
            queues.confirm(client, queue, submitted)
            states = QueuedStates(graph, store, queue, submitted, lost_seconds)
            silent = states.silent()
            if silent:
                queues.forget(client, queue, silent)
                states = QueuedStates(graph, store, queue, submitted, lost_seconds)
        return states

    def _settled(self, graph: Graph, store: Store, client: Client) -> QueuedStates:
        """`look`, again for a while where a job ended well and its result is not visible here yet."""
        deadline = time.monotonic() + self.profile.visible_seconds
        while True:
            states = self._look(graph, store, client)
            late = [key for key, view in states.views.items() if view.kind == "no result"]
            if not late or time.monotonic() > deadline:
                return states
            time.sleep(2)
            for key in late:
                store.forget(key)
                with suppress(OSError):
                    os.listdir(store.folder(key))

    def _first(self, graph: Graph, store: Store, names: Sequence[str], retry: bool, wait: bool) -> Step:
        """The first step of a call, which takes back what was cancelled before."""

        def first() -> Step:
            cancelled.take_back(store.root, graph.jobs)
            return self.step(graph, store, names, retry)

        return self._through_outages(first) if wait else first()

    def _wait(self, graph: Graph, store: Store, names: Sequence[str], step: Step) -> Step:
        """Steps until nothing is queued any more and nothing can be submitted."""
        seconds, seen, shown, when = self.profile.poll_seconds, "", "", 0.0
        told = {_without_numbers(note) for note in step.notes}
        stuck = 0
        while step.submitted or _moving(step.states):
            stuck = stuck + 1 if step.stuck else 0
            if stuck > STUCK_STEPS or (step.refused and step.idle):
                break
            line = step.states.summary()
            if line != seen:
                seconds, seen = self.profile.poll_seconds, line
            moved = line.partition("  (")[0] != shown.partition("  (")[0]
            if moved or (line != shown and time.monotonic() - when > SHARES):
                self.reporter.say(line)
                shown, when = line, time.monotonic()
            time.sleep(seconds)
            seconds = min(1.5 * seconds, SLOWEST * self.profile.poll_seconds)
            step = self._through_outages(lambda: self.step(graph, store, names))
            for note in step.notes:
                if _without_numbers(note) not in told:
                    told.add(_without_numbers(note))
                    self.reporter.say(note)
        off = [view.why for view in step.states.views.values() if view.kind == CANCELLED and not view.again]
        if off:
            self.reporter.say(f"{plural(len(off), 'job')} not submitted any more: {off[0]}")
        return step

    def _through_outages(self, take_step: Callable[[], Step]) -> Step:
        """A step, begun anew for as long as Slurm does not answer: an outage of hours is little to a wait of days."""
        since, seconds = 0.0, self.profile.poll_seconds
        while True:
            try:
                step = take_step()
            except NoSlurm:
                raise
            except ClusterDown as down:
                if not since:
                    since = time.time()
                    words = str(down).partition("\n")[0]
                    self.reporter.say(f"Slurm does not answer since {_clock(since)}, and is waited for ({words})")
                time.sleep(seconds)
                seconds = min(1.5 * seconds, SLOWEST * self.profile.poll_seconds)
            else:
                if since:
                    lasted = (time.time() - since) / 60
                    self.reporter.say(f"Slurm answers again, {_clock(time.time())}, after {lasted:.0f} min")
                return step


def _taken(step: Step) -> Step:
    """``step``, unless all that is left of it is refused. Raises ClusterRefused."""
    if step.refused and step.idle:
        raise ClusterRefused(str(SpecError(step.refused)))
    return step


def _clock(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))


def _without_numbers(note: str) -> str:
    return re.sub(r"\d+", "", note)


def _all_gone(said: str) -> bool:
    """Whether scancel complains of nothing but jobs that are no longer there."""
    complaints = [part for part in said.split("; ") if part]
    return all(re.search(r"Invalid job id|already complet|not pending nor running", part) for part in complaints)


def _check_name(root: Path) -> None:
    """Raise StoreUnusable where sbatch would not find the folder of its logs again."""
    path = str(root.absolute())
    if not path.isprintable() or {"%", "\\"} & {*path}:
        raise StoreUnusable(
            f"{path!r}: results of a cluster cannot lie in a folder of this name\n"
            "  sbatch replaces % and \\ in the names of logs: name another folder with --results DIR"
        )


def _moving(states: QueuedStates) -> bool:
    return any(
        view.state in ("pending", "running") or (view.again and view.state in ("lost", "absent", "failed"))
        for view in states.views.values()
    )


def _wanted(view: JobView) -> bool:
    return view.again and view.state in ("absent", "lost", "damaged", "failed")


@contextmanager
def _sole(root: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Hold the lock on submitting into this store, after up to ``seconds``; yields whether we have it."""
    folder, deadline = root / submissions.FOLDER, time.monotonic() + seconds
    while not (alone := lease.acquire(folder, lambda _, silence: silence > _STALE)) and time.monotonic() < deadline:
        time.sleep(1.0)
    try:
        yield alone
    finally:
        if alone:
            lease.release(folder)


def _who(root: Path) -> str:
    owner = lease.holder(root / submissions.FOLDER)
    who = f"process {owner.pid} on {owner.host}" if owner else "another process"
    return f"{who} is submitting just now; nothing was submitted here"


def plan_name(names: Sequence[str]) -> str:
    """A word for squeue's comment that holds none of its separators."""
    several = f"{len(names)}-tables" if names else "jobs"
    return re.sub(r"[^\w.-]", "-", names[0] if len(names) == 1 else several)
