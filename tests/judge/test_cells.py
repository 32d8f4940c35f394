"""What a cell shows: its number, or which of four marks and why; what is bold."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from command_line import ROOT, TABLE
from filled_results import IMAGES, fill, job_like, plan_of

from replicate.judge.cell import finished
from replicate.judge.finish import Finisher, _with_bold
from replicate.judge.noise import SeedNoise
from replicate.judge.table import Cell, Table
from replicate.judge.values import CellValue
from replicate.plan.cells import CellPlan, Plan, plan_tables
from replicate.specs.cell import CellRef, ResolvedSource
from replicate.specs.load import load
from replicate.specs.table import ColumnSpec, TableHead
from replicate.store import lease
from replicate.store.store import FAILURE, Store
from replicate.text import Printed


def table_of(store: Store, plan: Plan) -> Table:
    return Finisher(plan, store).finish(TABLE)


def cell_of(store: Store, plan: Plan, row: str = "soft", column: str = "b_384") -> Cell:
    return table_of(store, plan).cell(row, column)


@pytest.fixture
def plan() -> Plan:
    return plan_of()


def key_of(plan: Plan, prefix: str) -> str:
    (key,) = [key for key in plan.graph.jobs if key.startswith(prefix)]
    return key


def test_nothing_has_run(plan: Plan, tmp_path: Path) -> None:
    table = table_of(Store(tmp_path), plan)
    cell = table.cell("soft", "b_384")
    assert (cell.state, cell.shown, cell.origin, cell.verdict) == ("pending", "", "not run", "not run")
    # Images, teacher, its fine-tuning, the student, its fine-tuning, and the decisions.
    assert cell.reason == "none of its 6 jobs has run"
    assert not table.complete
    assert table.cell("soft", "teacher").shown == "soft"
    assert all(claim.verdict == "not run" for claim in table.claims)


def test_some_have_run(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for job in plan.graph:
        if job.kind in ("data", "train"):
            fill(store, job)
    assert cell_of(store, plan).reason == "not run yet: 1 of its 6 jobs"


def test_a_job_it_rests_on_is_running(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = key_of(plan, "train-deit-b-224-soft")
    lease.acquire(store.prepare(plan.graph.jobs[key]))
    cell = cell_of(store, plan)
    assert (cell.state, cell.shown, cell.reason) == ("running", "", f"{key} is running")
    assert cell_of(store, plan, "hard").state == "pending"


def test_a_job_it_rests_on_failed(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = key_of(plan, "train-deit-b-224-soft")
    folder = store.prepare(plan.graph.jobs[key])
    (folder / FAILURE).write_text(json.dumps({"kind": "diverged", "message": "a loss that is not finite"}))
    cell = cell_of(store, plan)
    assert (cell.state, cell.reason) == ("failed", f"{key} failed: diverged: a loss that is not finite")
    assert cell_of(store, plan, "hard").state == "pending"


def test_a_result_that_is_damaged_says_so(plan: Plan, results: Path) -> None:
    key = key_of(plan, "predict-deit-b-384-soft")
    path = results / key / "decisions.npz"
    path.write_bytes(path.read_bytes()[:-1])
    store = Store(results)
    cell = cell_of(store, plan)
    assert cell.state == "pending"
    assert cell.reason == f"{key}/decisions.npz: cut short or edited (its checksum does not fit)"
    assert store.damage[key] == cell.reason
    assert cell_of(Store(results), plan, "hard").state == "done"


def test_all_have_run(plan: Plan, results: Path) -> None:
    table = table_of(Store(results), plan)
    assert table.complete
    cell = table.cell("token_both", "b_384")
    (seed,) = cell.seeds
    assert seed.images == IMAGES
    assert seed.correct is not None
    assert cell.value == Fraction(100 * seed.correct, IMAGES)
    assert cell.shown == f"{seed.correct / 2:.1f}"
    # Over test images with two more of each kind, and over seeds as the scale states it of DeiT-B at 384.
    share = (seed.correct + 2) / (IMAGES + 4)
    assert cell.error == pytest.approx((1e4 * share * (1 - share) / (IMAGES + 4) + 3.1**2) ** 0.5)
    assert cell.error_of == "seeds and test images"
    assert (cell.state, cell.origin, cell.verdict) == ("done", "trained here", "not compared")
    assert cell.jobs == (key_of(plan, "predict-deit-b-384-token"),)
    assert cell.paper_shown == "84.5"


def test_the_same_decisions_at_the_paper_scale_are_compared(tmp_path: Path) -> None:
    plan, store = plan_of("paper"), Store(tmp_path)
    for job in plan.graph:
        fill(store, job)
    cell = cell_of(store, plan)
    assert cell.verdict == "differs"
    assert cell.tolerance == "±0.1"
    assert cell.value is not None
    assert cell.difference_shown == f"{float(cell.value) - 83.2:+.1f}".replace("-", "−")


def test_a_released_network_is_allowed_what_evaluating_it_again_may_move() -> None:
    """No training lies between. Fewer images scatter more; nobody knows what a disagreement may move by."""
    scale = load(ROOT / "tables", "paper", released=True).scale
    column = ColumnSpec(key="c", header="c")
    head = TableHead.model_validate(HEAD | {"columns": [column.model_dump()]}, strict=False)
    allowed = {}
    for metric, images in (("top1", 50_000), ("top1", 10_000), ("disagreement", 50_000)):
        hits = np.arange(images) % 2 == 0
        found = CellValue({0: Fraction(50)}, {0: hits}, 100, {0: ("weights-x",)})
        read = ResolvedSource(metric=metric, run="deit-b-224/none", head="class")
        job = job_like("predict-x", "predict")
        planned = CellPlan(CellRef("t", "r", "c"), read, Printed(50.0, 1), "", (job,))
        allowed[metric, images] = finished(head, column, planned, found, scale, SeedNoise(())).tolerance
    assert allowed == {("top1", 50_000): "±0.05", ("top1", 10_000): "±0.11", ("disagreement", 50_000): "±0.3"}


HEAD = {
    "id": "t", "source": "x", "caption": "c", "metric": "top1", "tolerance": {"default": 0.3},
    "tolerance_reason": "none",
}  # fmt: skip


def test_bold_is_the_best_of_each_column_after_rounding(plan: Plan, results: Path) -> None:
    table = table_of(Store(results), plan)
    for column in ("ti_224", "s_224", "b_224", "b_384"):
        cells = [table.cell(row.key, column) for row in table.rows]
        best = max(float(cell.shown) for cell in cells)
        assert [cell.bold for cell in cells] == [float(cell.shown) == best for cell in cells]
        paper = max(float(cell.paper_shown) for cell in cells)
        assert [cell.paper_bold for cell in cells] == [float(cell.paper_shown) == paper for cell in cells]


def test_ties_are_all_bold(plan: Plan, results: Path) -> None:
    spec = plan.specs.table(TABLE)
    table = table_of(Store(results), plan)
    tied = dict(table.cells)
    for row in ("soft", "hard"):
        # 83.34 and 83.26 both print 83.3.
        value = Fraction(8334 if row == "soft" else 8326, 100)
        cell = table.cell(row, "s_224")
        tied[cell.ref] = Cell(cell.ref, "done", "83.3", value=value, paper=cell.paper)
    bold = _with_bold(spec, tied)
    assert {row.key for row in table.rows if bold[CellRef(TABLE, row.key, "s_224")].bold} == {"soft", "hard"}


def test_nothing_is_bold_before_the_column_is_full(plan: Plan, results: Path) -> None:
    (results / key_of(plan, "predict-deit-s-224-soft") / "result.json").unlink()
    table = table_of(Store(results), plan)
    assert not any(table.cell(row.key, "s_224").bold for row in table.rows)
    assert any(table.cell(row.key, "b_224").bold for row in table.rows)
    assert any(table.cell(row.key, "s_224").paper_bold for row in table.rows)


def test_several_seeds(tmp_path: Path) -> None:
    plan, store = plan_of(seeds=(0, 1)), Store(tmp_path)
    for job in plan.graph:
        if job.seed != 1:
            fill(store, job)
    assert cell_of(store, plan).state == "pending"
    for job in plan.graph:
        if job.seed == 1:
            fill(store, job)
    store = Store(tmp_path)
    cell = cell_of(store, plan)
    first, second = (float(seed.value) for seed in cell.seeds)
    assert [seed.seed for seed in cell.seeds] == [0, 1]
    assert cell.value == (cell.seeds[0].value + cell.seeds[1].value) / 2
    assert cell.spread == pytest.approx(abs(first - second) / 2**0.5)
    # What the scale states of DeiT-B at 384, with 32 degrees of freedom, and what the table's networks show.
    assert cell.error_of == "seeds and test images"
    noise = Finisher(plan, store).noise(TABLE).of(Finisher(plan, store).values(TABLE)[cell.ref])
    assert noise is not None
    assert noise.freedom > 32
    images = Finisher(plan, store).values(TABLE)[cell.ref].own_error
    assert cell.error == pytest.approx(((images or 0.0) ** 2 + noise.standard**2 / 2) ** 0.5)


def test_disagreements_of_several_seeds_are_with_one_teacher(tmp_path: Path) -> None:
    """Table 4: the teacher is on both sides of a claim and cancels, whichever seed DeiT and the student have."""
    table = "decision_agreement"
    plan = plan_tables(load(ROOT / "tables", "mini"), [table], (0, 1))
    store = Store(tmp_path)
    for job in plan.graph:
        fill(store, job)
    values = Finisher(plan, store).values(table)

    def trainings(row: str, column: str) -> dict[int, set[tuple[str, int]]]:
        networks = values[CellRef(table, row, column)].networks
        jobs = {seed: [plan.graph.jobs[key] for key in keys] for seed, keys in networks.items()}
        return {seed: {(job.run, job.seed) for job in each} for seed, each in jobs.items()}

    teacher, student = ("regnety-16gf", 0), "deit-b-224/token"
    assert trainings("deit", "convnet") == {seed: {teacher, ("deit-b-224/none", seed)} for seed in (0, 1)}
    assert trainings("joint", "convnet") == {seed: {teacher, (student, seed)} for seed in (0, 1)}
    # The truth is no network, and one number of a teacher has no spread over seeds.
    assert trainings("truth", "class") == {seed: {(student, seed)} for seed in (0, 1)}
    assert trainings("truth", "convnet") == {0: {teacher}}
    claim = next(each for each in Finisher(plan, store).finish(table).claims if "one without distillation" in each.text)
    per_seed = [
        float(values[CellRef(table, "deit", "convnet")].values[seed])
        - float(values[CellRef(table, "joint", "convnet")].values[seed])
        for seed in (0, 1)
    ]
    assert claim.margin == pytest.approx(sum(per_seed) / 2)


def test_a_published_network_has_no_seed_that_is_known(tmp_path: Path) -> None:
    plan, store = plan_of("paper", (7,), released=True), Store(tmp_path)
    for job in plan.graph:
        fill(store, job)
    found = {row: cell_of(store, plan, row, "b_224") for row in ("none", "soft")}
    assert [(cell.origin, [one.seed for one in cell.seeds]) for cell in found.values()] == [
        ("released weights", [None]),
        ("trained here", [7]),
    ]


def test_the_digest_changes_with_results_and_only_with_them(plan: Plan, results: Path) -> None:
    before = table_of(Store(results), plan).digest
    assert table_of(Store(results), plan).digest == before
    key = key_of(plan, "predict-deit-s-224-soft")
    (results / key / "result.json").unlink()
    assert table_of(Store(results), plan).digest != before
