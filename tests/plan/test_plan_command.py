"""``plan``: the jobs of tables and figures, on how many at once, on how much disk, and what its hours rest on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from command_line import ROOT, TABLE, Call

from replicate.figures.load import load_with_figures
from replicate.figures.plan import with_figures
from replicate.plan.answers import with_answers
from replicate.plan.cells import plan_tables
from replicate.specs.load import load
from replicate.store.store import Store


def totals(replicate: Call, *arguments: str) -> dict[str, Any]:
    done = replicate("plan", "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    total: dict[str, Any] = json.loads(done.stdout)["total"]
    return total


def test_without_a_table_it_is_what_all_runs(replicate: Call, tmp_path: Path) -> None:
    specs = load_with_figures(ROOT / "tables", "paper")
    tables = plan_tables(specs, specs.ordered, (0,))
    without = with_figures(tables)
    everything = with_answers(without, specs, Store(tmp_path))
    total = totals(replicate, "--scale", "paper", "--results", str(tmp_path))
    assert total["jobs"] == len(everything)
    assert len(everything) == len(without) + total["answers"]["missing"] > len(without)
    assert total["for_figures_alone"] == len(without) - len(tables.graph) > 0
    assert total["processor_seconds"] == round(sum(job.seconds for job in everything), 1)
    text = replicate("plan", "--scale", "paper", "--results", str(tmp_path)).stdout
    assert f"\n{len(everything)} jobs ({total['for_figures_alone']} for figures alone), 0 done" in text
    assert totals(replicate, "--id", TABLE, "--results", str(tmp_path))["for_figures_alone"] == 0


def test_disk_in_gigabytes_from_one_on(replicate: Call, tmp_path: Path) -> None:
    for scale, unit in (("mini", "MB"), ("paper", "GB")):
        text = replicate("plan", "--id", TABLE, "--scale", scale, "--results", str(tmp_path)).stdout
        assert re.search(rf"^[\d.]+ {unit} on disk, and up to [\d.]+ {unit} of checkpoints while they run$", text, re.M)
    assert " MB on disk\n\ndata-" in replicate("plan", "--id", "datasets", "--results", str(tmp_path)).stdout


def test_what_the_hours_rest_on(replicate: Call, tmp_path: Path) -> None:
    text = replicate("plan", "--id", TABLE, "--scale", "paper", "--results", str(tmp_path)).stdout
    assert "V100-hours by the paper's training times (Section 6; upper bounds for DeiT-Ti and -S): " in text
    assert "743 h of them train teachers, 530 h are teachers' answers while students train" in text
    assert "V100" not in replicate("plan", "--id", TABLE, "--results", str(tmp_path)).stdout


def test_the_head_of_table_3_says_the_same_hours(replicate: Call, tmp_path: Path) -> None:
    seconds = totals(replicate, "--id", TABLE, "--scale", "paper", "--results", str(tmp_path))["processor_seconds"]
    (said,) = re.findall(r"about ([\d,]+) V100-hours", (ROOT / "tables" / f"{TABLE}.toml").read_text())
    assert float(said.replace(",", "")) == round(seconds / 3600, -2)


def test_the_seconds_of_an_image_are_the_papers_hours() -> None:
    """Section 6, "Training time": 8 GPUs pre-train for 53 h (300 epochs), and fine-tune at 384 for 20 h (25 epochs)."""
    models = load(ROOT / "tables", "paper").scale.models
    for size, hours, epochs in ((224, 53, 300), (384, 20, 25)):
        seconds = hours * 8 * 3600 / (epochs * 1_281_167)
        assert models["deit-b"].seconds[str(size)] == pytest.approx(seconds, rel=0.003)
        assert models["regnety-16gf"].seconds[str(size)] == pytest.approx(1.2 * seconds, rel=0.01)  # "20% slower"


def test_the_page_on_the_paper_scale_says_the_same_hours(replicate: Call, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "paper-scale.md").read_text()
    (scale,) = re.findall(r"```toml\n(# tables/scales/in100.toml\n.*?)```", page, re.DOTALL)
    ((less, all_),) = re.findall(r"--scale in100`: ([\d,]+) hours of a V100 instead of ([\d,]+)", page)
    tables = copytree(ROOT / "tables", tmp_path / "tables")
    (tables / "scales" / "in100.toml").write_text(scale)
    for name, said in (("in100", less), ("paper", all_)):
        arguments = ("--id", TABLE, "--scale", name, "--tables", str(tables), "--results", str(tmp_path / "none"))
        assert f"{totals(replicate, *arguments)['processor_seconds'] / 3600:,.0f}" == said


def test_on_a_cluster_as_many_at_once_as_its_profile_says(replicate: Call, tmp_path: Path) -> None:
    arguments = ("--id", TABLE, "--scale", "paper", "--results", str(tmp_path), "--cluster", "example")
    here, there = totals(replicate, *arguments[:-2], "--workers", "2"), totals(replicate, *arguments)
    assert (here["at_once"], there["at_once"]) == (2, 16)
    assert there["wall_seconds"] < here["wall_seconds"]
    assert " on 16\n" in replicate("plan", *arguments).stdout


def test_hours_of_a_gpu_are_not_divided_by_the_cores_of_a_machine_without(
    replicate: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--id", TABLE, "--scale", "paper", "--results", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    total = totals(replicate, *arguments)
    assert total["at_once"] == 1
    assert total["wall_seconds"] == pytest.approx(total["processor_seconds"], abs=1)
    assert " of one V100, and this machine has no GPU\n" in replicate("plan", *arguments).stdout
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert totals(replicate, *arguments)["at_once"] == 2
    assert " on 2\n" in replicate("plan", *arguments).stdout


def kept(replicate: Call, results: Path, *arguments: str) -> set[str]:
    done = replicate("plan", "--scale", "paper", "--no-train", "--json", "--results", str(results), *arguments)
    return {job["key"].rpartition("-")[0] for job in json.loads(done.stdout)["jobs"]}


def test_without_training_nothing_is_read_that_only_a_training_would_read(replicate: Call, tmp_path: Path) -> None:
    assert kept(replicate, tmp_path, "--id", TABLE) == set()
    published = kept(replicate, tmp_path, "--id", TABLE, "--from", "released")
    assert {label for label in published if label.startswith("data-")} == {"data-imagefolder-val"}
    # Eight networks of the release, each with its decisions.
    assert len(published) == 1 + 2 * 8
    # A data set whose size is the number needs no training.
    assert len(kept(replicate, tmp_path, "--id", "datasets")) == 1
    assert (
        totals(replicate, "--id", "datasets", "--scale", "paper", "--no-train", "--results", str(tmp_path))["jobs"] == 7
    )


def test_a_scale_for_gpus_says_so_where_there_is_none(replicate: Call, tmp_path: Path) -> None:
    text = replicate("plan", "--scale", "paper", "--id", "decision_agreement", "--results", str(tmp_path)).stdout
    assert ", and this machine has no GPU\n" in text
    assert "no GPU" not in replicate("plan", "--id", "decision_agreement", "--results", str(tmp_path)).stdout
