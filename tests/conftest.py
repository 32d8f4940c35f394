"""Calling the command line as a user does, and results folders that no training had to fill."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replicate.plan.cells import Plan, plan_tables
from replicate.plan.job import Job
from replicate.spec.load import load
from replicate.store.result import commit_result
from replicate.store.store import Store

ROOT = Path(__file__).resolve().parents[1]
TABLE = "distillation_ablation"
IMAGES = 200

Call = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(**changes: str) -> dict[str, str]:
    """Of a command: without what the terminal of whoever runs the tests would change."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | changes


def missing(reason: str) -> None:
    """Skips the test; fails it where nothing may be skipped."""
    if os.environ.get("REPLICATE_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def replicate(tmp_path: Path) -> Call:
    """``python -m replicate ARGUMENTS``, with results and rendered files in the test's own folder."""

    def call(*arguments: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "replicate", *arguments],
            cwd=cwd,
            env=environment(**(env or {})),
            capture_output=True,
            text=True,
            timeout=300,
        )

    return call


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A copy of the specs, to be damaged; of the tables Table 3 alone, since more of them will come."""
    folder = tmp_path / "tables"
    (folder / "scales").mkdir(parents=True)
    for path in (ROOT / "tables" / f"{TABLE}.toml", ROOT / "tables" / "runs.toml"):
        shutil.copy(path, folder)
    for scale in ("mini", "paper"):
        shutil.copy(ROOT / "tables" / "scales" / f"{scale}.toml", folder / "scales")
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """A small file system of its own, to be filled or made read-only without harm: ``disk("size=1m")``."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            missing("a small disk can only be mounted by root")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def plan_of(scale: str = "mini", seeds: tuple[int, ...] = (0,)) -> Plan:
    return plan_tables(load(ROOT / "tables", scale), [TABLE], seeds)


def fill(store: Store, job: Job) -> None:
    """A result as the engine would leave it, in shape: its decisions are drawn from the key."""
    folder = store.prepare(job)
    names = ["model.safetensors"]
    if job.kind == "predict":
        draw = np.random.default_rng(int(job.key[-12:], 16))
        labels = draw.integers(0, 10, IMAGES).astype(np.int16)
        heads = {}
        for head in ("class", "distillation", "softmax-sum", "logit-mean"):
            top5 = np.stack([draw.permutation(10)[:5] for _ in range(IMAGES)]).astype(np.int16)
            right = draw.random(IMAGES) < 0.6
            top5[right, 0] = labels[right]
            heads[head] = top5
        np.savez(folder / "decisions.npz", labels=labels, **heads)
        names = ["decisions.npz"]
    else:
        (folder / names[0]).write_bytes(job.key.encode() * 100)
    made = {"commit": "unknown", "dirty": None, "python": "3.11", "packages": {}, "processor": "", "system": ""}
    cost = {"wall_seconds": 1.0, "cpu_seconds": 1.0, "peak_mb": 100.0}
    commit_result(folder, job.key, names, {"images": IMAGES}, cost, made | {"threads": 1})


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with everything Table 3 needs at mini scale."""
    store = Store(tmp_path / "results")
    for job in plan_of().graph:
        fill(store, job)
    return store.root


@pytest.fixture
def prefix_of() -> Callable[[Any, str], str]:
    """The one key of a plan that starts so."""

    def find(plan: Any, prefix: str) -> str:
        (key,) = [key for key in plan.graph.jobs if key.startswith(prefix)]
        return str(key)

    return find
