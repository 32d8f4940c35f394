"""``explain``: every number of every table, whether its jobs have run or not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, TABLE, Call
from filled_results import fill

from replicate.actions.explain import Explanation
from replicate.cli.explain_command import lines
from replicate.cli.workspace import Workspace
from replicate.jobs.job import Job
from replicate.judge.finish import Finisher
from replicate.plan.cells import Plan, plan_tables
from replicate.specs.cell import CellRef
from replicate.specs.load import load
from replicate.store.result import commit_result
from replicate.store.store import FAILURE, Store

MADE = {
    "commit": "570068e6cd9bd6c67c0409c4e1840046b74698d6",
    "dirty": True,
    "python": "3.11",
    "packages": {"torch": "2.15.0", "timm": None},
    "processor": "Abacus 3000",
    "system": "Linux",
    "threads": 1,
}
RATIO = {"median": 1.0104, "low": 0.9309, "high": 1.0242, "half_width_percent": 4.61, "steady": False}
MEASURED: dict[str, Any] = {
    "device": "Abacus 3000",
    "batch": 64,
    "images_per_second": 2242.36,
    "ratio": RATIO,
    "parameters": 356938,
    "architecture": {"embed_dim": 96, "layers": 3},
}
PROBED: dict[str, Any] = {
    "input": 0.20124,
    "input_with_position": -0.01887,
    "layers": [0.5427, 0.7947, 0.882],
    "last": 0.8838,
    "errors": {"layers": [0.0046, 0.0029, 0.0018], "last": 0.0018},
    "images": 2000,
}


def workspace_of(results: Path, scale: str = "mini", given: tuple[str, ...] = ()) -> Workspace:
    return Workspace(ROOT, ROOT / "tables", results, ROOT / "out", scale, (0,), 1, given=given)


def plan_all(scale: str = "mini") -> Plan:
    specs = load(ROOT / "tables", scale)
    return plan_tables(specs, specs.ordered, (0,))


def explained(results: Path, plan: Plan, table_id: str, row: str, column: str) -> str:
    store = Store(results)
    table = Finisher(plan, store).finish(table_id)
    explanation = Explanation(plan, store, table, table.cell(row, column))
    return "\n".join(lines(workspace_of(results, plan.specs.scale.id), explanation))


def finish(store: Store, job: Job, summary: dict[str, Any], name: str, facts: dict[str, Any]) -> None:
    folder = store.prepare(job)
    (folder / name).write_text(json.dumps(facts))
    cost = {"wall_seconds": 2.0567, "cpu_seconds": 0.9861, "peak_mb": 481.8}
    commit_result(folder, job.key, [name], summary, cost, MADE)


@pytest.mark.parametrize("scale", ["mini", "mini-digits", "paper"])
def test_every_number_of_every_table_before_anything_has_run(scale: str, tmp_path: Path) -> None:
    plan, store = plan_all(scale), Store(tmp_path / "none")
    workspace = workspace_of(store.root, scale, ("--scale", scale))
    finisher = Finisher(plan, store)
    kinds = set()
    for table_id in plan.specs.ordered:
        table = finisher.finish(table_id)
        for _, row, column in table.cells:
            text = "\n".join(lines(workspace, Explanation(plan, store, table, table.cell(row, column))))
            assert "None" not in text
            assert "{" not in text
            assert "alone" not in text
            jobs = plan.graph.needed_for(table.cell(row, column).jobs)
            assert text.count(f"--scale {scale}") == len(jobs)
            kinds |= {job.kind for job in jobs}
    assert kinds == {"data", "train", "predict", "measure", "architecture", "probe"}


def test_a_measurement(tmp_path: Path) -> None:
    plan, store = plan_all(), Store(tmp_path)
    (job,) = plan.cell(CellRef("model_variants", "deit_b", "throughput")).jobs
    finish(store, job, MEASURED, "measure.json", {"conditions": {"precision": "fp32"}})
    text = explained(tmp_path, plan, "model_variants", "deit_b", "throughput")
    assert "DeiT-B, throughput (im/sec): 2242\n" in text
    assert "  device      Abacus 3000, fp32, batches of 64\n" in text
    assert "  measured    2242 images/s\n" in text
    ratio = "1.01 times as fast as the reference (95 % interval 0.931 to 1.02, ±4.6 %): unsteady"
    assert f"  ratio       {ratio}" in text
    assert "  made by     commit 570068e6cd9b with uncommitted changes, Python 3.11, torch 2.15.0\n" in text
    assert "  cost        2.06 s, 0.986 s of processors, 482 MB at most\n" in text
    assert "over images" not in text
    assert f"  alone       python -m replicate run {job.key} --again" in text
    (digest,) = store.result(job.key).files.values()  # type: ignore[union-attr]
    assert f"sha256 {digest}\n" in text


def test_the_device_and_how_it_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an older result, which recorded neither, it says so."""
    plan, store = plan_all(), Store(tmp_path)
    (job,) = plan.cell(CellRef("model_variants", "deit_b", "throughput")).jobs
    gpu = {"device": "NVIDIA H100", "kind": "cuda", "memory_mb": 85_000, "driver": "550", "cuda": "12.4", "host": "n1"}
    flags = {"cudnn": "90100", "processes": 2, "matmul": "highest", "tf32": False, "attention": ["flash", "math"]}
    for machine, on, computed in (
        ({}, "device unknown, Abacus 3000, Linux, 1 thread, host unknown", "unknown"),
        (
            gpu | flags,
            "NVIDIA H100 (85.0\N{NO-BREAK SPACE}GB, driver 550, CUDA 12.4, cuDNN 90100), Abacus 3000, Linux, 1 thread, "
            "2 processes, host n1",
            "float32 products highest, TF32 off, autocast none, deterministic algorithms none, "
            "attention kernels flash, math",
        ),
    ):
        monkeypatch.setitem(MADE, "machine", machine)
        finish(store, job, MEASURED, "measure.json", {})
        text = explained(tmp_path, plan, "model_variants", "deit_b", "throughput")
        assert f"  on          {on}\n  computed    {computed}\n" in text
        assert "  code        digest unknown\n" in text


def test_a_measurement_without_a_reference(tmp_path: Path) -> None:
    plan, store = plan_all("paper"), Store(tmp_path)
    (job,) = plan.cell(CellRef("resolution", "at_384", "throughput")).jobs
    windows = {"network": [{"wall": 1.0}, {"wall": 1.2}]}
    summary = MEASURED | {"ratio": None, "attention": "explicit"}
    finish(store, job, summary, "measure.json", {"windows": windows})
    text = explained(tmp_path, plan, "resolution", "at_384", "throughput")
    assert "the largest that fits; explicit attention\n" in text
    assert "  device      Abacus 3000, precision not recorded, explicit attention, batches of 64\n" in text
    assert "  reason      measured with explicit attention on another device than the paper's: Abacus 3000\n" in text
    assert "  ratio       none: this protocol times the network alone\n" in text
    assert "precision not recorded" in text
    # The rate times 0.1 / 1.1: two runs that are 0.2 s apart.
    assert "  error       ±400, half of the 95 % interval, over the times of its runs\n" in text


def test_a_measurement_beside_a_reference(tmp_path: Path) -> None:
    plan, store = plan_all(), Store(tmp_path)
    planned = plan.cell(CellRef("model_variants", "deit_ti", "throughput"))
    for job in (*planned.jobs, *planned.others):
        finish(store, job, MEASURED, "measure.json", {})
    text = explained(tmp_path, plan, "model_variants", "deit_ti", "throughput")
    assert "half of the 95 % interval, over the interval of its ratio to the reference network\n" in text


def test_a_probe(tmp_path: Path) -> None:
    plan, store = plan_all(), Store(tmp_path)
    (job,) = plan.cell(CellRef("token_similarity", "distillation", "input")).jobs
    finish(store, job, PROBED, "similarity.json", PROBED)
    text = explained(tmp_path, plan, "token_similarity", "distillation", "input")
    assert "cosine of the two tokens, 2,000 test images, 32 pixels" in text
    assert "  input       0.2012, with position -0.01887\n" in text
    assert "  layers      0.5427 ± 0.0046, 0.7947 ± 0.0029, 0.882 ± 0.0018\n" in text
    assert "  output      0.8838 ± 0.0018\n" in text


def test_an_accuracy_and_all_it_rests_on(tmp_path: Path) -> None:
    plan, store = plan_all(), Store(tmp_path)
    for job in plan.graph.needed_for(plan.cell(CellRef(TABLE, "none", "ti_224")).keys):
        fill(store, job)
    text = explained(tmp_path, plan, TABLE, "none", "ti_224")
    assert "\nDeiT – no distillation, Ti 224: " in text
    assert "  reads       top1 of the run deit-ti-224/none at its head class\n" in text
    assert "  means       Share of the test images whose label is the first choice.\n" in text
    assert " of 200 images\n" in text
    assert "half of the 95 % interval, over seeds and test images\n" in text
    assert "  sizes       960 training images, 2,000 test images, 10 classes\n" in text
    assert "train_mode yes" in text
    assert "crop_ratio 0.75–1.33333" in text
    assert text.count("  alone       python -m replicate run ") == 3


def test_of_published_weights_no_seed_is_said(tmp_path: Path) -> None:
    specs = load(ROOT / "tables", "paper", released=True)
    plan, store = plan_tables(specs, specs.ordered, (7,)), Store(tmp_path)
    for job in plan.graph.needed_for(plan.cell(CellRef(TABLE, "none", "b_224")).keys):
        fill(store, job)
    text = explained(tmp_path, plan, TABLE, "none", "b_224")
    assert " of 200 images\n" in text
    assert "published weights in place of its training" in text
    assert "  sizes       50,000 test images, 1000 classes\n" in text
    probed = explained(tmp_path, plan, "token_similarity", "distillation", "input")
    assert "deit-b-224/token (tables/runs.toml)\n" in probed
    for said in (text, probed):
        assert "seed 7" not in said
        assert "--seeds" not in said
    assert "seed 7" in explained(tmp_path, plan, TABLE, "soft", "b_224")


def test_a_size_of_a_data_set_and_an_ingredient(tmp_path: Path) -> None:
    plan, store = plan_all(), Store(tmp_path)
    (job,) = plan.cell(CellRef("datasets", "imagenet", "train")).jobs
    fill(store, job)
    assert "960 training images" in explained(tmp_path, plan, "datasets", "imagenet", "train")
    text = explained(tmp_path, plan, "ingredients", "lr", "deit_b")
    assert "  reads       recipe lr of the run deit-b-224/none\n" in text


def test_the_row_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    """Table 4 has rows and columns of the same keys."""
    text = explained(tmp_path, plan_all(), "decision_agreement", "joint", "convnet")
    assert "\nDeiT⚗ – class+distil., RegNetY: pending\n" in text


def test_a_reference_by_its_label(tmp_path: Path) -> None:
    plan = plan_all()
    (label,) = [one.label for one in plan.specs.table(TABLE).references if one.key == "teacher"]
    assert f"\n{label}: pending\n" in explained(tmp_path, plan, TABLE, "@", "teacher")


def test_the_command_of_a_job_is_whole_and_says_what_runs_first(tables: Path, replicate: Call, tmp_path: Path) -> None:
    folders = ("--results", str(tmp_path / "my results"), "--tables", str(tables))
    text = replicate("explain", TABLE, "none", "ti_224", "--seeds", "0,2", *folders).stdout
    runs = [line.split("python -m replicate ")[1] for line in text.splitlines() if line.startswith("  to run it")]
    where = f" --results '{tmp_path}/my results' --tables {tables}"
    assert all(line.endswith(where) and "--again" not in line for line in runs)
    assert any(line.endswith(f" --seeds 2{where}") and "none-s2" in line for line in runs)
    assert any("none-s0" in line and "--seeds" not in line for line in runs)
    assert text.count("  first       2 jobs that it reads have no result") == 2
    assert text.count("  first       1 job that it reads has no result") == 2


def test_a_job_that_diverged_is_named_with_what_tries_it_again(tmp_path: Path) -> None:
    plan, store = plan_all(), Store(tmp_path)
    (job,) = plan.cell(CellRef(TABLE, "none", "ti_224")).jobs
    folder = store.prepare(job)
    (folder / FAILURE).write_text(json.dumps({"kind": "diverged", "message": "a loss", "retry": False}))
    text = explained(tmp_path, plan, TABLE, "none", "ti_224")
    assert f"{job.key}  [failed]\n" in text
    assert text.endswith(f"  to run it   python -m replicate run {job.key} --retry")


def test_a_word_is_no_number_that_has_not_run(replicate: Call, tmp_path: Path) -> None:
    where = ("--results", str(tmp_path))
    said = replicate("explain", "distillation_ablation", "none", "label", *where).stdout
    assert said.endswith(
        "label: ✓\n  state       a word of the spec\n  file        tables/distillation_ablation.toml\n"
    )
    told = json.loads(replicate("explain", "distillation_ablation", "none", "label", "--json", *where).stdout)
    assert told["cell"]["state"] == "text"
    assert "no job makes this number" in replicate("explain", "ingredients", "epochs", "vit_b", *where).stdout


def test_logs_of_what_no_job_makes(replicate: Call, results: Path) -> None:
    where = ("--results", str(results))
    assert replicate("logs", "ingredients", "epochs", "vit_b", *where).stdout == (
        "no job makes this number: it has no logs\n"
    )
    done = replicate("logs", "distillation_ablation", "none", "label", *where)
    assert done.returncode == 2
    assert done.stderr.startswith("error: column label holds words of the spec, which no job makes\n")


def test_logs_are_of_the_job_that_wrote_last(replicate: Call, results: Path) -> None:
    """Of a number that was evaluated before, and whose network was trained again since, that is the training."""
    for kind, time in (("train", 2_000), ("predict", 1_000)):
        (folder,) = results.glob(f"{kind}-regnety-16gf-224-none-s0-*")
        (folder / "log.txt").write_text(f"{kind}\n")
        os.utime(folder / "log.txt", (time, time))
    jobs = json.loads(
        replicate("logs", "distillation_ablation", "@", "teacher", "--json", "--results", str(results)).stdout
    )["jobs"]
    assert [line for job in jobs for lines in job["logs"].values() for line in lines] == ["train"]


def test_logs_as_json(replicate: Call, results: Path) -> None:
    (folder,) = results.glob("predict-regnety-16gf-224-none-s0-*")
    (folder / "log.txt").write_text("one\ntwo\nthree\n")
    arguments = ("logs", "distillation_ablation", "@", "teacher", "-n", "2", "--json", "--results", str(results))
    assert json.loads(replicate(*arguments).stdout) == {
        "jobs": [{"key": folder.name, "state": "done", "why": "", "logs": {str(folder / "log.txt"): ["two", "three"]}}]
    }
