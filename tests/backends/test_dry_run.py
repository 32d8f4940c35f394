"""What a step would submit, where there is no Slurm to be asked."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, environment

PROFILE = """\
name   = "lab"
python = "/opt/deit/bin/python"
setup  = ["module load cuda"]
max_running = 2
[paths]
shared = "/shared/deit"
[sbatch]
partition = "gpu"
time      = 60
{kinds}
"""


def plan(folder: Path, *options: str, kinds: str = "") -> subprocess.CompletedProcess[str]:
    profile = folder / "lab.toml"
    profile.write_text(PROFILE.format(kinds=kinds))
    results = folder / "it's here" / "re sults"
    where = ["--results", results, "--cluster", profile, "--id", "distillation_ablation", "--seeds", "0,1"]
    command = [sys.executable, "-m", "replicate", "plan", "--scripts", *map(str, where), *options]
    # No program of Slurm is there.
    return subprocess.run(
        command, cwd=ROOT, env=environment(PATH=str(folder)), capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("dry")
    done = plan(folder, "--json")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["lab.toml"]
    body = json.loads(done.stdout)
    planned = sorted(job["key"] for job in body["jobs"])
    submitted = [key for call in body["scripts"] for keys in call["tasks"].values() for key in keys]
    assert sorted(submitted) == planned
    found: list[dict[str, Any]] = body["scripts"]
    return found


def test_scripts_are_those_of_a_step(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    for call in calls:
        header = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", call["script"], re.M))
        name = header["job-name"].removeprefix("replicate-")
        program, *arguments = shlex.split(call["command"])
        assert program == "sbatch"
        assert arguments[-1].endswith(f"/it's here/re sults/.slurm/{name}/sbatch.sh")
        assert shlex.split(header["output"]) == [f"{Path(arguments[-1]).parent}/%A_%a_0_log.out"]
        assert shlex.split(call["script"].splitlines()[-1])[-1] == str(Path(arguments[-1]).parent)
        assert "replicate-plan-" not in call["script"] + call["command"]
        assert header["chdir"].startswith("/shared/deit/code/")
        assert header["partition"] == "gpu"
        assert header.get("dependency", "").strip("'") == call["dependency"]
        first, last = min(map(int, call["tasks"])), max(map(int, call["tasks"]))
        assert re.match(rf"{first}\b", header["array"])
        assert re.search(rf"\b{last}(%\d+)?$", header["array"])
        assert subprocess.run(["bash", "-n"], input=call["script"], text=True, check=False).returncode == 0
    assert {call["kind"] for call in calls} == {"data", "train", "answers", "predict"}


def test_arrays_and_dependencies_are_explained(calls: list[dict[str, Any]]) -> None:
    told = "\n".join(line for call in calls for line in call["explained"])
    assert "(max_running)" in told
    assert "aftercorr:" in told
    assert ": each task waits for the task of the same index of " in told
    assert re.search(r"afterok:1_0: no task begins before 1_0 ended with a result", told)
    # What a dependency names was submitted before.
    for call in calls:
        for number in re.findall(r"(?<=:)\d+", call["dependency"]):
            assert int(number) < call["number"]


def test_in_words(tmp_path: Path) -> None:
    done = plan(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n    #!/bin/bash\n") == 4
    assert "\n1. sbatch " in done.stdout
    assert "   1 data job in 1 task of one array (--array=0" in done.stdout


def test_what_a_step_would_refuse(tmp_path: Path) -> None:
    wasteful = plan(tmp_path, "--scale", "paper", kinds='[kinds.train]\ntime = "30-00:00:00"\ngpus_per_node = 8')
    assert wasteful.returncode == 2
    assert "slurm/lab.toml: train jobs: 1 process, 8 GPUs: 7 would idle" in wasteful.stderr
    short = plan(tmp_path, "--scale", "paper", kinds="[kinds.train]\ngpus_per_node = 1")
    assert "warning: train-" in short.stderr
    assert short.returncode == 0


def test_without_a_cluster(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "replicate", "plan", "--scripts", "--results", str(tmp_path / "results")]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error: --scripts needs a cluster" in done.stderr
