"""Calling the command line as a user does, and results folders that no training had to fill."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replicate.cli import main
from replicate.jobs.job import Job
from replicate.plan.cells import Plan, plan_tables
from replicate.specs.load import load
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


def called_here(command: list[str], cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """What the command line does with ``command`` in this process: its exit code and what it prints."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(cwd),
    ):
        patch.setattr(sys, "argv", command[2:])
        for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
            patch.delenv(name, raising=False)
        for name, value in changes.items():
            patch.setenv(name, value)
        try:
            main()
            code: object = 0
        except SystemExit as end:
            code = end.code
        except Exception:
            traceback.print_exc()
            code = 1
    return subprocess.CompletedProcess(command, int(str(code or 0)), out.getvalue(), err.getvalue())


def released_name(path: Path) -> str:
    """Renames ``path`` as torch.hub wants it, with the first digits of its SHA-256; the new name."""
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(path.with_name(f"{path.stem}-{digits}{path.suffix}")).name


def missing(reason: str) -> None:
    """Skips the test; fails it where nothing may be skipped."""
    if os.environ.get("REPLICATE_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def plan_of(scale: str = "mini", seeds: tuple[int, ...] = (0,), released: bool = False) -> Plan:
    return plan_tables(load(ROOT / "tables", scale, released), [TABLE], seeds)


@cache
def example(kind: str) -> Job:
    """A job of ``kind``, of the miniature (of published weights at the paper's scale)."""
    expander = plan_of("paper" if kind == "weights" else "mini", released=kind == "weights").expander
    run = "deit-b-224/token"
    match kind:
        case "data":
            return expander.data("imagenet")
        case "train" | "weights":
            return expander.network(run, 0)
        case "predict":
            return expander.job("predict", run, 0)
        case "probe":
            return expander.job("probe", run, 0)
        case "measure":
            return expander.job("measure", run)
    raise ValueError(kind)


def job_like(key: str, kind: str, inputs: Mapping[str, str] | None = None, **about: Any) -> Job:
    """A job of ``kind`` by the name of ``key``, for tests to which what it computes is all one."""
    return replace(example(kind), **{"key": key, "inputs": inputs or {}, "run": "", "seed": 0, "seconds": 0.0} | about)


def copied_tables(into: Path) -> Path:
    """``tables/`` with Table 3 alone."""
    folder = into / "tables"
    (folder / "scales").mkdir(parents=True)
    for path in (ROOT / "tables" / f"{TABLE}.toml", ROOT / "tables" / "runs.toml"):
        shutil.copy(path, folder)
    for scale in ("mini", "paper"):
        shutil.copy(ROOT / "tables" / "scales" / f"{scale}.toml", folder / "scales")
    return folder


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
    summary = {"images": IMAGES, "train": 960, "test": IMAGES, "classes": 10}
    commit_result(folder, job.key, names, summary, cost, made | {"threads": 1})
