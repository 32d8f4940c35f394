"""Nights on a real Slurm: one with injected faults, one that goes on from it, and clean ones that move nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, environment

from cluster.small_project import EPOCHS, Night, eventually, files_of
from cluster.small_table import TABLE, write_specs
from cluster.testbed import Testbed, lives, wait_for

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slurm,
    pytest.mark.slurm_fault,
    pytest.mark.slurm_quick,
    pytest.mark.flaky(reruns=2),
]

ROWS = ("none", "soft")
PLAIN, SOFT = "train-deit-ti-224-none", "train-deit-ti-224-soft"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same table by local workers: results and rendered files."""
    folder = tmp_path_factory.mktemp("reference")
    write_specs(folder / "tables", ROWS, EPOCHS)
    where = ["--tables", folder / "tables", "--results", folder / "results", "--out", folder / "out", "--scale", "tiny"]
    command = [sys.executable, "-m", "replicate", "table", "--id", TABLE, *map(str, where)]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True, timeout=600)
    return folder


@pytest.fixture
def night(testbed: Testbed, request: pytest.FixtureRequest) -> Iterator[Night]:
    yield Night(testbed, re.sub(r"\W", "-", request.node.name), ROWS)
    testbed.clear()


def summary(night: Night, *arguments: str, code: int = 0) -> dict[str, Any]:
    night.call("nightly", *arguments, code=code)
    folder = night.results / ".nights" / "tiny" / "latest"
    assert (folder / "summary.md").read_text().startswith("# Night of ")
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def quiet(night: Night) -> None:
    eventually(lambda: night.testbed.run("squeue", "-h", "-o", "%T") == "", 180, "jobs do not end")


def same(night: Night, reference: Path) -> None:
    assert night.files() == files_of(reference / "results")
    for name in ("small.tex", "small.csv", "small.json", "small.html"):
        assert (night.folder / "out" / "tiny" / name).read_bytes() == (reference / "out" / "tiny" / name).read_bytes()


@pytest.mark.slurm_fault
def test_nights_with_faults(night: Night, reference: Path) -> None:
    """The process of a training killed, the slurmd of another's node killed: the next nights bring the same bytes."""
    testbed = night.testbed
    told = summary(night)
    assert (told["submitted"], len(told["agenda"]["unasked"])) == ({}, 3)
    told = summary(night, "--train")
    assert len(told["submitted"]) == 6
    assert told["counts"] == {"pending": 2}
    keys = {prefix: next(key for key in told["submitted"] if key.startswith(prefix)) for prefix in (PLAIN, SOFT)}
    plain, soft = keys[PLAIN], keys[SOFT]
    wait_for(lambda: night.progress(plain).get("epoch", 0) >= 10, 120, night.why(plain))
    os.kill(night.child(plain), signal.SIGKILL)
    wait_for(lambda: night.progress(soft).get("epoch", 0) >= 5, 120, night.why(soft))
    node, child = night.attempts(soft)[-1]["node"], night.child(soft)
    testbed.kill(node)
    os.kill(child, signal.SIGKILL)
    wait_for(lambda: not lives(child), 30, "it lives on")
    eventually(lambda: night.jobs()[plain]["state"] == "failed", 60, "it does not fail")
    # The night after the faults: says what had ended, and submits it again.
    told = summary(night)
    assert plain in told["recovered"]
    assert plain in told["submitted"]
    assert told["failed"] == {}
    text = (night.results / ".nights" / "tiny" / "latest" / "summary.md").read_text()
    assert f"`{plain}` had ended without a result and goes on" in text
    testbed.up()
    quiet(night)
    # Nights until everything is there; each computes only what is missing.
    for _ in range(4):
        told = summary(night)
        if told["counts"] == {"done": 2}:
            break
        quiet(night)
    assert told["counts"] == {"done": 2}
    same(night, reference)
    assert len(night.attempts(plain)) == 2
    night.call("status", "--id", TABLE, code=0)
    # Clean nights: evaluations are submitted to be computed again, and a later night finds the same bytes.
    compared = told["rechecks"]
    for arguments in (("--again",), ("--again",), ("--budget", "0")):
        quiet(night)
        told = summary(night, *arguments)
        assert told["changes"]["same_values"] is True
        assert not [key for key in told["submitted"] if not key.startswith("predict-")]
        compared += told["rechecks"]
    assert len(compared) >= 4
    assert {one["outcome"] for one in compared} == {"same"}
    assert not list((night.results / ".nights" / ".work" / "again" / "tiny").glob("predict-*"))
    # The last submission is put away by the night after it.
    slurm = night.results / ".nights" / ".work" / "again" / "tiny" / ".slurm"
    assert len(list(slurm.glob("*/map.json"))) <= 1
    assert list(slurm.glob("old/*/map.json"))
    same(night, reference)


def test_slurm_does_not_answer(night: Night, reference: Path) -> None:
    night.seed_with(reference / "results", "data-", "train-", "predict-")
    night.testbed.kill("slurmctld")
    try:
        told = summary(night, code=3)
    finally:
        night.testbed.up()
    assert told["faults"]
    assert told["counts"] == {"done": 2}
    assert summary(night)["faults"] == []
