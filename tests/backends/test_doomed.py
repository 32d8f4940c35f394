"""A training that really goes wrong: it is named, stopped where that was asked for, and goes on where it was not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_project import ended, new_project

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

EPOCHS = 10
"""Fewer than the network, which learns next to nothing of 64 images, may answer by chance."""


def test_a_rate_far_too_high_is_stopped_and_goes_on_without_the_option(tmp_path: Path) -> None:
    wild = {"deit-s-224/none": {"change": {"lr": 0.5, "weight_decay": 0.0}}}
    with new_project(tmp_path / "wild", wild, epochs=EPOCHS) as project:
        keys = [job["key"] for job in project.json_of("plan", "--id", "tiny")["jobs"]]
        good, doomed = (next(key for key in keys if f"train-deit-{size}-224-none" in key) for size in ("ti", "s"))
        folder, log = project.results / doomed, project.results / doomed / "log.txt"
        stopped = ended(project.start("run", good, doomed, "--stop-suspicious"))
        assert stopped.returncode == 1, stopped.stderr
        assert f"{good}: done" in stopped.stdout
        assert f"failed: {doomed}: suspicious: the loss is " in stopped.stderr
        assert f"its checkpoint is kept; it goes on with: run {doomed}" in stopped.stderr
        assert len(list(folder.glob("checkpoint-*.safetensors"))) in (1, 2)
        (said,) = [line for line in log.read_text().splitlines() if line.startswith("suspicious: the loss is ")]
        assert "epoch" in said
        done = len((folder / "epochs.jsonl").read_text().splitlines())
        assert 3 < done < EPOCHS
        before = log.read_bytes()
        again = ended(project.start("run", doomed, "--stop-suspicious"))
        assert (again.returncode, log.read_bytes()) == (1, before), "it would only be stopped again"
        (state,) = [job for job in project.json_of("status", "--id", "tiny")["jobs"] if job["key"] == doomed]
        assert (state["state"], state["class"]) == ("failed", "suspicious")
        goes_on = ended(project.start("run", doomed))
        assert goes_on.returncode == 0, goes_on.stderr
        assert goes_on.stdout.count(f"{doomed} is suspicious: the loss is ") == 1
        assert len(json.loads((folder / "curve.json").read_text())) == EPOCHS
        attempts = log.read_text()
        assert attempts.count("epoch 1/") == 1, "it went on from its checkpoint"
