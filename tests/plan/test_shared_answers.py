"""Which answers of teachers are stored: by what is stored already, by what is left to do, and by what it saves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import ROOT, TABLE, Call
from filled_results import fill

from replicate.figures.load import load_with_figures
from replicate.figures.plan import with_figures
from replicate.jobs.answers import Answers
from replicate.jobs.job import Job, from_payload
from replicate.jobs.train import Train
from replicate.plan.answers import with_answers
from replicate.plan.cells import Plan, plan_tables
from replicate.plan.graph import Graph
from replicate.site.book import gather
from replicate.store.files import write_json
from replicate.store.store import Store

STUDENTS = [f"deit-{size}-224/{how}" for size in ("ti", "s", "b") for how in ("hard", "token")]
"""Of Table 3, those that learn from decisions of one teacher about one stream of images (at mini scale)."""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_tables(load_with_figures(ROOT / "tables", "mini"), [TABLE], (0,))


def answered(plan: Plan, store: Store) -> Graph:
    return with_answers(plan.graph, plan.specs, store)


def blocks(graph: Graph) -> list[Answers]:
    return [job for job in graph if isinstance(job, Answers)]


def student(graph: Graph, run: str) -> Job:
    (found,) = [job for job in graph if isinstance(job, Train) and job.run == run]
    return found


def finish(store: Store, plan: Plan, runs: Sequence[str]) -> None:
    for run in runs:
        fill(store, student(plan.graph, run))


def test_six_students_share_three_blocks_before_them(plan: Plan, tmp_path: Path) -> None:
    graph = answered(plan, Store(tmp_path))
    found = blocks(graph)
    assert [(block.first, block.epochs, block.size, block.run) for block in found] == [
        (first, 10, 32, "regnety-16gf") for first in (0, 10, 20)
    ]
    readers = [job for job in graph if graph.aids.get(job.key)]
    assert sorted(job.run for job in readers) == sorted(STUDENTS)
    order = list(graph.jobs)
    for job in readers:
        assert graph.aids[job.key] == tuple(block.key for block in found)
        assert graph.waits_for(job)[-3:] == graph.aids[job.key]
        assert max(map(order.index, graph.waits_for(job))) < order.index(job.key)
        assert graph.needed_for([job.key]).aids == {job.key: graph.aids[job.key]}
    # Those of soft distillation stay live, and two students at the larger size would save less than it costs.
    taught = {job.run for job in graph if isinstance(job, Train) and "teacher" in job.inputs}
    soft = {f"deit-{size}/soft" for size in ("ti-224", "s-224", "b-224", "b-384")}
    assert taught - {*STUDENTS} == soft | {"deit-b-384/hard", "deit-b-384/token"}


def test_nothing_but_the_order_and_the_cost_of_a_training_changes(plan: Plan, tmp_path: Path) -> None:
    graph = answered(plan, Store(tmp_path))
    for job in plan.graph:
        after = graph.jobs[job.key]
        assert (after.payload, after.inputs) == (job.payload, job.inputs)
        assert after.seconds == pytest.approx(
            job.seconds - (3.24 if job.run in STUDENTS and job.kind == "train" else 0)
        )
    assert len(graph) == len(plan.graph) + 3
    assert with_answers(graph, plan.specs, Store(tmp_path)) is graph


def test_the_key_is_that_of_a_job_read_from_its_folder(plan: Plan, tmp_path: Path) -> None:
    """A worker finds the answers by the job alone, without any spec."""
    job = student(plan.graph, "deit-b-224/token")
    read = from_payload(json.loads(json.dumps(job.payload)), job.key, job.run, job.seed)
    graph = answered(plan, Store(tmp_path))
    assert [aid.key for aid in read.aids().values()] == list(graph.aids[job.key])
    (first, *_) = read.aids().values()
    assert from_payload(json.loads(json.dumps(first.payload)), first.key, seed=first.seed) == first


def test_finished_students_ask_for_none(plan: Plan, tmp_path: Path) -> None:
    """A store of before is complete as it is."""
    store = Store(tmp_path)
    finish(store, plan, STUDENTS)
    assert answered(plan, store) is plan.graph


@pytest.mark.parametrize(("left", "count"), [(1, 0), (2, 0), (3, 3)])
def test_where_too_few_are_left_the_teacher_answers_live(plan: Plan, tmp_path: Path, left: int, count: int) -> None:
    """The second of two saves as much as making the images once more costs, and starting three jobs besides."""
    store = Store(tmp_path)
    finish(store, plan, STUDENTS[left:])
    assert len(blocks(answered(plan, store))) == count


def test_what_is_stored_is_read_and_shown_whoever_is_left(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    stored = blocks(answered(plan, store))[1]
    fill(store, stored)
    finish(store, plan, STUDENTS[1:])
    graph = answered(plan, store)
    assert blocks(graph) == [stored]
    assert graph.aids[student(graph, STUDENTS[0]).key] == (stored.key,)
    # Cut short it is as good as none: the one student that is left does without.
    path = store.folder(stored.key) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    again = Store(tmp_path)
    assert answered(plan, again) is plan.graph
    assert "cut short or edited" in again.damage[stored.key]


def test_a_damaged_block_is_made_again_where_that_pays(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    stored = blocks(answered(plan, store))[0]
    fill(store, stored)
    (store.folder(stored.key) / "model.safetensors").unlink()
    again = Store(tmp_path)
    assert stored in blocks(answered(plan, again))
    assert again.state(stored.key) == "damaged"


def test_a_block_that_failed_for_good_is_done_without(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second, third = blocks(answered(plan, store))
    write_json(store.prepare(second) / "failure.json", {"kind": "error", "message": "no", "retry": False})
    assert blocks(answered(plan, store)) == [first, third]
    write_json(store.folder(second.key) / "failure.json", {"kind": "error", "message": "no", "retry": True})
    assert blocks(answered(plan, store)) == [first, second, third]


def test_a_training_that_was_stopped_needs_no_answers_that_it_has_used(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for run in STUDENTS:
        folder = store.prepare(student(plan.graph, run))
        write_json(folder / "progress.json", {"epoch": 12, "epochs": 30, "step": 3, "steps": 24})
    assert [block.first for block in blocks(answered(plan, store))] == [10, 20]


def test_long_trainings_share_their_first_epochs_with_short_ones(tmp_path: Path) -> None:
    """Of the paper: Figure 3 trains B for 300, 500, 800 and 1000 epochs, and Table 5 S and Ti for 1000."""
    specs = load_with_figures(ROOT / "tables", "paper")
    plan = plan_tables(specs, specs.ordered, (0,))
    graph = with_answers(with_figures(plan), specs, Store(tmp_path))
    first = {job.run: graph.aids[job.key][:30] for job in graph if graph.aids.get(job.key) and job.size == 224}
    assert len(first["deit-b-224/hard"]) == len(first["deit-s-224/hard"]) == 30
    assert first["deit-b-224/hard"] == first["deit-b-224/token-1000"] == first["deit-b-224/token"]
    assert first["deit-s-224/hard"] == first["deit-ti-224/token-1000"] != first["deit-b-224/hard"]
    ten = [block for block in blocks(graph) if block.key in first["deit-b-224/hard"]]
    assert sum(block.megabytes(graph.jobs) for block in ten) == pytest.approx(770, abs=2)
    # Its teacher has no other student.
    assert "deit-b-224/token-regnety-4gf" not in first


def test_the_plan_says_what_it_saves(replicate: Call, tmp_path: Path) -> None:
    call = ("plan", "--scale", "paper", "--results", str(tmp_path))
    total = json.loads(replicate(*call, "--json").stdout)["total"]
    assert total["answers"]["saved_seconds"] / 3600 >= 3500
    assert total["answers"]["missing"] == 203
    text = replicate(*call).stdout
    said = "teachers' answers once for all students of the same images: 203 jobs store, "
    assert f"{said}3,550 h of one V100 less than live, 5.2 GB on disk" in text
    assert "saved" not in replicate("plan", "--id", "datasets", "--results", str(tmp_path)).stdout


def test_without_training_nothing_is_answered(replicate: Call, tmp_path: Path) -> None:
    found = replicate("plan", "--id", TABLE, "--no-train", "--json", "--results", str(tmp_path))
    assert "answers-" not in found.stdout


def test_status_and_the_site_have_a_line_for_each(replicate: Call, plan: Plan, tmp_path: Path) -> None:
    found = json.loads(replicate("status", "--id", TABLE, "--json", "--results", str(tmp_path)).stdout)
    assert sum(job["key"].startswith("answers-") for job in found["jobs"]) == 3
    store = Store(tmp_path)
    first, *others = blocks(answered(plan, store))
    fill(store, first)
    book = gather(plan, Store(tmp_path))
    assert {first.key, *(block.key for block in others)} < {*book.runs["regnety-16gf"]}
    facts = book.jobs[first.key]
    assert (facts.title, facts.state, facts.served) == ("Answers of a teacher, seed 0", "done", 16)
    assert ("images", "epochs 1 to 10 of seed 0, 32 pixels, fp32, fused attention") in [*first.describe(None)]
