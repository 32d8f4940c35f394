"""Plans, jobs and stored results for tests, which no training had to make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from command_line import ROOT, TABLE

from replicate.jobs.job import Job
from replicate.plan.cells import Plan, plan_tables
from replicate.specs.load import load
from replicate.store.result import commit_result
from replicate.store.store import Store

IMAGES = 200


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
        case "answers":
            return next(iter(expander.network(run, 0).aids().values()))
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
