"""Keys name what a job computes. Published ones never move by themselves."""

from __future__ import annotations

import json
import os
import pickle
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from command_line import ROOT
from filled_results import example, plan_of
from hypothesis import given
from hypothesis import strategies as st

from replicate.errors import StoreFault
from replicate.figures.load import load_with_figures
from replicate.figures.plan import with_figures
from replicate.jobs.job import Job, from_json, from_payload, to_json
from replicate.jobs.key import Texts, canonical, key_of, without_neutral
from replicate.jobs.train import Train
from replicate.plan.cells import plan_tables

RELEASED = "paper, released"
WORLDS = {"mini": False, "mini-digits": False, "paper": False, RELEASED: True}
"""Every combination of a scale and published weights that has stored results, and whether it reads those weights."""

GOLDEN = ROOT / "tests" / "golden" / "keys.json"

WHAT_TO_DO = """these keys moved, so results that people have would be computed again.
- If the engine now computes something else for the same payload: raise the version of the kind in its module
  of replicate/jobs, and say so in CHANGELOG.md.
- If a field was added: give its old meaning a value in the kind's neutral fields, and no key moves.
- If a recipe or a scale was meant to change: say so in CHANGELOG.md.
Then write the keys anew: UPDATE_GOLDEN=1 python -m pytest tests/plan"""

Digits = dict[str, dict[str, list[str]]]
"""World to job (its key without the digits) to the digits of all jobs of that name: ablations share one."""


def label_of(key: str) -> str:
    return key.rpartition("-")[0]


def every_key() -> Digits:
    """The keys of all jobs of all tables and figures."""
    worlds: Digits = {}
    for world, released in WORLDS.items():
        specs = load_with_figures(ROOT / "tables", world.split(",")[0], released)
        jobs = with_figures(plan_tables(specs, specs.ordered, (0,))).jobs
        digits: dict[str, list[str]] = {}
        for key in sorted(jobs):
            digits.setdefault(label_of(key), []).append(key.rpartition("-")[2])
        worlds[world] = digits
    return worlds


def test_published_keys_stay() -> None:
    now = every_key()
    if os.environ.get("UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(written_out(now))
    before = json.loads(GOLDEN.read_text())
    moved = [
        f"{world}: {job}: {', '.join(gone)}"
        for world, digits in before.items()
        for job, values in digits.items()
        if (gone := sorted(set(values) - set(now.get(world, {}).get(job, []))))
    ]
    assert not moved, "\n".join([WHAT_TO_DO, *moved])
    assert now == before, "keys that are not published yet: UPDATE_GOLDEN=1 python -m pytest tests/plan"


def written_out(worlds: Digits) -> str:
    """JSON with a job a line, so that a difference names the job."""
    parts = []
    for world, digits in worlds.items():
        lines = ",\n".join(f"  {json.dumps(job)}: {json.dumps(values)}" for job, values in digits.items())
        parts.append(f" {json.dumps(world)}: {{\n{lines}\n }}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def test_all_jobs_are_published() -> None:
    """A golden file that lost jobs would hold the rest only."""
    golden = json.loads(GOLDEN.read_text())
    counts = {world: sum(map(len, digits.values())) for world, digits in golden.items()}
    assert counts == {"mini": 292, "mini-digits": 292, "paper": 299, RELEASED: 300}


def test_table_3_needs_these_jobs() -> None:
    """Twelve students, four fine-tunings, the teacher and its fine-tuning; decisions of each; the images."""
    # Image folders are listed twice: to train, and to evaluate, for which nobody needs the training images.
    counts = {"mini": (1, 0, 18), "mini-digits": (1, 0, 18), "paper": (2, 0, 18), RELEASED: (2, 8, 10)}
    for world, released in WORLDS.items():
        keys = sorted(plan_of(world.split(",")[0], released=released).graph.jobs)
        data, weights, trainings = counts[world]
        kinds = Counter(key.split("-")[0] for key in keys)
        made = (kinds["data"], kinds["weights"], kinds["train"], kinds["predict"])
        assert made == (data, weights, trainings, 18), world
        assert kinds.total() == len(keys) == data + 36
        assert len({label_of(key) for key in keys}) == len(keys)


def test_published_weights_have_no_seed() -> None:
    """So that every seed of what is trained from them finds the same."""
    first, second = plan_of("paper", (0,), released=True), plan_of("paper", (7,), released=True)
    untrained = {key for key, job in first.graph.jobs.items() if job.kind == "weights"}
    assert untrained <= set(second.graph.jobs)
    read = [job.key for job in first.graph if job.kind == "predict" and job.inputs["network"] in untrained]
    assert len(read) == len(untrained) == 8
    assert set(read) <= set(second.graph.jobs)
    students = [job for job in second.graph if job.kind == "predict" and not job.run.startswith("regnety")]
    assert {job.seed for job in students} == {7}


def test_another_seed_shares_data_and_teacher() -> None:
    one, two = plan_of(), plan_of(seeds=(0, 1))
    assert set(one.graph.jobs) < set(two.graph.jobs)
    added = [job for job in two.graph if job.key not in one.graph.jobs]
    assert {job.seed for job in added} == {1}
    students = [job for job in added if job.kind == "train" and "teacher" in job.inputs]
    assert {job.inputs["teacher"] for job in students} <= set(one.graph.jobs)
    assert not any(job.kind == "data" for job in added)
    # Of another seed it would teach nobody: 1,488 V100-hours for two more seeds of Table 3 at paper scale.
    assert not any(job.run.startswith("regnety") for job in added)


def test_a_key_depends_on_everything_in_the_payload_and_on_nothing_else() -> None:
    payload = {"kind": "train", "seed": 0, "recipe": {"lr": 5e-4, "epochs": 300}}
    key = key_of("train", "deit-b-s0", canonical(payload))
    assert key == "train-deit-b-s0-ff2e90beaf98"
    assert key_of("train", "deit-b-s0", canonical(payload | {"seed": 1})) != key
    assert key_of("train", "deit-b", canonical(payload)).rpartition("-")[2] == key.rpartition("-")[2]
    job = example("train")
    assert isinstance(job, Train)
    for other in (
        replace(job, seed=1),
        replace(job, size=job.size + 1),
        replace(job, init_weights="ema"),
        replace(job, inputs={"data": "another"}),
        replace(job, recipe=job.recipe.model_copy(update={"epochs": 301})),
        replace(job, model=replace(job.model, args={})),
        replace(job, distillation=None),
    ):
        assert other.written(Texts()) != job.written(Texts())
    for same in (replace(job, key="x"), replace(job, run="x"), replace(job, seconds=1.0)):
        assert same.written(Texts()) == job.written(Texts())


def every_job() -> Iterator[Job]:
    for world, released in WORLDS.items():
        specs = load_with_figures(ROOT / "tables", world.split(",")[0], released)
        yield from with_figures(plan_tables(specs, specs.ordered, (0,)))


def test_what_is_stored_of_a_job_is_the_job() -> None:
    """Its key is that of the payload in job.json, and the job read back is the same in every field."""
    kinds = set()
    for job in every_job():
        kinds.add(job.kind)
        stored = json.loads(json.dumps(to_json(job)))
        hashed = canonical(without_neutral(stored["payload"], job.neutral))
        assert job.key == key_of(job.kind, job.key[len(job.kind) + 1 : -13], hashed)
        read = from_json(stored)
        assert (type(read), json.loads(json.dumps(to_json(read)))) == (type(job), stored)
        assert read.written(Texts()) == hashed
        assert from_json(json.loads(json.dumps(to_json(read)))).own() == read.own()
    assert kinds == {"data", "weights", "train", "predict", "measure", "architecture", "probe"}


def test_a_job_is_sent_to_other_processes_whole() -> None:
    for kind in ("data", "train", "predict", "measure", "probe", "weights"):
        job = example(kind)
        sent = pickle.loads(pickle.dumps(job))
        assert to_json(sent) == to_json(job)
        assert sent == job


def test_another_version_is_not_read() -> None:
    payload = example("train").payload | {"version": 1}
    with pytest.raises(StoreFault, match="version 1 of train"):
        from_payload(payload)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def backwards(value: Any) -> Any:
    """The same value with every dictionary in the opposite order."""
    if isinstance(value, dict):
        return {name: backwards(item) for name, item in reversed(value.items())}
    return [backwards(item) for item in value] if isinstance(value, list) else value


fields = st.sampled_from(["a", "b", "c", "later", "part"])
neutrals = st.none() | st.booleans() | st.integers(0, 1) | st.just(0.0)


@given(
    st.dictionaries(fields, values | neutrals, max_size=4),
    st.dictionaries(fields, values | neutrals, max_size=2),
    st.dictionaries(fields, neutrals | st.dictionaries(fields, neutrals, max_size=2), max_size=3),
)
def test_a_part_is_written_as_canonical_json(part: dict[str, Any], change: dict[str, Any], neutral: Any) -> None:
    """However much of it was written out for another job, and whatever is left out as neutral."""
    texts = Texts()
    assert texts.written(part, neutral).encode() == canonical(without_neutral(part, neutral))
    change = {name: value for name, value in change.items() if name in part}
    changed = part | change
    texts.derive(changed, part, change)
    for each in (changed, backwards(changed), part):
        assert texts.written(each, neutral).encode() == canonical(without_neutral(each, neutral))
        # Known by now.
        assert texts.written(each, neutral).encode() == canonical(without_neutral(each, neutral))


def test_a_later_field_moves_no_key_while_it_means_as_before() -> None:
    neutral = {"recipe": {"clip": 0.0}, "precision": "fp32"}
    old = {"kind": "train", "recipe": {"lr": 0.1}}
    assert without_neutral(old, neutral) == old
    new = {"kind": "train", "precision": "fp32", "recipe": {"clip": 0.0, "lr": 0.1}}
    assert without_neutral(new, neutral) == old
    for other in (new | {"precision": "fp16"}, new | {"recipe": {"clip": 1.0, "lr": 0.1}}, old | {"clip": 0.0}):
        assert without_neutral(other, neutral) != old


def test_a_payload_has_no_number_that_json_lacks() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Texts().written({"lr": float("inf")}, {})
