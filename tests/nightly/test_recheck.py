"""A repeated result beside the stored one: what counts as the same, and what becomes of both. Nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filled_results import fill, job_like, plan_of

from replicate.nightly.history import Nights
from replicate.nightly.recheck import Rechecks, compared
from replicate.store import lease
from replicate.store.result import Result, commit_result
from replicate.store.store import Store

MADE = {"commit": "a" * 40}
GRAPH = plan_of().graph
PREDICT = next(job for job in GRAPH if job.kind == "predict")
MEASURE = job_like("measure-x", "measure")


@pytest.fixture
def rechecks(results: Path) -> Rechecks:
    found = Rechecks(Store(results), Nights(results, "mini").again)
    graph = found.begin(GRAPH, [PREDICT.key], MADE)
    # Its inputs are there as they are in the store; nothing else is.
    assert {job.key for job in graph} == {PREDICT.key, *PREDICT.inputs.values()}
    assert {found.again.state(key) for key in PREDICT.inputs.values()} == {"done"}
    assert found.again.state(PREDICT.key) == "absent"
    return found


def answer(rechecks: Rechecks, other: bool) -> None:
    """The repeated result arrives."""
    again = rechecks.again
    fill(again, PREDICT)
    if other:
        folder = again.folder(PREDICT.key)
        np.savez(folder / "decisions.npz", labels=np.zeros(3, np.int16))
        commit_result(folder, PREDICT.key, ["decisions.npz"], {}, {"wall_seconds": 1.0}, MADE)


def written(rechecks: Rechecks) -> tuple[int, int]:
    """Tells whether the stored result was touched."""
    stat = (rechecks.store.folder(PREDICT.key) / "result.json").stat()
    return stat.st_ino, stat.st_mtime_ns


def test_the_same_bytes_change_nothing(rechecks: Rechecks) -> None:
    before = written(rechecks)
    answer(rechecks, other=False)
    assert rechecks.waiting(GRAPH) == [PREDICT.key]
    found, asked = rechecks.settle(GRAPH, [PREDICT.key])
    assert [one.outcome for one in found] == ["same"]
    assert asked == {PREDICT.key: MADE}
    assert written(rechecks) == before
    assert rechecks.waiting(GRAPH) == []
    assert not (rechecks.store.root / ".aside").exists()


def test_other_bytes_take_the_place_and_the_old_are_kept(rechecks: Rechecks) -> None:
    old = (rechecks.store.folder(PREDICT.key) / "decisions.npz").read_bytes()
    answer(rechecks, other=True)
    ((one,), _) = rechecks.settle(GRAPH, [PREDICT.key])
    assert (one.outcome, one.detail) == ("moved", "other bytes in decisions.npz")
    assert one.commits == ("unknown", "a" * 40)
    assert (rechecks.store.root / one.aside / "decisions.npz").read_bytes() == old
    result = rechecks.store.result(PREDICT.key)
    assert result is not None
    assert result.provenance == MADE
    assert not list(result.folder.glob(".asked*"))
    assert not list(result.folder.glob(".retried"))


def test_where_somebody_is_at_work_nothing_is_replaced(rechecks: Rechecks) -> None:
    """The comparison is made by a later night."""
    answer(rechecks, other=True)
    folder = rechecks.store.folder(PREDICT.key)
    assert lease.acquire(folder)
    assert rechecks.settle(GRAPH, [PREDICT.key]) == ([], {})
    lease.release(folder)
    assert [one.outcome for one in rechecks.settle(GRAPH, rechecks.waiting(GRAPH))[0]] == ["moved"]


def test_without_its_inputs_a_job_is_not_repeated(results: Path) -> None:
    rechecks = Rechecks(Store(results), results / "again")
    (results / PREDICT.inputs["network"] / "result.json").unlink()
    assert len(rechecks.begin(GRAPH, [PREDICT.key], MADE)) == 0


def test_what_no_table_needs_any_more_is_dropped(rechecks: Rechecks) -> None:
    other = plan_of("paper").graph
    assert rechecks.waiting(other) == []
    assert (rechecks.folder / PREDICT.key).exists(), "who only asks changes nothing"
    rechecks.drop(other)
    assert not (rechecks.folder / PREDICT.key).exists()


def test_a_night_of_another_world_drops_nothing_of_this_one(rechecks: Rechecks) -> None:
    """Published weights are evaluated at the same scale, in the same store."""
    Rechecks(rechecks.store, Nights(rechecks.store.root, "mini-released").again).drop(plan_of("paper").graph)
    assert (rechecks.folder / PREDICT.key / "job.json").exists()


def measured(median: float, half: float = 1.0, steady: bool = True, **changes: Any) -> Result:
    ratio = {"median": median, "low": median, "high": median, "half_width_percent": half, "steady": steady}
    summary = {"images_per_second": 100 * median, "ratio": ratio, "parameters": 5, "architecture": {}, "device": "cpu"}
    summary |= changes
    return Result("measure-x", Path(), summary, {"measure.json": json.dumps(summary)}, {}, {})


@pytest.mark.parametrize(
    ("new", "outcome", "detail"),
    [
        (measured(1.04), "within", "+4.0% relative to the reference network (±5.0% allowed)"),
        (measured(0.9), "moved", "-10.0% relative to the reference network (±5.0% allowed)"),
        (measured(0.9, half=12.0), "within", "-10.0% relative to the reference network (±13.0% allowed)"),
        (measured(0.5, steady=False), "within", "unsteady, not compared (-50.0%)"),
        (measured(0.5, device="another"), "within", "measured on another device, not compared: cpu, another"),
        (measured(1.0, parameters=6), "moved", "parameters: 5 → 6"),
        (measured(1.0, ratio=None, images_per_second=90.0), "moved", "images/s -10.0% (±5% allowed)"),
    ],
)
def test_timings_agree_within_their_intervals(new: Result, outcome: str, detail: str) -> None:
    one = compared(MEASURE, measured(1.0), new)
    assert (one.outcome, one.detail) == (outcome, detail)
