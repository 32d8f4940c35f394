"""``run``: what it says of jobs, and whether one that is redone comes out again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Call
from filled_results import fill
from test_explain import MADE, MEASURED, RATIO, finish, plan_all

from replicate.actions import run_missing
from replicate.backends.backend import RunReport
from replicate.jobs.job import Job
from replicate.specs.cell import CellRef
from replicate.store.store import FAILURE, Store


@pytest.fixture
def job() -> Job:
    return plan_all().cell(CellRef("model_variants", "deit_b", "throughput")).jobs[0]


def redone(monkeypatch: pytest.MonkeyPatch, job: Job, summary: dict[str, Any]) -> None:
    """Instead of running ``job`` leave another timing of it."""

    def rewritten(workspace: Any, graph: Any, store: Store, *_: Any, **__: Any) -> RunReport:
        finish(store, job, summary, "measure.json", summary | {"windows": [1, 2]})
        return RunReport(done=[job.key])

    monkeypatch.setattr(run_missing, "run_missing", rewritten)


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
