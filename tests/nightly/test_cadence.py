"""What is due: by age, by what changed, by what is missing, and as far as the budget goes. Nothing is computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT
from filled_results import job_like

from replicate.actions.paper import open_paper
from replicate.backends.backend import Reporter
from replicate.jobs.job import Job
from replicate.nightly.agenda import HOUR, Agenda, AgendaInputs, agenda
from replicate.nightly.history import Checked, Nights
from replicate.nightly.night import Night, NightlyOptions
from replicate.nightly.snapshot import JobRecord
from replicate.plan.graph import Graph

NOW = 1_000_000.0
MADE = {"commit": "a" * 40, "dirty": False, "python": "3.11.7", "packages": {"timm": "1.0"}}


def graph() -> Graph:
    """A teacher, a student and a network alone; an evaluation of each but the teacher; a measurement."""
    found = Graph()
    found.add(job("data"))
    found.add(job("train", "teacher", "data", seconds=10 * HOUR))
    found.add(job("train", "student", "data", "train-teacher", seconds=5 * HOUR))
    found.add(job("train", "alone", "data", seconds=3 * HOUR))
    for name in ("student", "alone"):
        found.add(job("predict", name, "data", f"train-{name}", seconds=HOUR))
    found.add(job("measure", "alone", seconds=HOUR))
    return found


def job(kind: Any, name: str = "", *inputs: str, seconds: float = 1.0) -> Job:
    key = f"{kind}-{name}" if name else str(kind)
    return job_like(key, kind, {key: key for key in inputs}, run=name, seconds=seconds)


def circumstances(done: str = "", **changes: Any) -> AgendaInputs:
    """``done``: keys with a result of an hour ago, with blanks between."""
    states = changes.pop("states", {})
    keys = graph().jobs if done == "all" else done.split()
    usual = AgendaInputs(
        progress_of=lambda key: states.get(key, "done" if key in keys else "open"),
        begun=lambda key: False,
        past={},
        unfinished=(),
        made=MADE,
        checked={},
        written=lambda key: (MADE, NOW - HOUR),
        now=NOW,
        underway=frozenset(),
        chained=False,
    )
    return replace(usual, **changes)


def due(night: AgendaInputs, budget: float = 1000 * HOUR) -> Agenda:
    return agenda(graph(), night, budget)


def keys(found: list[Any]) -> list[str]:
    return [one.job.key for one in found]


def test_what_is_fresh_is_left_alone() -> None:
    found = due(circumstances("all"))
    assert (found.missing, found.again, found.over_budget, found.skipped, found.unfinished) == ([], [], [], [], [])


def test_evaluations_and_measurements_are_repeated_nightly_and_trainings_never() -> None:
    found = due(circumstances("all", written=lambda key: (MADE, NOW - 24 * HOUR)))
    assert keys(found.again) == ["measure-alone", "predict-alone", "predict-student"]
    assert found.missing == []
    # One that is being computed again already is not begun once more.
    underway = circumstances("all", written=lambda key: (MADE, 0.0), underway=frozenset({"predict-alone"}))
    assert keys(due(underway).again) == ["measure-alone", "predict-student"]


def test_what_a_later_look_found_unchanged_is_fresh() -> None:
    night = circumstances("all", written=lambda key: (MADE, 0.0))
    seen = {key: Checked(when=NOW - HOUR, asked=MADE) for key in ("predict-alone", "measure-alone")}
    assert keys(due(replace(night, checked=seen)).again) == ["predict-student"]
    assert len(due(replace(night, checked=seen, again=True)).again) == 3


AHEAD = NOW + 1000 * 24 * HOUR


def test_a_time_that_is_still_to_come_says_nothing() -> None:
    """A night with a clock years ahead noted it; until then no result would be compared any more."""
    fresh = circumstances("all")
    seen = {key: Checked(when=AHEAD, asked=MADE) for key in graph().jobs}
    assert due(replace(fresh, checked=seen)).again == []
    day_old = replace(fresh, written=lambda key: (MADE, NOW - 24 * HOUR), checked=seen)
    assert keys(due(day_old).again) == ["measure-alone", "predict-alone", "predict-student"]
    # The result itself is of that night: what was seen later counts.
    ahead = replace(fresh, written=lambda key: (MADE, AHEAD))
    found = due(ahead).again
    assert {one.reason for one in found} == {"last made or compared at a time that is still to come"}
    assert len(found) == 3
    seen = {key: Checked(when=NOW - HOUR, asked=MADE) for key in graph().jobs}
    assert due(replace(ahead, checked=seen)).again == []
    # The clock of a file server that is a little ahead.
    assert due(replace(fresh, written=lambda key: (MADE, NOW + 60))).again == []


def test_a_clock_of_1970_compares_everything_again() -> None:
    assert len(due(circumstances("all", now=60.0)).again) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"commit": "b" * 40}, "commit bbbbbbbbbbbb → aaaaaaaaaaaa"),
        ({"packages": {"timm": "1.1"}}, "timm 1.1 → 1.0"),
        ({"python": "3.12.0"}, "python 3.12.0 → 3.11.7"),
        ({"dirty": True}, "uncommitted code"),
    ],
)
def test_other_code_or_packages_come_first(change: dict[str, Any], reason: str) -> None:
    made = {"predict-student": MADE | change}
    night = circumstances("all", written=lambda key: (made.get(key, MADE), NOW - 30 * HOUR))
    first = due(night).again[0]
    assert (first.job.key, first.reason) == ("predict-student", f"changed since: {reason}")


def test_no_training_begins_by_itself() -> None:
    found = due(circumstances("data"))
    assert keys(found.missing) == ["measure-alone"]
    assert [job.key for job in found.skipped] == ["train-teacher", "train-student", "train-alone"]
    found = due(circumstances("data", train=True))
    assert set(keys(found.missing)) == set(graph().jobs) - {"data"}
    assert found.skipped == []


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"begun": lambda key: key == "train-student"}, "begun earlier"),
        ({"unfinished": ("train-student",)}, "its recipe changed"),
        (
            {"past": {"train-old": JobRecord(kind="train", run="student", seed=0, state="done")}},
            "its recipe changed",
        ),
    ],
)
def test_a_training_that_was_begun_or_changed_goes_on_with_its_teacher(how: Any, reason: str) -> None:
    found = due(circumstances("data", **how))
    assert set(keys(found.missing)) == {"measure-alone", "train-teacher", "train-student", "predict-student"}
    assert reason in {one.reason for one in found.missing}
    assert found.unfinished == ["train-teacher", "train-student"]
    assert [job.key for job in found.skipped] == ["train-alone"]


def test_a_run_that_was_not_trained_before_is_not_taken_for_changed() -> None:
    past = {"train-old": JobRecord(kind="train", run="student", seed=0, state="pending")}
    assert due(circumstances("data", past=past)).unfinished == []


def test_published_weights_are_read_for_what_evaluates_them_and_never_again() -> None:
    found = Graph()
    for one in (job("data"), job("weights", "student"), job("predict", "student", "data", "weights-student")):
        found.add(one)
    night = circumstances("data")
    assert keys(agenda(found, night, HOUR).missing) == ["weights-student", "predict-student"]
    later = circumstances("data weights-student predict-student", written=lambda key: (MADE, NOW - 24 * HOUR))
    assert keys(agenda(found, later, HOUR).again) == ["predict-student"]


def test_a_data_set_is_computed_where_a_cell_reads_it_and_no_job_does() -> None:
    """Table 6 prints the sizes of data sets that nothing here is trained on."""
    found = due(circumstances(read=frozenset({"data"})))
    assert keys(found.missing) == ["data", "measure-alone"]
    assert keys(due(circumstances()).missing) == ["measure-alone"]
    assert keys(due(circumstances("all", read=frozenset({"data"}), written=lambda key: (MADE, NOW - HOUR))).again) == []


def test_a_night_makes_the_corrected_labels_of_the_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = open_paper(ROOT / "tables", results=tmp_path / "results", out=tmp_path / "out")
    store = paper.store()
    night = Night(paper, NightlyOptions(budget=24, run=False), store, Nights(store.root, "mini"), Reporter())
    monkeypatch.setattr(night, "_finish", list)
    monkeypatch.setattr(night, "_write_files", lambda tables: None)
    assert any(key.startswith("data-real-") for key in keys(night.run().agenda.over_budget))


def test_the_budget_lists_what_it_leaves() -> None:
    found = due(circumstances("data", train=True), 6 * HOUR)
    # The measurement and the small network fit; the student only together with its teacher.
    assert keys(found.missing) == ["measure-alone", "train-alone", "predict-alone"]
    assert {one.job.key: one.seconds / HOUR for one in found.over_budget} == {
        "train-teacher": 10,
        "train-student": 15,
        "predict-student": 16,
    }
    assert found.seconds == 5 * HOUR
    assert set(found.unfinished) == {"train-teacher", "train-student", "train-alone"}


def test_what_failed_for_good_and_what_others_compute_is_not_waited_for() -> None:
    stuck = circumstances("data", states={"train-teacher": "stuck"}, train=True)
    assert set(keys(due(stuck).missing)) == {"measure-alone", "train-alone", "predict-alone"}
    busy = circumstances("data train-teacher train-student", states={"train-alone": "busy"}, train=True)
    assert keys(due(busy).missing) == ["predict-student", "measure-alone"]
    # On a cluster it can be queued behind them.
    assert "predict-alone" in keys(due(replace(busy, chained=True)).missing)


def with_answers() -> Graph:
    """The answers of the teacher, before its student."""
    found, answers = graph(), job("answers", "a", "data", "train-teacher", seconds=2 * HOUR)
    jobs: dict[str, Job] = {}
    for one in found:
        jobs |= {answers.key: answers, one.key: one} if one.key == "train-student" else {one.key: one}
    return Graph(jobs, {"train-student": (answers.key,)})


def test_answers_of_a_teacher_are_due_with_its_students_alone() -> None:
    ready = "data train-teacher train-alone predict-alone measure-alone"
    found = agenda(with_answers(), circumstances(ready), 1000 * HOUR)
    assert found.missing == []
    found = agenda(with_answers(), circumstances(ready, train=True), 1000 * HOUR)
    assert keys(found.missing) == ["answers-a", "train-student", "predict-student"]
    assert found.hours == 8
    # They are no number, so they are never compared with others.
    old = circumstances(f"{ready} answers-a", written=lambda key: (MADE, NOW - 1000 * HOUR))
    assert "answers-a" not in keys(agenda(with_answers(), old, 1000 * HOUR).again)
    stuck = circumstances(ready, train=True, states={"answers-a": "stuck"})
    assert keys(agenda(with_answers(), stuck, 1000 * HOUR).missing) == ["train-student", "predict-student"]
