"""Which job starts on which GPUs, and how many of them a training spreads over."""

from __future__ import annotations

import pytest
from command_line import ROOT
from filled_results import job_like

from replicate.backends.schedule import Candidate, Running, Start, assign, unsplittable, wider
from replicate.errors import UserError
from replicate.plan.cells import plan_tables
from replicate.specs.load import load

FOUR = ("0", "1", "2", "3")
POWERS = (1, 2, 4)


def placed(starts: list[Start]) -> dict[str, str]:
    return {start.key: "".join(device or "-" for device in start.devices) for start in starts}


@pytest.mark.parametrize(
    ("counts", "used", "places", "starts"),
    [
        # As many jobs as GPUs, or more: one each, the most urgent first.
        ({"a": POWERS, "b": POWERS, "c": POWERS, "d": POWERS}, "", 4, {"a": "0", "b": "1", "c": "2", "d": "3"}),
        ({"a": (1,), "b": (1,), "c": (1,)}, "02", 4, {"a": "1", "b": "3"}),
        # Fewer trainings: those that start share what is idle, as far as their batches divide.
        ({"a": POWERS}, "", 4, {"a": "0123"}),
        ({"a": POWERS}, "1", 4, {"a": "02"}),
        ({"a": POWERS, "b": POWERS}, "", 4, {"a": "02", "b": "13"}),
        ({"a": POWERS, "b": POWERS, "c": POWERS}, "", 4, {"a": "03", "b": "1", "c": "2"}),
        ({"a": (1, 3), "b": POWERS}, "", 4, {"a": "023", "b": "1"}),
        ({"a": (1,), "b": POWERS}, "", 4, {"a": "0", "b": "12"}),
        ({"a": (1,)}, "", 4, {"a": "0"}),
        # No more processes than were asked for, spread or not.
        ({"a": POWERS}, "", 2, {"a": "01"}),
        ({"a": POWERS, "b": POWERS, "c": POWERS}, "", 2, {"a": "0", "b": "1"}),
        # More jobs than GPUs at once, if the user says so: the least used GPU.
        ({"a": (1,), "b": (1,)}, "01230", 7, {"a": "1", "b": "2"}),
        # A number of ranks that was asked for is kept to; what fits beside a waiting training goes first.
        ({"a": (3,), "b": (3,), "c": (1,)}, "", 4, {"a": "012", "c": "3"}),
        ({"a": (3,), "b": (1,)}, "01", 4, {"b": "2"}),
        ({"a": (4,)}, "", 2, {"a": "0123"}),
        ({}, "", 4, {}),
        ({"a": (1,)}, "0123", 4, {}),
    ],
)  # fmt: skip
def test_assignments(counts: dict[str, tuple[int, ...]], used: str, places: int, starts: dict[str, str]) -> None:
    candidates = [Candidate(key, given) for key, given in counts.items()]
    assert placed(assign(candidates, FOUR, [*used], places)) == starts


def test_one_gpu_each_while_others_are_about_to_be_ready() -> None:
    assert placed(assign([Candidate("a", POWERS)], FOUR, [], 4, spread=False)) == {"a": "0"}


def test_processes_of_a_cpu() -> None:
    """All compute on the one device without a name; places are cores."""
    none = ("",)
    assert [len(start.devices) for start in assign([Candidate("a", (2,)), Candidate("b", (2,))], none, [], 4)] == [2, 2]
    assert [start.key for start in assign([Candidate("a", (4,)), Candidate("b")], none, [], 2)] == ["a"]
    assert assign([Candidate("a", (2,))], none, [""], 2) == []
    assert assign([Candidate("a", (2,))], (), [], 2) == [Start("a", (None, None))]


@pytest.mark.parametrize(
    ("running", "key"),
    [
        ([("a", POWERS, "0", 9000.0)], "a"),
        ([("a", POWERS, "0", 9000.0), ("b", POWERS, "1", 9001.0)], "b"),
        # Nearly done, of a batch that does not divide, or on all that there is.
        ([("a", POWERS, "0", 90.0)], None),
        ([("a", (1,), "0", 9000.0)], None),
        ([("a", POWERS, "0123", 9000.0)], None),
        ([("a", (2, 4), "01", 9000.0), ("b", (1,), "2", 9000.0)], None),
        ([], None),
    ],
)
def test_a_training_goes_on_over_idle_gpus(
    running: list[tuple[str, tuple[int, ...], str, float]], key: str | None
) -> None:
    jobs = [Running(name, counts, tuple(devices), seconds) for name, counts, devices, seconds in running]
    assert wider(jobs, FOUR, 4) == key
    assert wider(jobs, FOUR, sum(len(job.devices) for job in jobs)) is None


def test_the_processes_that_the_papers_trainings_can_be_shared_by() -> None:
    graph = plan_tables(load(ROOT / "tables", "paper"), ["distillation_ablation", "augmentation_ablation"], (0,)).graph
    trainings = [job for job in graph if job.kind == "train"]
    assert {job.process_counts(8) for job in trainings} == {(1, 2, 4, 8), (1, 2, 4), (1,)}
    # Dropout draws from a seed of the process.
    assert {job.recipe.dropout > 0 for job in trainings if job.process_counts(8) == (1,)} == {True}  # type: ignore[attr-defined]
    assert job_like("measure-x", "measure").process_counts(8) == (1,)


def test_a_teacher_whose_statistics_would_be_torn_is_found_before_anything_starts() -> None:
    graph = plan_tables(load(ROOT / "tables", "mini"), ["distillation_ablation"], (0,)).graph
    wrong = unsplittable([job for job in graph if job.shared], lambda _: 2)
    (((kind, message), keys),) = wrong.items()
    assert kind == "train"
    assert all(graph.jobs[key].run.startswith("regnety-16gf") for key in keys)
    assert message.startswith("recipe.mix_batch does not divide")
    with pytest.raises(UserError, match="BatchNorm takes its statistics from so many images"):
        graph.jobs[keys[0]].check_processes(2)
