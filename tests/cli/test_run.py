"""``run``: what it says of jobs, and whether one that is redone comes out again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Call
from filled_results import fill
from test_explain import MADE, MEASURED, RATIO, finish, plan_all

from replicate.backends import local
from replicate.backends.backend import RunReport
from replicate.backends.local import Local
from replicate.jobs.job import Job
from replicate.specs.cell import CellRef
from replicate.store import lease
from replicate.store.store import FAILURE, Store


@pytest.fixture
def job() -> Job:
    return plan_all().cell(CellRef("model_variants", "deit_b", "throughput")).jobs[0]


def computed(monkeypatch: pytest.MonkeyPatch, compute: Callable[[Store], RunReport]) -> None:
    """Let ``compute``, which is given the store beside the store, stand for the workers."""
    monkeypatch.setattr(Local, "rerun", lambda self, graph, store, names, wait: compute(store))


def redone(monkeypatch: pytest.MonkeyPatch, job: Job, summary: dict[str, Any]) -> None:
    """Instead of running ``job`` leave another timing of it."""

    def rewritten(store: Store) -> RunReport:
        finish(store, job, summary, "measure.json", summary | {"windows": [1, 2]})
        return RunReport(done=[job.key])

    computed(monkeypatch, rewritten)


@pytest.fixture
def stored(job: Job, tmp_path: Path) -> Callable[[], bytes | None]:
    """A finished measurement; call it for the bytes of its result."""
    store = Store(tmp_path)
    finish(store, job, MEASURED, "measure.json", MEASURED)
    path = store.folder(job.key) / "result.json"
    return lambda: path.read_bytes() if path.exists() else None


@pytest.mark.parametrize(
    ("ratio", "code", "said"),
    [
        (RATIO | {"steady": True}, 0, "timed anew: +0.0% relative to the reference network (±9.2% allowed)"),
        (RATIO, 0, "timed anew: unsteady, not compared (+0.0%)"),
        (RATIO | {"steady": True, "median": 1.4}, 1, "DIFFERENT: +38.6% relative to the reference network"),
    ],
)
def test_a_measurement_is_compared_by_its_ratio(
    replicate: Call,
    monkeypatch: pytest.MonkeyPatch,
    job: Job,
    tmp_path: Path,
    ratio: dict[str, Any],
    code: int,
    said: str,
) -> None:
    old = MEASURED | {"ratio": RATIO | {"steady": True}}
    finish(Store(tmp_path), job, old, "measure.json", old)
    redone(monkeypatch, job, MEASURED | {"ratio": ratio})
    done = replicate("run", job.key, "--again", "--results", str(tmp_path))
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith(f"{job.key}: {said}")


def test_json_says_how_it_was_compared(
    replicate: Call, monkeypatch: pytest.MonkeyPatch, job: Job, tmp_path: Path
) -> None:
    finish(Store(tmp_path), job, MEASURED, "measure.json", MEASURED)
    redone(monkeypatch, job, MEASURED | {"parameters": 1})
    done = replicate("run", job.key, "--again", "--results", str(tmp_path), "--json")
    assert done.returncode == 1
    one = json.loads(done.stdout)["compared"][job.key]
    assert (one["outcome"], one["detail"]) == ("moved", "parameters: 356938 → 1")
    assert MADE["dirty"]
    assert one["cause"] == ["uncommitted code"]


def test_a_job_that_is_done_is_said_to_be(replicate: Call, tmp_path: Path) -> None:
    (job,) = plan_all().cell(CellRef("datasets", "imagenet", "train")).jobs
    fill(Store(tmp_path), job)
    done = replicate("run", job.key, "--results", str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{job.key}: done\n", "")


def test_nothing_is_announced_where_only_failures_are_left(replicate: Call, job: Job, tmp_path: Path) -> None:
    folder = Store(tmp_path).prepare(job)
    (folder / FAILURE).write_text(json.dumps({"kind": "diverged", "message": "a loss", "retry": False}))
    done = replicate("run", job.key, "--results", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"failed: {job.key}: diverged: a loss\n  log: ")


def test_a_repetition_takes_the_place_and_the_old_result_is_kept(
    replicate: Call, monkeypatch: pytest.MonkeyPatch, job: Job, tmp_path: Path, stored: Callable[[], bytes | None]
) -> None:
    old = stored()
    redone(monkeypatch, job, MEASURED)
    done = replicate("run", job.key, "--again", "--results", str(tmp_path), "--json")
    assert done.returncode == 0
    aside = json.loads(done.stdout)["compared"][job.key]["aside"]
    assert (tmp_path / aside / "result.json").read_bytes() == old != stored()
    assert not list((tmp_path / ".again").glob("*/measure-*"))


def test_a_call_that_was_killed_before_the_new_result_was_in_its_place(
    replicate: Call, monkeypatch: pytest.MonkeyPatch, job: Job, tmp_path: Path, stored: Callable[[], bytes | None]
) -> None:
    """The result is found where it was computed, and nothing is computed for it."""
    (tmp_path / ".again" / "mini").mkdir(parents=True)
    (tmp_path / job.key).rename(tmp_path / ".again" / "mini" / job.key)
    monkeypatch.setattr(local, "find_spec", lambda name: None)
    assert stored() is None
    done = replicate("run", job.key, "--again", "--results", str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{job.key}: done\n", "")
    assert stored() is not None


def test_what_cannot_be_redone_here_keeps_its_result(
    replicate: Call, monkeypatch: pytest.MonkeyPatch, job: Job, tmp_path: Path, stored: Callable[[], bytes | None]
) -> None:
    old = stored()
    monkeypatch.setattr(local, "find_spec", lambda name: None)
    for _ in range(2):
        done = replicate("run", job.key, "--again", "--results", str(tmp_path))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: cannot train: torch, ")
        assert stored() == old


def test_ctrl_c_keeps_the_result(
    replicate: Call, monkeypatch: pytest.MonkeyPatch, job: Job, tmp_path: Path, stored: Callable[[], bytes | None]
) -> None:
    def stopped(store: Store) -> RunReport:
        raise KeyboardInterrupt

    old = stored()
    computed(monkeypatch, stopped)
    done = replicate("run", job.key, "--again", "--results", str(tmp_path))
    assert (done.returncode, stored()) == (130, old)
    redone(monkeypatch, job, MEASURED | {"parameters": 1})
    done = replicate("run", job.key, "--again", "--results", str(tmp_path))
    assert done.returncode == 1, "the next call compares"
    assert done.stdout.startswith(f"{job.key}: DIFFERENT: parameters: 356938 → 1")


def test_a_repetition_that_fails_keeps_the_result_and_names_its_own_log(
    replicate: Call, monkeypatch: pytest.MonkeyPatch, job: Job, tmp_path: Path, stored: Callable[[], bytes | None]
) -> None:
    old = stored()
    computed(monkeypatch, lambda store: RunReport(failed={job.key: "error: no batch fits"}))
    done = replicate("run", job.key, "--again", "--results", str(tmp_path))
    assert (done.returncode, stored()) == (1, old)
    assert done.stdout.startswith(f"{job.key}: NOT COMPARED, its result is as it was: computed again, it failed: ")
    assert done.stderr.startswith(f"failed: {job.key}: computed again: error: no batch fits\n  log: ")
    assert f"/.again/mini/{job.key}/log.txt" in done.stderr


@pytest.mark.parametrize("busy", [False, True])
def test_what_was_not_compared_is_not_called_done(
    replicate: Call,
    monkeypatch: pytest.MonkeyPatch,
    job: Job,
    tmp_path: Path,
    stored: Callable[[], bytes | None],
    busy: bool,
) -> None:
    """It waits in a queue, or another process is at work where the new result would go."""
    old = stored()
    if busy:
        redone(monkeypatch, job, MEASURED)
        assert lease.acquire(tmp_path / job.key)
    else:
        computed(monkeypatch, lambda store: RunReport())
    done = replicate("run", job.key, "--again", "--results", str(tmp_path))
    assert (done.returncode, done.stderr, stored()) == (3, "", old)
    assert "NOT COMPARED" in done.stdout
    done = replicate("run", job.key, "--again", "--results", str(tmp_path), "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["compared"][job.key]["outcome"] == "not compared"
