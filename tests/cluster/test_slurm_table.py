"""A table through Slurm: the same bytes as on this machine, and the commands around it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, environment

from cluster.small_project import Night, eventually, files_of
from cluster.small_table import TABLE, write_specs
from cluster.testbed import Testbed

# Another try for a machine too busy to meet a deadline: what is compared, byte for byte, is never loosened.
pytestmark = [pytest.mark.torch, pytest.mark.slurm, pytest.mark.slurm_fault, pytest.mark.flaky(reruns=2)]

ROWS = ("none", "hard")
EPOCHS = 20


def local(folder: Path, *arguments: str) -> Path:
    """Results of the same call without a cluster."""
    where = ["--results", folder / "results", "--out", folder / "out"]
    command = [sys.executable, "-m", "replicate", "table", *arguments, *map(str, where)]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True, timeout=900)
    return folder


def submissions(told: str) -> list[str]:
    return [line for line in told.splitlines() if line.startswith("submitted ")]


@pytest.fixture(scope="session")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("computed")
    write_specs(folder / "tables", ROWS, EPOCHS)
    return local(folder, "--id", TABLE, "--tables", str(folder / "tables"), "--scale", "tiny")


@pytest.fixture
def night(testbed: Testbed, request: pytest.FixtureRequest) -> Iterator[Night]:
    yield Night(testbed, re.sub(r"\W", "-", request.node.name), ROWS, EPOCHS)
    testbed.clear()


@pytest.mark.slurm_quick
def test_same_bytes_as_here(night: Night, computed: Path) -> None:
    told = night.step()
    # Two waves of two: the second training waits for its teacher only, predictions for their networks.
    assert "2 train jobs in 2 tasks, after afterok:" in told
    assert len(submissions(told)) == 5
    assert "not finished yet" in told
    assert "submitted" not in night.step()
    night.finish()
    assert night.files() == files_of(computed / "results")
    for name in ("small.tex", "small.csv", "small.json", "small.html"):
        assert (night.folder / "out" / "tiny" / name).read_bytes() == (computed / "out" / "tiny" / name).read_bytes()
    eventually(lambda: night.testbed.run("squeue", "-h") == "", 30, "the queue does not empty")
    assert "submitted" not in night.step(code=0)
    assert not list(night.folder.rglob("*.pkl"))
    for key in night.jobs():
        (attempt,) = (night.results / key / "attempts").iterdir()
        assert {path.name for path in attempt.iterdir()} >= {"stdout", "stderr", "sbatch.sh", "env.json"}
        made = json.loads((night.results / key / "result.json").read_text())["provenance"]
        assert len(made["commit"]) == 40
    # What is finished is put away.
    assert [path.name for path in (night.results / ".slurm").iterdir() if path.is_dir()] == ["old"]


@pytest.mark.slurm_quick
def test_what_is_refused_holds_back_only_itself(night: Night) -> None:
    night.change(r"^\[kinds.train\]", '[kinds.train]\npartition = "nowhere"\nntasks_per_node = 3')
    night.change(r"^\[kinds.predict\]", '[kinds.predict]\nnodelist = "n1,n2,n3,n4,n5"')
    told = night.step(code=2)
    assert "slurm/testbed.toml: train jobs: sbatch refuses" in told
    assert "slurm/testbed.toml: predict jobs: sbatch refuses" in told
    assert "partition = nowhere" in told
    assert " and 1 more: recipe.batch does not split over 3 processes: got 32" in told
    assert "use another number of processes: nodes and ntasks_per_node in [kinds.train], now 3 in all" in told
    maps = [json.loads(path.read_text()) for path in (night.results / ".slurm").glob("*/map.json")]
    assert [each["kind"] for each in maps] == ["data"]


def test_queue_has_no_room(night: Night, computed: Path) -> None:
    """Below MaxSubmitJobs, in as many calls as it takes."""
    night.seed_with(computed / "results", "data-", "train-")
    sacctmgr = ("sacctmgr", "-i", "modify", "user", "root", "set")
    night.change(r"^pack.*", "pack = {}")
    night.testbed.run(*sacctmgr, "MaxSubmitJobs=1")
    try:
        told = night.step()
        assert len(submissions(told)) == 1
        assert "1 job not submitted yet: the queue is full" in told
        night.finish()
    finally:
        night.testbed.run(*sacctmgr, "MaxSubmitJobs=200")
    assert night.files() == files_of(computed / "results")


def test_one_wave_a_call(night: Night) -> None:
    night.change(r"^requeue", "chain = false\nrequeue")
    told = night.step()
    (line,) = submissions(told)
    assert "after" not in line
    assert "5 jobs not submitted yet: wait for this wave" in told


@pytest.mark.slurm_quick
def test_cancel_why_and_logs(night: Night, computed: Path) -> None:
    night.seed_with(computed / "results", "data-", "train-regnety")
    night.testbed.run("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        night.step()
        key = night.key("train-deit-ti-224-hard")
        why = night.why(key)
        assert "PartitionDown" in why
        assert "the partition is closed; an administrator has to open it" in why
        assert night.why(night.number(key)) == why
        assert "no job of these tables has Slurm's number '99999'" in night.call("why", "99999", code=2)
        told = night.call("retry", "--class", "oom", code=2)
        assert "did you mean 'OOM'?\n  classes: GPUs, OOM, OOM-GPU," in told
        assert "Dependency" in night.why(night.key("predict-deit-ti-224-hard"))
        told = night.call("cancel", key, code=0)
        assert f"cancelled {key}" in told
    finally:
        night.testbed.run("scontrol", "update", "PartitionName=main", "State=UP")
    eventually(lambda: night.jobs()[key]["state"] == "absent", 20, "it stays in the queue")
    night.finish()
    told = night.call("logs", TABLE, "hard", "ti_224", code=0)
    assert "predict-deit-ti-224-hard" in told
    assert "_log.out" in told


def test_status_costs_one_squeue(night: Night) -> None:
    night.step()
    tools = night.folder / "bin"
    tools.mkdir()
    for name in ("squeue", "sacct", "scontrol", "sbatch", "sacctmgr"):
        real = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (tools / name).write_text(f'#!/bin/sh\necho {name} >>{night.folder}/calls\nexec {real} "$@"\n')
        (tools / name).chmod(0o755)
    night.call("status", "--id", TABLE, code=3, PATH=f"{tools}:{environment()['PATH']}")
    assert (night.folder / "calls").read_text().split() == ["squeue"]


@pytest.mark.slurm_quick
def test_two_processes_train_one_network(night: Night, computed: Path) -> None:
    """torch.distributed through submitit: both take their share, one writes."""
    night.seed_with(computed / "results", "data-")
    night.change(r"^\[kinds.train\]", '[kinds.train]\nntasks_per_node = 2\nmem = "3800M"')
    night.finish()
    key = night.key("train-deit-ti-224-none")
    result = json.loads((night.results / key / "result.json").read_text())
    alone = json.loads((computed / "results" / key / "result.json").read_text())
    assert result["provenance"]["processes"] == 2
    assert result["summary"]["images"] == alone["summary"]["images"]
    # Floats are added in another order, so equal only nearly.
    assert result["summary"]["loss"] == pytest.approx(alone["summary"]["loss"], rel=0.05)
    assert len(night.attempts(key)) == 1


def test_an_exclusive_node_runs_each_job_once(testbed: Testbed, computed: Path) -> None:
    """srun starts as many tasks as fit on a node that is asked for alone, unless their number is said."""
    night = Night(testbed, "alone", ("none",), epochs=4)
    night.seed_with(computed / "results", "data-")
    spec = night.tables / f"{TABLE}.toml"
    timed = '{ key = "speed", header = "im/s", metric = "throughput", run = "deit-ti-224" }'
    text = spec.read_text().replace("columns   = [\n", f"columns   = [\n  {timed},\n")
    spec.write_text(re.sub(r"paper = \{ (.*) \}", r"paper = { \1, speed = 2536.5 }", text))
    night.change(r"^\[sbatch\]", "[sbatch]\nexclusive = true")
    try:
        night.finish()
    finally:
        testbed.clear()
    ran = [key for key in night.jobs() if not key.startswith("data-")]
    assert {key.partition("-")[0] for key in ran} == {"measure", "predict", "train"}
    for key in ran:
        (attempt,) = night.attempts(key)
        assert attempt["environment"]["SLURM_STEP_NUM_TASKS"] == "1"
        assert "processes" not in json.loads((night.results / key / "result.json").read_text())["provenance"]
    # A log for each task of a step, by its number.
    assert not list(night.results.rglob("*_1_log.out"))


def test_nodes_train_one_network(testbed: Testbed, computed: Path) -> None:
    """Where the processes of a training are makes no difference to a bit; how many there are, to the last bits only."""
    made: dict[tuple[int, int], tuple[dict[str, str], dict[str, Any]]] = {}
    try:
        for nodes, tasks in ((1, 2), (2, 1), (2, 2)):
            night = Night(testbed, f"{nodes}x{tasks}", ("none",), EPOCHS)
            scale = night.tables / "scales" / "tiny.toml"
            scale.write_text(re.sub(r"^(mix_batch *=) 32", r"\1 16", scale.read_text(), flags=re.M))
            night.seed_with(computed / "results", "data-")
            request = f'nodes = {nodes}\nntasks_per_node = {tasks}\nmem = "{1900 * tasks}M"'
            night.change(r"^\[kinds.train\]", f"[kinds.train]\n{request}")
            night.finish()
            key = night.key("train-deit-ti-224-none")
            (attempt,) = night.attempts(key)
            assert attempt["environment"]["SLURM_JOB_NUM_NODES"] == str(nodes)
            result = json.loads((night.results / key / "result.json").read_text())
            assert result["provenance"]["processes"] == nodes * tasks
            made[nodes, tasks] = night.files(), result["summary"]
    finally:
        testbed.clear()
    assert made[2, 1] == made[1, 2]
    four, two = made[2, 2][1], made[1, 2][1]
    assert four["images"] == two["images"]
    assert four["loss"] == pytest.approx(two["loss"], rel=0.05)


@pytest.mark.slow_slurm
def test_table_3_at_mini_scale(testbed: Testbed, tmp_path: Path) -> None:
    table = ("--id", "distillation_ablation")
    here = local(tmp_path, *table)
    results = testbed.shared / "table3"
    where = ["--cluster", testbed.profile, "--results", results, "--out", tmp_path / "out-slurm", "--wait"]
    command = [sys.executable, "-m", "replicate", "table", *table, *map(str, where)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "aftercorr:" in done.stdout
    assert files_of(results) == files_of(here / "results")
    for path in (here / "out" / "mini").iterdir():
        assert (tmp_path / "out-slurm" / "mini" / path.name).read_bytes() == path.read_bytes()
