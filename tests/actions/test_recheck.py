"""A repeated result beside the stored one: what counts as the same, and what becomes of both. Nothing is trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filled_results import fill, job_like, plan_of

from replicate.actions.recheck import Rechecks, compared
from replicate.nightly.history import Nights
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


NETWORK = GRAPH.jobs[PREDICT.inputs["network"]]


@pytest.mark.parametrize("keys", [(NETWORK.key, PREDICT.key), (PREDICT.key, NETWORK.key)])
def test_a_job_and_its_input_are_both_repeated(results: Path, keys: tuple[str, str]) -> None:
    """Nothing is written through the link to an input, and what reads a repeated input waits for it."""
    rechecks = Rechecks(Store(results), results / "again")
    before = {path.name for path in (results / NETWORK.key).iterdir()}
    begun = rechecks.begin(GRAPH, keys, MADE)
    assert begun.jobs[PREDICT.key].inputs == PREDICT.inputs
    assert {rechecks.again.state(key) for key in keys} == {"absent"}
    assert {path.name for path in (results / NETWORK.key).iterdir()} == before
    for key in keys:
        fill(rechecks.again, GRAPH.jobs[key])
    found, _ = rechecks.settle(GRAPH, keys)
    assert [(one.key, one.outcome) for one in found] == [(key, "same") for key in keys]


def test_an_input_can_be_repeated_after_what_reads_it_was_begun(rechecks: Rechecks) -> None:
    begun = rechecks.begin(GRAPH, [NETWORK.key], MADE)
    assert rechecks.again.state(NETWORK.key) == "absent"
    assert rechecks.store.state(NETWORK.key) == "done"
    assert not list(rechecks.store.folder(NETWORK.key).glob(".asked*"))
    fill(rechecks.again, NETWORK)
    assert [one.outcome for one in rechecks.settle(begun, [NETWORK.key])[0]] == ["same"]
    # What waits in a queue still finds it.
    assert rechecks.again.state(NETWORK.key) == "done"


def test_an_input_that_a_running_repetition_reads_is_left_alone(rechecks: Rechecks) -> None:
    folder = rechecks.folder / PREDICT.key
    assert lease.acquire(folder)
    assert len(rechecks.begin(GRAPH, [NETWORK.key], MADE)) == 0
    assert rechecks.again.state(NETWORK.key) == "done"
    lease.release(folder)


def test_a_repetition_in_progress_is_not_taken_for_an_input(results: Path) -> None:
    rechecks = Rechecks(Store(results), results / "again")
    rechecks.begin(GRAPH, [NETWORK.key], MADE)
    (rechecks.folder / NETWORK.key / "checkpoint-1.safetensors").touch()
    begun = rechecks.begin(GRAPH, [PREDICT.key], MADE)
    assert {NETWORK.key, PREDICT.key} <= set(begun.jobs)
    assert (rechecks.folder / NETWORK.key / "checkpoint-1.safetensors").exists()


@pytest.mark.parametrize(("digest", "kept"), [("a", True), ("b", False)])
def test_what_other_code_left_unfinished_is_begun_anew(results: Path, digest: str, kept: bool) -> None:
    """Else an edit would be compared that was never run."""
    rechecks = Rechecks(Store(results), results / "again", always=True)
    rechecks.begin(GRAPH, [PREDICT.key], {"code_digest": "a"})
    fill(rechecks.again, PREDICT)
    rechecks.begin(GRAPH, [PREDICT.key], {"code_digest": digest})
    assert (rechecks.again.state(PREDICT.key) == "done") is kept
    assert rechecks.waiting(GRAPH) == [PREDICT.key]


def test_the_old_result_is_put_back_where_the_new_one_cannot_take_its_place(
    rechecks: Rechecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(rechecks, other=True)
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if rechecks.folder in self.parents and target.parent == rechecks.store.root:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    before = written(rechecks)
    assert rechecks.settle(GRAPH, [PREDICT.key]) == ([], {})
    assert rechecks.store.state(PREDICT.key) == "done"
    assert written(rechecks) == before
    assert list((rechecks.store.root / ".aside").iterdir()) == []
    monkeypatch.undo()
    found, asked = rechecks.settle(GRAPH, [PREDICT.key])
    assert ([one.outcome for one in found], asked) == (["moved"], {PREDICT.key: MADE})


def test_what_moved_is_said_by_how_much() -> None:
    old = Result(PREDICT.key, Path(), {"images": 9, "correct": {"class": 5, "both": 4}}, {"a": "1"}, {}, {})
    new = replace(old, summary={"images": 9, "correct": {"class": 7, "both": 4}}, files={"a": "2"})
    assert compared(PREDICT, old, new).detail == "other bytes in a; correct class 5 → 7"


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
