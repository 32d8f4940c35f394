"""What a batch script does before it starts Python: run, with a program in place of srun that says what it saw."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from replicate.backends.slurm.profile import Profile
from replicate.backends.slurm.prologue import SETUP_FAILED, SetupFailure, note_of
from replicate.backends.slurm.script import Request, text

SRUN = """#!/usr/bin/env python3
import json, os, sys
json.dump({"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}, open(%r, "w"))
"""


class Node:
    """Runs the script of one element as slurmd does: with ``given`` by the node, and nothing of the submitter."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.code, self.submission = folder, folder / "the code", folder / "it's a submission"
        for path in (self.code, self.submission, folder / "bin"):
            path.mkdir()
        (folder / "bin" / "srun").write_text(SRUN % str(folder / "seen.json"))
        (folder / "bin" / "srun").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")

    def script(self, kind: str = "train", **profile: Any) -> str:
        sbatch = {"time": 60, **profile.pop("sbatch", {})}
        common = {"name": "lab", "python": "/opt/python", "paths": {"shared": "/shared", "data": "/data"}}
        request = Request("name", kind, self.submission, self.code, [3], "replicate-name", "comment")
        return text(Profile.model_validate({**common, "sbatch": sbatch, **profile}, strict=False), request)

    def run(self, script: str, given: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
        (self.folder / "seen.json").unlink(missing_ok=True)
        environ = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_CPUS_PER_TASK": "8", **given}
        return subprocess.run(
            ["/bin/bash", "-s"], input=script, env=environ, capture_output=True, text=True, check=False, cwd=self.folder
        )

    @property
    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "seen.json").read_text())
        return found

    @property
    def failure(self) -> SetupFailure | None:
        return SetupFailure.read(note_of(self.submission, 3))


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


def test_the_environment_is_the_profiles(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REPLICATE_WORKERS", "LD_LIBRARY_PATH", "MASTER_PORT", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "of the submitter")
    environment = {"NCCL_SOCKET_IFNAME": "ib0", "OMP_NUM_THREADS": 4, "ODD": 'it\'s $HOME; "x"'}
    script = node.script(environment=environment, pass_environment=["HTTPS_PROXY", "NOT_SET"])
    assert "#SBATCH --export-file=/dev/null" in script
    done = node.run(script)
    assert done.returncode == 0, done.stderr
    seen = node.seen["environment"]
    assert {name: seen[name] for name in ("NCCL_SOCKET_IFNAME", "OMP_NUM_THREADS", "ODD", "HTTPS_PROXY")} == {
        **environment,
        "OMP_NUM_THREADS": "4",
        "HTTPS_PROXY": "of the submitter",
    }
    assert seen["REPLICATE_DATA"] == "/data"
    assert seen["PYTHONPATH"] == str(node.code) == node.seen["folder"]
    assert seen["PATH"].startswith(f"{node.folder / 'bin'}:/usr/local/bin:/usr/bin")
    assert seen["HOME"].startswith("/")
    assert not {"REPLICATE_WORKERS", "LD_LIBRARY_PATH", "MASTER_PORT", "https_proxy", "NOT_SET"} & seen.keys()
    # srun would hand on only what sbatch was told to.
    assert "--export=ALL" in node.seen["arguments"]


def test_what_the_node_gives_stays(node: Node) -> None:
    given = {"TMPDIR": "/scratch/7", "PATH": f"{node.folder / 'bin'}:/site/bin:/usr/bin:/bin", "HOME": "/home/me"}
    node.run(node.script(), given)
    assert {name: node.seen["environment"][name] for name in given} == given


def test_setup_can_stage_the_images(node: Node) -> None:
    """Lines run when the environment is made, so that what they export holds."""
    setup = [
        '[ "$REPLICATE_KIND" != train ] || export STAGED=$TMPDIR/images',
        'export REPLICATE_DATA="${STAGED:-$REPLICATE_DATA}" PYTHONPATH=/site/packages',
        "cd /",
    ]
    node.run(node.script("predict", setup=setup), {"TMPDIR": "/scratch/7"})
    assert node.seen["environment"]["REPLICATE_DATA"] == "/data"
    done = node.run(node.script(setup=setup), {"TMPDIR": "/scratch/7"})
    assert done.returncode == 0
    assert node.seen["environment"]["REPLICATE_DATA"] == "/scratch/7/images"
    assert node.seen["environment"]["PYTHONPATH"] == f"{node.code}:/site/packages"
    assert node.seen["folder"] == str(node.code)
    assert done.stdout.splitlines() == [f"+ {line}" for line in setup]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("false", 1),
        ("module load cuda/12.4", 127),
        ("exit 3", 3),
        ("exit 0", 0),
        ("(exit 7)", 7),
        ("if true; then", 2),
        ("echo 'unfinished", 2),
        ("source /nowhere/modules.sh", 1),
        ("true; false # the last one counts", 1),
    ],
)
def test_a_line_that_fails_stops_the_job(node: Node, line: str, code: int) -> None:
    done = node.run(node.script(setup=["true", line, "touch never"]))
    assert done.returncode == SETUP_FAILED
    assert not (node.folder / "seen.json").exists()
    assert not (node.folder / "never").exists()
    assert node.failure is not None
    assert node.failure.line == line
    assert node.failure.code == code or (code == 2 and node.failure.code in (1, 2))
    assert f"setup line '{line}' failed" in done.stderr


def test_a_line_that_ends_well_says_nothing(node: Node) -> None:
    """Not even of an earlier life of the same job, and whatever the job itself ends with."""
    note_of(node.submission, 3).write_text("1\nfalse\n")
    for setup in (
        ["true"],
        ["false || true"],
        ["set -e"],
        ["set -u"],
        ["trap 'rm -f copy' EXIT"],
        ["x() { return 3; }"],
    ):
        done = node.run(node.script(setup=setup))
        assert done.returncode == 0, (setup, done.stderr)
        assert node.failure is None
    (node.folder / "bin" / "srun").write_text("#!/bin/sh\nexit 9\n")
    assert node.run(node.script(setup=["true"])).returncode == 9
    assert node.failure is None


def test_module_is_explained() -> None:
    assert "source /etc/profile.d/modules.sh" in SetupFailure("module load cuda", 127).help
    assert "modules.sh" not in SetupFailure("module load cuda", 1).help


def arguments_of(node: Node, kind: str, **sbatch: Any) -> tuple[list[str], list[str]]:
    """Of sbatch and of srun, as far as they speak of nodes and tasks."""
    script = node.script(kind, sbatch=sbatch)
    assert node.run(script).returncode == 0
    asked = [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]
    words = ("--nodes", "--ntasks", "--exclusive")
    return tuple([each for each in found if each.startswith(words)] for found in (asked, node.seen["arguments"]))  # type: ignore[return-value]


def test_one_task_unless_more_are_written(node: Node) -> None:
    """srun would start as many as fit on a node that is asked for alone."""
    one, once = ["--nodes=1", "--ntasks-per-node=1"], ["--nodes=1", "--ntasks=1"]
    assert arguments_of(node, "measure") == (["--exclusive", *one], once)
    assert arguments_of(node, "train", exclusive=True) == (["--exclusive", *one], once)
    four = ["--nodes=2", "--ntasks-per-node=2"]
    assert arguments_of(node, "train", nodes=2, ntasks_per_node=2) == (four, ["--nodes=2", "--ntasks=4"])
    assert arguments_of(node, "train", extra={"ntasks": 4}) == (
        ["--nodes=1", "--ntasks=4"],
        ["--nodes=1", "--ntasks=4"],
    )
    # An evaluation is one process, whatever stands in [sbatch].
    for common in ({"nodes": 2, "ntasks_per_node": 2}, {"extra": {"ntasks": 4}}, {"extra": {"ntasks-per-gpu": 1}}):
        assert arguments_of(node, "predict", **common) == (one, once)
