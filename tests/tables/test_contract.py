"""The ids of the tables, what they share, and what all of them cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import ROOT, Call

from replicate.plan.cells import Plan, plan_tables
from replicate.specs.cell import CellRef
from replicate.specs.load import Specs, load

IDS = (
    "model_variants",
    "teacher_comparison",
    "distillation_ablation",
    "decision_agreement",
    "efficiency",
    "datasets",
    "transfer",
    "scratch_cifar10",
    "augmentation_ablation",
    "ingredients",
    "resolution",
    "token_similarity",
)
"""In the order of the paper."""

MINUTES = 15
CORES = 2


@pytest.fixture(scope="module")
def specs() -> Specs:
    return load(ROOT / "tables", "mini")


@pytest.fixture(scope="module")
def plan(specs: Specs) -> Plan:
    return plan_tables(specs, specs.ordered, (0,))


def test_the_tables_are_these_in_the_order_of_the_paper(specs: Specs) -> None:
    assert tuple(specs.ordered) == IDS
    assert [path.stem for path in specs.files.values()] == list(specs.files)


def test_list_shows_exactly_these(replicate: Call, tmp_path: Path) -> None:
    done = replicate("list", "--json", "--results", str(tmp_path))
    shown = [entry["id"] for entry in json.loads(done.stdout)["tables"] if entry["kind"] == "table"]
    assert shown == list(IDS)


def test_every_cell_has_a_paper_number_or_a_source_of_ours(specs: Specs) -> None:
    for table, spec in specs.tables.items():
        assert spec.table.source.startswith("arXiv:2012.12877v2"), table
        for row in spec.rows:
            assert not row.not_run or row.source, f"{table}.{row.key}: where the accuracies are from"


def test_networks_of_several_tables_are_trained_once(plan: Plan) -> None:
    trainings = [job for job in plan.graph if job.kind == "train"]
    assert len(trainings) == len({job.run for job in trainings}) == 103
    teacher, base = (plan.expander.network(name, 0).key for name in ("regnety-16gf", "deit-b-224/none"))
    readers = {
        key: {
            table
            for table, cells in plan.cells.items()
            if any(key in plan.graph.needed_for(cell.keys).jobs for cell in cells)
        }
        for key in (teacher, base)
    }
    assert len(readers[base]) == 9
    assert {"teacher_comparison", "distillation_ablation", "decision_agreement", "efficiency"} <= readers[teacher]


def test_students_of_every_seed_are_compared_with_the_teacher_they_learned_from(specs: Specs) -> None:
    """Table 4: the teacher has one seed, with which its students and DeiT-B without a teacher are compared."""
    plan = plan_tables(specs, ["decision_agreement"], (0, 1))
    assert {job.seed for job in plan.graph if job.kind == "train" and job.run == "regnety-16gf"} == {0}
    for row, column, student in (
        ("convnet", "class", "deit-b-224/token"),
        ("class", "convnet", "deit-b-224/token"),
        ("convnet", "deit", "deit-b-224/none"),
        ("deit", "convnet", "deit-b-224/none"),
    ):
        cell = plan.cell(CellRef("decision_agreement", row, column))
        both = list(zip(cell.jobs, cell.others, strict=True))
        assert [{job.run: job.seed for job in jobs} for jobs in both] == [
            {"regnety-16gf": 0, student: 0},
            {"regnety-16gf": 0, student: 1},
        ]
        for job in (job for jobs in both for job in jobs if job.run == "deit-b-224/token"):
            teacher = plan.graph.jobs[job.inputs["network"]].inputs["teacher"]
            assert teacher in {one.inputs["network"] for jobs in both for one in jobs}
    # The teacher and the truth are the same at every seed, so there is one number of the two.
    for row in ("convnet", "truth"):
        cell = plan.cell(CellRef("decision_agreement", row, "convnet"))
        assert [(one.seed, other.seed) for one, other in zip(cell.jobs, cell.others, strict=True)] == [(0, 0)]
    of_truth = plan.cell(CellRef("decision_agreement", "truth", "deit"))
    assert [job.seed for job in of_truth.others] == [0, 1]


def test_averaged_weights_need_no_training_of_their_own(plan: Plan) -> None:
    assert plan.expander.network("deit-b-224/ema", 0) == plan.expander.network("deit-b-224/none", 0)
    assert plan.expander.job("predict", "deit-b-224/ema", 0) != plan.expander.job("predict", "deit-b-224/none", 0)
    tuned = plan.expander.network("deit-b-384/ema", 0)
    assert tuned.payload["init_weights"] == "ema"
    assert tuned != plan.expander.network("deit-b-384/none", 0)


def test_all_of_it_fits_into_a_quarter_of_an_hour(specs: Specs) -> None:
    """With every network of Figure 3, which no table prints."""
    everything = plan_tables(specs, specs.ordered, (0,))
    for name, run in specs.runs.runs.items():
        if run.recipe not in (None, "vit"):
            everything.expander.job("predict", name, 0)
    seconds = sum(job.seconds for job in everything.graph)
    assert seconds / CORES < MINUTES * 60
    assert max(everything.graph.urgency().values()) < MINUTES * 60


def test_longer_schedules_keep_their_proportions(plan: Plan, specs: Specs) -> None:
    base = plan.expander.recipe("deit-b-224/none").epochs
    for epochs in (400, 500, 800, 1000):
        assert specs.runs.recipes[f"deit-{epochs}"].epochs == epochs
        run = "deit-b-224/none-400" if epochs == 400 else f"deit-b-224/token-{epochs}"
        assert plan.expander.recipe(run).epochs == round(base * epochs / 300 - 0.01)


def test_plan_compares_together_with_one_by_one(replicate: Call, tmp_path: Path) -> None:
    done = replicate("plan", "--results", str(tmp_path))
    assert "103 trainings serve all 12 tables; one by one they would need" in done.stdout
    total = json.loads(replicate("plan", "--json", "--results", str(tmp_path)).stdout)["total"]
    assert total["trainings"]["together"] == 103 < total["trainings"]["one_by_one"]


@pytest.mark.parametrize("scale", ["mini", "mini-digits", "paper"])
def test_every_scale_binds_everything(scale: str) -> None:
    specs = load(ROOT / "tables", scale)
    plan = plan_tables(specs, specs.ordered, (0, 1))
    assert sum(job.kind == "train" for job in plan.graph) > 103


def test_nothing_is_left_over_in_runs(plan: Plan, specs: Specs) -> None:
    """A run that neither a table nor a figure reads would be a leftover."""
    text = "".join(path.read_text() for path in (ROOT / "figures").glob("*.toml"))
    used = {cell.read.run for cells in plan.cells.values() for cell in cells if cell.read}
    used |= {cell.read.against[0] for cells in plan.cells.values() for cell in cells if cell.read and cell.read.against}
    needed = {job.run for job in plan.graph}
    figure3 = {name for name in specs.runs.runs if name.rpartition("-")[2] in ("400", "500", "800", "1000")}
    unused = {name for name in specs.runs.runs if name not in used | needed and f'"{name}"' not in text}
    assert unused <= figure3
