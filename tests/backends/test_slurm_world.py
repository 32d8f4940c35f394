"""What is made of a store and a queue, state by state; without Slurm."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Set
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from filled_results import job_like

from replicate.backends.backend import JobView
from replicate.backends.slurm import node, submission
from replicate.backends.slurm.ending import KINDS, Detail, kills_counted, meaning
from replicate.backends.slurm.job_states import QueuedStates
from replicate.backends.slurm.node import local_size
from replicate.backends.slurm.profile import Profile
from replicate.backends.slurm.prologue import note_of
from replicate.backends.slurm.queue import Queue, Row, indices_of
from replicate.backends.slurm.submission import (
    SubmissionMap,
    Task,
    check_private,
    comment,
    note_job,
    prune,
    put_away,
    read_submissions,
    submission_of,
    write_map,
)
from replicate.backends.slurm.waves import over_time_limit
from replicate.errors import StoreFault
from replicate.jobs.job import to_json
from replicate.plan.graph import Graph
from replicate.store import lease
from replicate.store.files import write_json
from replicate.store.lease import Owner
from replicate.store.store import Store

KEY, AFTER = "train-a", "predict-a"


@pytest.fixture
def graph() -> Graph:
    graph = Graph()
    graph.add(job_like(KEY, "train"))
    graph.add(job_like(AFTER, "predict", {"network": KEY}))
    return graph


@pytest.fixture
def store(tmp_path: Path, graph: Graph) -> Store:
    store = Store(tmp_path / "results")
    for job in graph:
        store.prepare(job)
    return store


def submit(store: Store, name: str = "sub", job: str = "7") -> None:
    tasks = {0: [KEY], 1: [AFTER]}
    map = SubmissionMap(name, "train", tasks, requeue=3, setup=("module load x",), request={"mem": "2G"})
    folder = write_map(store.root, map)
    if job:
        note_job(folder, job)


def world(graph: Graph, store: Store, rows: Mapping[str, Row] = {}, asked: Set[str] = frozenset()) -> QueuedStates:
    queue = Queue({Task.of(name) or pytest.fail(name): row for name, row in rows.items()}, asked=set(asked))
    return QueuedStates(graph, store, queue, read_submissions(store.root), lost_seconds=600)


def view(graph: Graph, store: Store, rows: Mapping[str, Row] = {}) -> JobView:
    return world(graph, store, rows).views[KEY]


def test_nothing_was_submitted(graph: Graph, store: Store) -> None:
    assert view(graph, store).state == "absent"


@pytest.mark.parametrize(
    ("row", "state", "kind", "again"),
    [
        (Row("7_0", "PENDING", "Priority"), "pending", "", True),
        (Row("7_0", "RUNNING", node="n1"), "running", "", True),
        (Row("7_0", "COMPLETING", node="n1"), "running", "", True),
        (Row("7_0", "OUT_OF_MEMORY", node="n1"), "failed", "OOM", False),
        (Row("7_0", "TIMEOUT"), "failed", "time limit", True),
        (Row("7_0", "NODE_FAIL"), "failed", "node failure", True),
        (Row("7_0", "CANCELLED"), "absent", "cancelled", True),
        (Row("7_0", "COMPLETED"), "failed", "no result", True),
        (Row("7_0", "FAILED"), "failed", "error", True),
        (Row("7_0", "LOST"), "lost", "lost", True),
        (Row("7_0", "SOMETHING_NEW"), "failed", "error", True),
    ],
)
def test_states(graph: Graph, store: Store, row: Row, state: str, kind: str, again: bool) -> None:
    submit(store)
    found = view(graph, store, {"sub_0": row})
    assert (found.state, found.kind, found.again) == (state, kind, again)


def aged(store: Store, seconds: float, name: str = "sub") -> None:
    """Make the submission, and what its jobs wrote, older."""
    then = time.time() - seconds
    for path in (*(store.root / ".slurm" / name).iterdir(), *store.folder(KEY).glob("progress.json")):
        os.utime(path, (then, then))


def asked(graph: Graph, store: Store, rows: Mapping[str, Row] = {}) -> JobView:
    """The view where sacct answered, too."""
    return world(graph, store, rows, {"sub"}).views[KEY]


def test_known_to_nobody(graph: Graph, store: Store) -> None:
    """Lost, unless it gave a sign of life; cancelled, where it never started."""
    submit(store)
    aged(store, 100)
    found = asked(graph, store)
    assert (found.state, found.kind, found.task) == ("absent", "cancelled", Task("sub", 0))
    assert found.why == "it left the queue before it started (neither squeue nor sacct shows it)"
    (store.root / ".slurm" / "sub" / "7_0_0_log.out").touch()
    assert view(graph, store).state == asked(graph, store).state == "running"
    aged(store, 100)
    assert view(graph, store).state == asked(graph, store).state == "running"
    aged(store, 130)
    assert view(graph, store).state == "running"
    assert asked(graph, store).state == "lost"
    assert "(neither squeue nor sacct shows it; silent for 2 min)" in asked(graph, store).why
    aged(store, 610)
    assert "(squeue does not show it, and sacct does not answer; silent for 10 min)" in view(graph, store).why
    write_json(store.folder(KEY) / "progress.json", {"epoch": 1})
    assert asked(graph, store).state == "running"
    aged(store, 610)
    assert view(graph, store).state == "lost"


AHEAD = 2.0**32
"""A time that a clock years ahead gives."""


def test_a_sign_of_life_of_a_clock_that_was_ahead_ages_from_now_on(graph: Graph, store: Store) -> None:
    submit(store)
    progress = store.folder(KEY) / "progress.json"
    write_json(progress, {"epoch": 1})
    os.utime(progress, (AHEAD, AHEAD))
    found = asked(graph, store)
    assert (found.state, found.why) == ("running", "not in the queue, but gave a sign of life 0 s ago")
    assert progress.stat().st_mtime < time.time() + 60
    aged(store, 610)
    assert asked(graph, store).state == "lost"


def test_a_submission_of_a_clock_that_was_ahead_is_not_young_for_years(graph: Graph, store: Store) -> None:
    submit(store)
    os.utime(store.root / ".slurm" / "sub" / "map.json", (AHEAD, AHEAD))
    assert asked(graph, store).state == "absent"
    # Nor is it unseen since a time that is still to come.
    note_job(store.root / ".slurm" / "sub", "7", unseen={0: AHEAD, 1: AHEAD})
    states = world(graph, store)
    assert states.views[KEY].state == "pending"
    states.note_unseen()
    (found,) = read_submissions(store.root)
    assert max(found.unseen.values()) < time.time() + 60


def test_squeue_keeps_its_answers_for_a_while(graph: Graph, store: Store) -> None:
    submit(store)
    assert asked(graph, store).state == "pending"
    assert "and not shown by squeue yet" in asked(graph, store).why


def test_silence_of_squeue_alone_lasts(graph: Graph, store: Store) -> None:
    """Nothing that waited in the queue is submitted again before lost_after_minutes of silence."""
    submit(store)
    aged(store, 5000)
    states = world(graph, store)
    assert states.views[KEY].state == "pending"
    assert "squeue does not show it, and sacct does not answer" in states.views[KEY].why
    states.note_unseen()
    (noted,) = read_submissions(store.root)
    assert set(noted.unseen) == {0, 1}
    note_job(noted.folder, "7", unseen={0: time.time() - 590, 1: time.time() - 590})
    assert view(graph, store).state == "pending"
    note_job(noted.folder, "7", unseen={0: time.time() - 610, 1: time.time() - 610})
    assert view(graph, store).state == "absent"
    # Once it is seen again, its silence begins anew.
    world(graph, store, {"sub_0": Row("7_0", "PENDING")}).note_unseen()
    assert set(read_submissions(store.root)[0].unseen) == {1}


def test_what_waited_for_a_failed_job_left_with_it(graph: Graph, store: Store) -> None:
    """Slurm cancels it, and forgets it; without accounting nothing else says so."""
    submit(store)
    aged(store, 5000)
    write_json(store.folder(KEY) / "failure.json", {"kind": "killed", "message": "by signal 9", "retry": True})
    found = world(graph, store, {"sub_0": Row("7_0", "FAILED")}).views
    assert (found[KEY].state, found[AFTER].state) == ("failed", "absent")
    assert found[AFTER].again


def test_sacct_calls_it_alive(graph: Graph, store: Store) -> None:
    submit(store)
    aged(store, 5000)
    row = Row("7_0", "RUNNING", detail=Detail("0:0"))
    found = asked(graph, store, {"sub_0": row})
    assert (found.state, found.why) == ("running", "sacct says RUNNING, though squeue does not show it")
    assert world(graph, store, {"sub_0": row}).silent() == [(Task("sub", 0), row)]
    claim = store.folder(KEY) / "claim"
    claim.mkdir()
    write_json(claim / "owner.json", asdict(Owner("gpu17", 4711, 1, task="sub_0")))
    assert world(graph, store, {"sub_0": row}).silent() == []
    os.utime(claim / "owner.json", (time.time() - 610,) * 2)
    states = world(graph, store, {"sub_0": row})
    assert states.silent() == [(Task("sub", 0), row)]
    assert not states.gone(Owner("gpu17", 4711, 1, task="sub_0"), 610.0)
    assert view(graph, store, {"sub_0": replace(row, state="LOST")}).state == "lost"
    write_json(store.folder(KEY) / "progress.json", {"epoch": 1})
    assert world(graph, store, {"sub_0": row}).silent() == []
    found = asked(graph, store, {"sub_0": replace(row, state="PENDING")})
    assert found.state == "pending"


def test_sbatch_did_not_say(graph: Graph, store: Store) -> None:
    submit(store, job="")
    note_job(store.root / ".slurm" / "sub", "", doubt="Socket timed out")
    found = asked(graph, store)
    assert found.state == "pending"
    assert found.why == "Slurm did not say whether it took it (Socket timed out); it is looked for by its name"
    aged(store, 610)
    assert asked(graph, store).state == "absent"


def test_submitter_died_before_sbatch(graph: Graph, store: Store) -> None:
    submit(store, job="")
    assert view(graph, store).state == "absent"


def test_what_waits_for_a_failure_is_blocked(graph: Graph, store: Store) -> None:
    submit(store)
    write_json(store.folder(KEY) / "failure.json", {"kind": "diverged", "message": "a loss of nan", "retry": False})
    found = world(graph, store, {"sub_0": Row("7_0", "FAILED")})
    assert found.views[KEY].again is False
    assert found.views[AFTER].state == "blocked"
    assert found.views[AFTER].why == f"blocked by {KEY}: diverged: a loss of nan"


def test_tries_are_counted_and_forgiven(graph: Graph, store: Store) -> None:
    for n in range(3):
        submit(store, f"sub{n}", str(n))
    rows = {f"sub{n}_0": Row(f"{n}_0", "FAILED") for n in range(3)}
    found = view(graph, store, rows)
    assert not found.again
    assert "submitted 3 times" in found.why
    # Slurm cancels what waits for a failed job: that is no try.
    assert view(graph, store, rows | {"sub1_0": Row("1_0", "CANCELLED")}).again
    store.forgive([KEY])
    later = time.time() + 60
    os.utime(store.folder(KEY) / ".retried", (later, later))
    assert view(graph, store, rows) == JobView("absent")


def test_a_setup_line_that_failed(graph: Graph, store: Store) -> None:
    """It stops the job at the first try, by the name of the line, until somebody says `retry`."""
    submit(store)
    note_of(store.root / ".slurm" / "sub", 0).write_text("127\nmodule load cuda/12.4\n")
    rows = {"sub_0": Row("7_0", "FAILED", node="n1")}
    found = world(graph, store, rows)
    stopped = found.views[KEY]
    assert (stopped.state, stopped.kind, stopped.again) == ("failed", "setup", False)
    assert stopped.why.startswith(
        "setup line 'module load cuda/12.4' failed (exit code 127) on n1; batch shells have no"
    )
    assert stopped.why.endswith(", then: retry")
    assert found.views[AFTER].state == "blocked"
    # A full disk has no room for the note; accounting knows the exit code of the script.
    note_of(store.root / ".slurm" / "sub", 0).unlink()
    known = {"sub_0": Row("7_0", "FAILED", node="n1", detail=Detail(exit="79:0"))}
    assert view(graph, store, known).why.startswith("a line of setup failed, and the job's log says which one on n1; ")
    note_of(store.root / ".slurm" / "sub", 0).write_text("127\nmodule load cuda/12.4\n")
    # An administrator put it back, and it runs.
    assert view(graph, store, {"sub_0": Row("7_0", "RUNNING", node="n2")}).state == "running"
    store.forgive([KEY])
    later = time.time() + 60
    os.utime(store.folder(KEY) / ".retried", (later, later))
    assert view(graph, store, rows) == JobView("absent")


def test_a_disk_without_room_for_a_file_that_says_so(graph: Graph, store: Store) -> None:
    submit(store)
    by_accounting = Row("7_0", "FAILED", node="n1", detail=Detail("78:0"))
    found = view(graph, store, {"sub_0": by_accounting})
    assert (found.kind, found.again) == ("disk full", True)
    assert found.why == "DISK_FULL on n1: the disk was full, or had no room for another file: make room"
    attempt = store.folder(KEY) / "attempts" / "2"
    attempt.mkdir(parents=True)
    write_json(attempt / "env.json", {"task": "sub_0", "exit": 78})
    assert view(graph, store, {"sub_0": Row("7_0", "FAILED", node="n1")}).kind == "disk full"
    # The code of a task is that of its worst job.
    write_json(attempt / "env.json", {"task": "sub_0", "exit": 1})
    assert view(graph, store, {"sub_0": by_accounting}).kind == "error"


def test_memory_told_by_slurmstepd_only(graph: Graph, store: Store) -> None:
    submit(store)
    log = store.root / ".slurm" / "sub" / "7_0_0_log.err"
    log.write_text("slurmstepd: error: StepId=7.0 exceeded memory limit (313565184 > 104857600), being killed\n")
    found = view(graph, store, {"sub_0": Row("7_0", "FAILED", node="n1")})
    assert found.kind == "OOM"
    assert "asked 2G, peak 299M; raise mem in [kinds.train]" in found.why


def test_memory_of_the_gpu_is_not_that_of_the_node(graph: Graph, store: Store) -> None:
    submit(store)
    log = store.root / ".slurm" / "sub" / "7_0_0_log.err"
    log.write_text("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n")
    assert view(graph, store, {"sub_0": Row("7_0", "FAILED", node="n1")}).kind == "error"
    log.write_text(log.read_text() + "srun: error: n1: task 0: Out Of Memory\n")
    assert view(graph, store, {"sub_0": Row("7_0", "FAILED", node="n1")}).kind == "OOM"


def test_claims_of_tasks_that_ended(graph: Graph, store: Store) -> None:
    """squeue decides about other hosts; about tasks of other users it says nothing."""
    submit(store)
    owner, quiet = Owner("gpu17", 4711, 1, task="sub_0"), 3600.0
    assert world(graph, store, {"sub_0": Row("7_0", "RUNNING", node="gpu17")}).gone(owner, quiet) is False
    assert world(graph, store, {"sub_0": Row("7_0", "PENDING", "BeginTime")}).gone(owner, 1.0) is True
    assert world(graph, store, {"sub_0": Row("7_0", "FAILED")}).gone(owner, 1.0) is True
    assert world(graph, store).gone(owner, quiet) is True
    assert world(graph, store).gone(Owner("gpu17", 4711, 1, task="others_0"), quiet) is False
    assert world(graph, store).gone(Owner("login2", 4711, 1), quiet) is False


def test_a_sign_of_life_outweighs_silence(graph: Graph, store: Store) -> None:
    """A claim that was touched a minute ago stands although squeue and sacct say nothing of its task."""
    submit(store)
    claim = store.folder(KEY) / "claim"
    claim.mkdir()
    write_json(claim / "owner.json", asdict(Owner("gpu17", 4711, 1, task="sub_0")))
    found = asked(graph, store)
    assert (found.state, found.why) == ("running", "squeue does not show it, but it gave a sign of life 0 s ago")
    assert not lease.acquire(store.folder(KEY), asked_gone(graph, store))
    then = time.time() - 130
    os.utime(claim / "owner.json", (then, then))
    assert view(graph, store).state == "running"
    assert asked(graph, store).state == "pending"
    assert lease.acquire(store.folder(KEY), asked_gone(graph, store))


def asked_gone(graph: Graph, store: Store) -> lease.Gone:
    asked(graph, store)
    assert store.gone is not None
    return store.gone


def test_names_in_squeue() -> None:
    text = comment("table-3", "0123456789ab", ["train-a", "train-b"])
    assert text == "replicate:table-3:0123456789ab:train-a+1"
    assert submission_of(text) == "0123456789ab"
    assert submission_of("replicate-0123456789ab") == "0123456789ab"
    assert submission_of("(null)|stdenv:yes;replicate:table-3:0123456789ab:train-a+1;cost=3") == "0123456789ab"
    assert submission_of("site_replicate-0123456789ab|(null)") == "0123456789ab"
    assert submission_of("site_replicate-0123456789abc|(null)") is None
    assert submission_of("replicate-01234567", ["0123456789ab", "ba9876543210"]) == "0123456789ab"
    assert submission_of("replicate-01234567|other", ["0123456789ab", "012345678fff"]) is None
    assert submission_of("(null)") is None
    assert submission_of("replicate:") is None
    assert indices_of("7_3") == [3]
    assert indices_of("7_[4-6,9%2]") == [4, 5, 6, 9]
    assert indices_of("7") == []


def test_folders_that_others_may_write(tmp_path: Path) -> None:
    folder = tmp_path / "submission"
    folder.mkdir(mode=0o700)
    check_private(folder, group=False)
    folder.chmod(0o777)
    with pytest.raises(StoreFault, match="writable by nobody else"):
        check_private(folder, group=False)


def test_reasons() -> None:
    assert meaning("Resources") == "it is next, and waits until enough is free"
    assert meaning("ReqNodeNotAvail, UnavailableNodes:n[1-4]") == "a node it asks for is down, drained or reserved"
    assert "limit of your QOS" in meaning("QOSGrpSomethingNew")
    assert "man squeue" in meaning("Other")
    assert "OOM" in KINDS


def test_kills_counted_by_the_cgroup(tmp_path: Path) -> None:
    groups = "0::/system.slice/slurmstepd.scope/job_12/step_0/user/task_0\n"
    folder = tmp_path / groups.strip().split("::/")[1]
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text("4000000000\n")
    (folder / "memory.peak").write_text("3999000000\n")
    (folder / "memory.events").write_text("oom 1\noom_kill 0\n")
    assert kills_counted(groups, tmp_path) == ""
    (folder / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert kills_counted(groups, tmp_path) == "asked 4.0 GB, peak 4.0 GB"
    assert kills_counted("0::/user.slice\n", tmp_path) == ""


def test_old_submissions_are_pruned(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "_KEPT", 2)
    for age, name in enumerate(("new", "young", "month", "year")):
        submit(store, name)
        put_away(next(one for one in read_submissions(store.root) if one.name == name))
        then = time.time() - (0, 86400, 20 * 86400, 365 * 86400)[age]
        os.utime(store.root / ".slurm" / "old" / name, (then, then))
    prune(store.root)
    assert sorted(path.name for path in (store.root / ".slurm" / "old").iterdir()) == ["month", "new", "young"]
    # Few are kept however old they are.
    for days, path in enumerate(sorted((store.root / ".slurm" / "old").iterdir())):
        os.utime(path, (40 * 86400 * days, 40 * 86400 * days))
    prune(store.root)
    assert sorted(path.name for path in (store.root / ".slurm" / "old").iterdir()) == ["new", "young"]


def test_a_clock_years_ahead_prunes_no_submission(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "_KEPT", 2)
    for name in ("new", "young", "month"):
        submit(store, name)
        put_away(next(one for one in read_submissions(store.root) if one.name == name))
    monkeypatch.setattr(time, "time", lambda: 2.0**32)
    prune(store.root)
    assert len(list((store.root / ".slurm" / "old").iterdir())) == 3


def test_a_retry_or_a_submission_dated_by_a_clock_that_was_ahead(graph: Graph, store: Store) -> None:
    """Such a retry must not hide what is submitted later: it would be submitted again and again."""
    submit(store)
    (store.folder(KEY) / ".retried").touch()
    os.utime(store.folder(KEY) / ".retried", (2**32, 2**32))
    assert view(graph, store, {"sub_0": Row("7_0", "OUT_OF_MEMORY", node="n1")}).state == "failed"
    # Nor may a submission of the future outlive what somebody says today.
    os.utime(store.root / ".slurm" / "sub" / "map.json", (2**32, 2**32))
    store.forgive([KEY])
    os.utime(store.folder(KEY) / ".retried")
    assert view(graph, store, {"sub_0": Row("7_0", "OUT_OF_MEMORY", node="n1")}) == JobView("absent")
    assert view(graph, store, {"sub_0": Row("7_0", "RUNNING", node="n1")}).state == "running"
    (store.folder(KEY) / ".retried").unlink()
    assert view(graph, store, {"sub_0": Row("7_0", "OUT_OF_MEMORY", node="n1")}).state == "failed"


def test_jobs_that_cannot_end_in_time() -> None:
    profile = Profile.model_validate(
        {
            "name": "lab",
            "python": "/usr/bin/python3",
            "paths": {"shared": "/shared"},
            "sbatch": {"time": 60},
            "kinds": {"train": {"time": 600, "nodes": 2, "ntasks_per_node": 4}},
            "requeue": 1,
        }
    )
    fits = job_like("train-fits", "train", seconds=8 * 20 * 3600.0)
    long = job_like("train-long", "train", seconds=8 * 21 * 3600.0)
    once = job_like("predict-long", "predict", seconds=1.5 * 3600.0)
    assert list(over_time_limit([fits], profile)) == []
    assert list(map(str, over_time_limit([fits, long, once], profile))) == [
        "train-long: expected to take 21.0 h in 8 processes (of the scale's processor), but may take 10.0 h 2 times\n"
        "  raise ntasks_per_node and gpus_per_node, time, or requeue in slurm/lab.toml for train jobs",
        "predict-long: expected to take 1.5 h in 1 process (of the scale's processor), but may take 1.0 h\n"
        "  raise time in slurm/lab.toml for predict jobs",
    ]


def test_maps_are_read_back(store: Store) -> None:
    submit(store)
    (found,) = read_submissions(store.root)
    assert found.tasks == {0: (KEY,), 1: (AFTER,)}
    assert found.job == "7"
    assert (found.map.requeue, found.map.setup, found.map.request) == (3, ["module load x"], {"mem": "2G"})
    assert json.loads((found.folder / "map.json").read_text())["schema"] == 1


def test_maps_of_other_times_are_read(store: Store) -> None:
    submit(store)
    path = store.root / ".slurm" / "sub" / "map.json"
    body = json.loads(path.read_text())
    write_json(path, {"schema": 1, "name": "sub", "kind": "train", "tasks": body["tasks"], "later": True})
    (found,) = read_submissions(store.root)
    assert (found.name, found.tasks, found.map.request) == ("sub", {0: (KEY,), 1: (AFTER,)}, {})
    write_json(path, {**body, "schema": 2})
    assert read_submissions(store.root) == []


@pytest.mark.parametrize(
    ("counts", "node", "processes"),
    [("1", "0", 1), ("4", "0", 4), ("2(x3)", "2", 2), ("2(x2),1", "1", 2), ("2(x2),1", "2", 1), ("3,1", "1", 1)],
)
def test_processes_of_a_node(counts: str, node: str, processes: int) -> None:
    assert local_size({"SLURM_STEP_TASKS_PER_NODE": counts, "SLURM_NODEID": node}) == processes


@pytest.mark.parametrize("rank_", [0, 1])
def test_fewer_gpus_than_processes_on_the_node(
    graph: Graph, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank_: int
) -> None:
    """Said with both numbers before anything is loaded, by the first process, and not tried again."""
    submit(store)
    write_json(store.root / ".slurm" / "sub" / "jobs.json", {KEY: to_json(graph.jobs[KEY])})
    given = {"SLURM_NTASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2", "CUDA_VISIBLE_DEVICES": "0"}
    for name, value in {**given, "SLURM_PROCID": str(rank_), "SLURM_LOCALID": str(rank_)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_GPUS_ON_NODE", raising=False)
    monkeypatch.setattr(node, "present_gpus", lambda: ("0", "1"))
    monkeypatch.setattr(node, "wait_for_path", lambda path, seconds: None)
    folder = store.root / ".slurm" / "sub"
    map = SubmissionMap("sub", "train", {0: [KEY]}, store=str(store.root))
    assert node.NodeTask(folder, map, [KEY], node.Signals()).run() == 1
    assert "GPUs are fewer than processes: 2 processes on this node, 1 GPU" in capsys.readouterr().err
    assert bool(store.failure(KEY)) == (rank_ == 0)
    if rank_ == 0:
        found = view(graph, store, {"sub_0": Row("7_0", "FAILED", node="n1")})
        assert (found.state, found.kind, found.again) == ("failed", "GPUs", False)
    # With a GPU for each the process takes its own.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7,9")
    node.take_device()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ("4", "7")[rank_]


def test_the_port_of_a_job_is_none_that_linux_gives_away() -> None:
    ports = {node.master_port({"SLURM_JOB_ID": str(job)}) for job in range(4_000_000, 4_001_000)}
    assert len(ports) == 1000
    assert all(20000 <= int(port) < 32768 for port in ports)
    # What the profile sets in [environment].
    assert node.master_port({"SLURM_JOB_ID": "7", "MASTER_PORT": "4711"}) == "4711"
