"""Recipes that extend others, networks that are only measured, rows and columns that name their networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, TABLE
from pydantic import ValidationError

from replicate.errors import SpecError
from replicate.jobs.expand import Expander, _field
from replicate.jobs.key import Texts, canonical, without_neutral
from replicate.jobs.measure import Measure
from replicate.jobs.train import Train
from replicate.plan.cells import Plan, plan_tables
from replicate.plan.graph import Graph
from replicate.specs.cell import CellRef
from replicate.specs.load import Specs, load
from replicate.specs.recipe import Recipe
from replicate.specs.scale import Measure as ScaleMeasure


def edited(tables: Path, file: str, old: str, new: str) -> Path:
    path = tables / file
    text = path.read_text()
    assert text.count(old) >= 1, old
    path.write_text(text.replace(old, new, 1))
    return tables


def faults(tables: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load(tables, "mini")
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "comparable"),
    [
        ('banner = "another experiment"', False),
        ('banner = ""', True),
        ('banner = "a draft"\ncomparable = true', True),
        ("comparable = false", False),
    ],
)
def test_a_scale_with_a_banner_is_not_comparable_unless_it_says_so(
    tables: Path, written: str, comparable: bool
) -> None:
    edited(tables, "scales/mini.toml", 'banner    = "miniature: tests the pipeline, not the paper"', written)
    assert load(tables, "mini").scale.comparable is comparable


@pytest.fixture(scope="module")
def plan() -> Plan:
    specs = load(ROOT / "tables", "mini")
    return plan_tables(specs, specs.ordered, (0,))


def test_a_recipe_takes_what_its_base_has_at_the_scale(plan: Plan) -> None:
    """Base, the scale's changes of the base, the entry itself, the scale's changes of the entry."""
    base, longer = (plan.expander.recipe(name) for name in ("deit-b-224/token", "deit-b-224/token-1000"))
    assert longer == base.model_copy(update={"epochs": 100})
    sgd = plan.expander.recipe("deit-b-224/sgd")
    assert (sgd.optimizer, sgd.weight_decay, sgd.lr, sgd.lr_batch, sgd.epochs) == ("sgd", 1e-4, 0.05, 64, base.epochs)


def test_a_chain_of_bases_is_followed(plan: Plan) -> None:
    inat = plan.expander.recipe("deit-b-224/none/inat19")
    assert (inat.optimizer, inat.erase, inat.batch, inat.epochs) == ("adamw", 0.1, 32, 30)


def test_a_changed_field_is_what_a_whole_recipe_makes_of_it(plan: Plan) -> None:
    base = dict(plan.expander.network("deit-b-224/none", 0).payload["recipe"])
    for change in ({"lr": 1}, {"warmup_epochs": 5}, {"crop_scale": (0.5, 1)}, {"ema": 0, "train_mode": False}):
        changed = {name: _field(name).validate_python(value) for name, value in change.items()}
        whole = Recipe.model_validate(base | change).model_dump()
        assert canonical(base | changed) == canonical(whole)
    for wrong in ({"lr": "1"}, {"lr": 0.0}, {"batch": 1.5}, {"train_mode": 1}, {"precision": "fp8"}):
        for name, value in wrong.items():
            with pytest.raises(ValidationError):
                _field(name).validate_python(value)


def test_at_paper_scale_a_recipe_is_what_its_entries_write() -> None:
    expander = Expander(load(ROOT / "tables", "paper"), Graph().add)
    cifar = expander.recipe("deit-b-224/none/cifar10")
    assert (cifar.batch, cifar.lr, cifar.weight_decay, cifar.epochs, cifar.erase) == (768, 0.01, 1e-4, 1000, 0.0)
    assert cifar.auto_augment == expander.recipe("deit-b-224/none").auto_augment


@pytest.mark.parametrize(("scale", "groups"), [("paper", 4), ("mini", 1)])
def test_s_and_ti_draw_their_mixup_as_on_four_gpus(scale: str, groups: int) -> None:
    """The rest is B's; at mini scale a batch is one group for all."""
    specs = load(ROOT / "tables", scale)
    expander = Expander(specs, Graph().add)
    base = expander.recipe("deit-b-224/none").model_dump()
    assert base["batch"] // base["mix_batch"] == (16 if scale == "paper" else 1)
    names = [name for name, run in specs.runs.runs.items() if run.model in ("deit-ti", "deit-s") and run.recipe]
    assert len(names) == 10
    for name in names:
        epochs = expander.recipe(name.replace("-ti-", "-b-").replace("-s-", "-b-")).epochs
        assert expander.recipe(name).model_dump() == base | {"mix_batch": base["batch"] // groups, "epochs": epochs}, (
            name
        )


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ('[recipes.deit-400]\nextends = "diet"', "recipes.deit-400.extends: there is no recipe 'diet'"),
        ('[recipes.deit-400]\nextends = "deit-400"', "the recipe extends itself: deit-400 -> deit-400"),
        ('[recipes.deit-400]\nextends = "deit"\nepocs = 3', "runs.toml: recipes.deit-400.epocs: unknown key 'epocs'"),
    ],
)
def test_a_wrong_base_is_named(tables: Path, new: str, said: str) -> None:
    path = tables / "runs.toml"
    text = path.read_text()
    start = text.index("[recipes.deit-400]")
    end = text.index("\n", text.index("extends", start))
    path.write_text(text[:start] + new + text[end:])
    assert said in faults(tables)


def test_a_network_without_a_recipe_is_measured(plan: Plan) -> None:
    cell = plan.cell(CellRef("efficiency", "resnet_50", "throughput"))
    assert [job.kind for job in cell.jobs] == ["measure"]
    assert plan.cell(CellRef("efficiency", "resnet_50", "top1")).read is None


def test_its_accuracy_cannot_be_asked_for(tables: Path) -> None:
    edited(tables, f"{TABLE}.toml", 'run    = "regnety-16gf"', 'run    = "resnet-50"')
    assert "the run 'resnet-50' has no recipe, so it is measured but not trained" in faults(tables)


def test_nor_can_it_teach(tables: Path) -> None:
    edited(tables, "runs.toml", 'teacher      = "regnety-16gf"', 'teacher      = "resnet-50"')
    assert "runs.\"deit-ti-224/soft\".teacher: the run 'resnet-50' has no recipe" in faults(tables)


def test_a_column_builds_on_the_run_of_the_row(plan: Plan) -> None:
    read = plan.cell(CellRef("transfer", "deit_b_dist", "cars")).read
    assert read is not None
    assert (read.run, read.head) == ("deit-b-224/token/cars", "softmax-sum")


def test_a_row_names_other_networks_for_single_columns(plan: Plan) -> None:
    runs = {
        column: (plan.cell(CellRef("teacher_comparison", "regnety_4gf", column)).read)
        for column in ("teacher", "student_384")
    }
    assert {column: read.run for column, read in runs.items() if read} == {
        "teacher": "regnety-4gf",
        "student_384": "deit-b-384/token-regnety-4gf",
    }


def test_networks_by_column_must_name_columns(tables: Path) -> None:
    edited(tables, f"{TABLE}.toml", 'head  = "class"\n', 'head  = "class"\nruns  = { b_348 = "deit-b-384/none" }\n')
    assert "rows[0].runs.b_348: the table has no column 'b_348'" in faults(tables)


def test_a_row_cannot_be_called_a_number(tables: Path) -> None:
    edited(tables, f"{TABLE}.toml", 'key   = "none"', 'key   = "224"')
    assert "rows[0].key: the key '224' is a number" in faults(tables)


def test_one_token_has_no_similarity(tables: Path) -> None:
    edited(tables, f"{TABLE}.toml", 'key    = "teacher"', 'key    = "teacher"\nmetric = "similarity"\nfield  = "last"')
    assert "the network of run 'regnety-16gf' has one token, got 'similarity'" in faults(tables)


def hashed(payload: Mapping[str, Any]) -> bytes:
    return canonical(without_neutral(payload, Train.neutral))


def test_new_fields_move_no_key(plan: Plan) -> None:
    """A recipe without clipping, timm's attention and a start from the last weights are hashed as before there were
    such fields."""
    job = plan.expander.network("deit-b-384/none", 0)
    before = {name: value for name, value in job.payload.items() if name != "init_weights"}
    later = ("clip_norm", "attention")
    before["recipe"] = {name: value for name, value in job.payload["recipe"].items() if name not in later}
    assert hashed(before) == job.written(Texts()) == hashed(job.payload)
    for change in ({"clip_norm": 1.0}, {"attention": "explicit"}):
        assert hashed({**job.payload, "recipe": {**job.payload["recipe"], **change}}) != hashed(job.payload)


def test_the_protocol_says_how_attention_is_computed() -> None:
    """The explicit product, which the paper timed, unless the protocol is that of the miniature or a scale says so."""
    protocols = {name: plan_of_rates(load(ROOT / "tables", name)).protocol for name in ("mini", "paper")}
    assert {name: protocol.attention for name, protocol in protocols.items()} == {"mini": "fused", "paper": "explicit"}
    mini = load(ROOT / "tables", "mini")
    written = mini.scale.measure.model_dump(exclude={"attention"}) | {"name": "paper"}
    for stated, expected in (({}, "explicit"), ({"attention": "fused"}, "fused")):
        changed = mini.scale.model_copy(update={"measure": ScaleMeasure.model_validate(written | stated)})
        assert plan_of_rates(replace(mini, scale=changed)).protocol.attention == expected


def plan_of_rates(specs: Specs) -> Measure:
    job = Expander(specs, lambda job: job).job("measure", "deit-b-384/none")
    assert isinstance(job, Measure)
    return job
