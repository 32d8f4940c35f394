"""Results folders as the engine would leave them, written through the store itself, without any training."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command_line import ROOT

from replicate.figures.load import load_with_figures
from replicate.jobs.job import Job
from replicate.plan.cells import Plan, plan_tables
from replicate.site.book import Book
from replicate.specs.load import Specs
from replicate.specs.scale import PublishedFile
from replicate.store.result import commit_result
from replicate.store.store import FAILURE, Store

IMAGES = 200
HEADS = ("class", "distillation", "softmax-sum", "logit-mean")

PROVENANCE = {
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "dirty": True,
    "python": "3.11.7",
    "packages": {"torch": "2.15.0", "timm": "1.0.31", "scikit-learn": None},
    "system": "Linux x86_64",
    "processor": "Some <b>processor</b>",
    "threads": 1,
}


class Report(NamedTuple):
    """The folder of a site; ``left`` are the jobs in its store that have no whole result, by state."""

    folder: Path
    book: Book
    left: dict[str, Job]


def plan_of(
    folder: Path = ROOT / "tables", scale: str = "mini", seeds: tuple[int, ...] = (0,), released: bool = False
) -> Plan:
    specs: Specs = load_with_figures(folder, scale, released)
    return plan_tables(specs, sorted(specs.tables), seeds)


def fill(store: Store, job: Job, provenance: dict[str, Any] = PROVENANCE) -> None:
    """A whole result of ``job``; its numbers are drawn from the key, so they are the same in every test."""
    folder = store.prepare(job)
    draw = np.random.default_rng(int(job.key[-12:], 16))
    files, summary = _MAKERS[job.kind](folder, job, draw)
    cost = {"wall_seconds": 12.5, "cpu_seconds": 11.0, "peak_mb": 480.0}
    commit_result(folder, job.key, files, summary, cost, provenance)


def fill_all(store: Store, plan: Plan, leave: Collection[str] = ()) -> None:
    for job in plan.graph:
        if job.key not in leave:
            fill(store, job)


def fail(store: Store, job: Job, message: str) -> None:
    """``job`` as a worker leaves it that ended in an error."""
    (store.prepare(job) / FAILURE).write_text(json.dumps({"kind": "diverged", "message": message, "retry": False}))


def damage(store: Store, job: Job) -> None:
    """``job`` done, and then one of its files cut short."""
    fill(store, job)
    name = next(iter(json.loads((store.folder(job.key) / "result.json").read_text())["files"]))
    (store.folder(job.key) / name).write_bytes(b"cut")


def _data(folder: Path, job: Job, draw: np.random.Generator) -> tuple[list[str], dict[str, Any]]:
    if "of" in job.payload["data"]:
        labels = np.zeros((IMAGES, 10), np.bool_)
        labels[np.arange(IMAGES), draw.integers(0, 10, IMAGES)] = True
        np.save(folder / "real_labels.npy", labels)
        return ["real_labels.npy"], {"test": IMAGES, "classes": 10}
    (folder / "train_images.npy").write_bytes(job.key.encode())
    sizes = {name: job.payload["data"][name] for name in ("train", "test", "classes")}
    return ["train_images.npy"], sizes | {"fingerprint": "ab" * 32}


def _train(folder: Path, job: Job, draw: np.random.Generator) -> tuple[list[str], dict[str, Any]]:
    losses = 2.3 * np.exp(-np.arange(12) / 8) + 0.05 * draw.random(12)
    curve = [
        {"epoch": epoch, "lr": 1e-3 * (1 - epoch / 12), "loss": float(loss), "images": 768 * (epoch + 1)}
        for epoch, loss in enumerate(losses)
    ]
    (folder / "curve.json").write_text(json.dumps(curve))
    (folder / "model.safetensors").write_bytes(job.key.encode() * 100)
    summary = {"loss": curve[-1]["loss"], "epochs": 12, "images": 9216, "parameters": 356938}
    return ["curve.json", "model.safetensors"], summary


def _weights(folder: Path, job: Job, draw: np.random.Generator) -> tuple[list[str], dict[str, Any]]:
    (folder / "model.safetensors").write_bytes(job.key.encode() * 100)
    file = PublishedFile.of(job.payload["file"])
    return ["model.safetensors"], {"parameters": 356938, "file": file.file, "sha256": f"{file.sha256:0<64}"}


def _predict(folder: Path, job: Job, draw: np.random.Generator) -> tuple[list[str], dict[str, Any]]:
    labels = draw.integers(0, 10, IMAGES).astype(np.int16)
    heads = {}
    for head in HEADS:
        top5 = np.stack([draw.permutation(10)[:5] for _ in range(IMAGES)]).astype(np.int16)
        right = draw.random(IMAGES) < 0.6
        top5[right, 0] = labels[right]
        heads[head] = top5
    np.savez(folder / "decisions.npz", labels=labels, **heads)
    return ["decisions.npz"], {"images": IMAGES}


def _measure(folder: Path, job: Job, draw: np.random.Generator) -> tuple[list[str], dict[str, Any]]:
    (folder / "measure.json").write_text("{}\n")
    ratio = {"median": 2.0, "low": 1.98, "high": 2.02, "half_width_percent": 1.0, "steady": True}
    architecture = {"embed_dim": 96, "heads": 4, "layers": 3, "size": 32}
    summary = {"images_per_second": float(draw.integers(500, 9000)), "ratio": ratio, "batch": 64}
    more = {"parameters": 356938, "architecture": architecture, "device": "Some processor"}
    return ["measure.json"], summary | more


def _architecture(folder: Path, job: Job, draw: np.random.Generator) -> tuple[list[str], dict[str, Any]]:
    (folder / "architecture.json").write_text("{}\n")
    architecture = {"embed_dim": 96, "heads": 4, "layers": 3, "size": 32}
    return ["architecture.json"], {"parameters": 356938, "architecture": architecture}


def _probe(folder: Path, job: Job, draw: np.random.Generator) -> tuple[list[str], dict[str, Any]]:
    (folder / "similarity.json").write_text("{}\n")
    layers = [float(value) for value in np.sort(draw.random(3))]
    errors = {"layers": [0.01] * 3, "last": 0.01}
    values = {"input": 0.05, "input_with_position": 0.2, "layers": layers, "last": 0.9, "errors": errors}
    return ["similarity.json"], values | {"images": IMAGES}


_MAKERS = {
    "data": _data,
    "weights": _weights,
    "train": _train,
    "predict": _predict,
    "measure": _measure,
    "architecture": _architecture,
    "probe": _probe,
}
