"""A world whose every number can be checked in one's head: two sizes, two heads, 100 test images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from command_line import ROOT

from replicate.figures.finish import finish_figure
from replicate.figures.load import load_with_figures
from replicate.figures.model import Figure, Point, Side, XYPanel
from replicate.figures.plan import FigurePlan, plan_figure
from replicate.jobs.job import Job
from replicate.specs.load import Specs
from replicate.store.result import commit_result
from replicate.store.store import Store

IMAGES = 100

TABLE = """
[table]
id        = "small"
number    = 5
source    = "the paper"
caption   = "Small."
metric    = "top1"
tolerance = { default = 0.3 }
tolerance_reason = "None is needed."
columns   = [
  { key = "words", header = "words", text = true },
  { key = "speed", header = "im/s", metric = "throughput" },
  { key = "top1",  header = "top-1" },
]

[[rows]]
key   = "ti"
label = "Ti"
run   = "deit-ti-224/none"
paper = { speed = 2000, top1 = 72.2 }

[[rows]]
key   = "b"
label = "B"
group = "large"
run   = "deit-b-224/none"
paper = { speed = 250, top1 = "81.8*" }

[[rows]]
key     = "other"
label   = "a convnet"
group   = "large"
run     = "resnet-50"
not_run = "nobody trains it here"
paper   = { speed = 1000, top1 = 76.0 }

[[references]]
key   = "teacher"
label = "the teacher"
run   = "regnety-16gf"
paper = 82.9
"""

SCATTER = """
[figure]
id = "speed"
number = 1
source = "the paper, Figure 1"
caption = "Speed."

[scatter]
table = "small"
x = { column = "speed", label = "images/s over B's", log = true, relative_to = "small/b/speed" }
y = { column = "top1", label = "top-1 (%)" }

[[scatter.series]]
label = "DeiT"
rows  = ["b", "ti"]
names = ["B", "Ti"]

[[scatter.series]]
label = "convnet"
rows  = ["other"]
"""

LINES = """
[figure]
id = "longer"
source = "the paper, Figure 3"
caption = "Longer."

[lines]

[[lines.panels]]
x = { label = "epochs", ticks = [300, 500] }
y = { label = "top-1 (%)" }

[[lines.panels.series]]
label  = "DeiT-B"
points = [
  { x = 300, cell = "small/b/top1" },
  { x = 500, run = "deit-b-224/token", head = "distillation", paper = 84.0, source = "the chart" },
  { x = 800, paper = 84.5 },
]

[[lines.panels.levels]]
label = "teacher"
cell  = "small/@/teacher"
"""

DIFFERENCES = """
[figure]
id = "margins"
caption = "Margins."

[differences]
table   = "small"
base    = "b"
columns = ["top1"]
label   = "points"
limit   = 8
"""

HEATMAP = """
[figure]
id = "field"
caption = "Field."

[heatmap]
table = "small"
label = "everything"
names = ["speed", "accuracy"]
"""

PROFILE = """
[figure]
id = "tokens"
caption = "Tokens."

[profile]
label = "cosine"

[[profile.series]]
label = "two tokens"
run   = "deit-b-224/token"
paper_last = "small/ti/top1"
"""

CURVES = """
[figure]
id = "curves"
caption = "Curves."

[curves]
runs      = ["deit-ti-224/none"]
reference = "deit-b-224/none"
"""

IDENTITY = """
[figure]
id = "all"
caption = "All."

[identity]

[[identity.panels]]
label   = "accuracy (%)"
metrics = ["top1"]

[[identity.panels]]
label   = "images/s over B's (log)"
metrics = ["throughput"]
log     = true
relative_to_rows = { small = "b" }
"""

FIGURES = {
    "speed": SCATTER,
    "longer": LINES,
    "margins": DIFFERENCES,
    "field": HEATMAP,
    "tokens": PROFILE,
    "curves": CURVES,
    "all": IDENTITY,
}

CORRECT = {"deit-ti-224/none": 60, "deit-b-224/none": 80, "deit-b-224/token": 90, "regnety-16gf": 96}
"""Images that the network of a run gets right, of 100: always the first ones."""
SPEED = {"deit-ti-224/none": (1600.0, 8.0), "deit-b-224/none": (220.0, 1.0), "resnet-50": (700.0, 4.0)}
"""Images/s, and the ratio to the reference measured in turn."""


def write_specs(root: Path, figures: dict[str, str] = FIGURES, table: str = TABLE) -> Path:
    """The folder of the tables' specs; that of the figures is beside it."""
    tables = root / "tables"
    if not tables.exists():
        shutil.copytree(ROOT / "tables" / "scales", tables / "scales")
        shutil.copy(ROOT / "tables" / "runs.toml", tables)
    (tables / "small.toml").write_text(table)
    (root / "figures").mkdir(exist_ok=True)
    for name, text in figures.items():
        (root / "figures" / f"{name}.toml").write_text(text)
    return tables


def specs(root: Path, scale: str = "mini", released: bool = False) -> Specs:
    return load_with_figures(write_specs(root), scale, released)


def plan(
    root: Path, figure_id: str, scale: str = "mini", seeds: tuple[int, ...] = (0,), released: bool = False
) -> FigurePlan:
    return plan_figure(specs(root, scale, released), figure_id, seeds)


def finish(
    root: Path, figure_id: str, scale: str = "mini", without: tuple[str, ...] = (), released: bool = False
) -> Figure:
    """The figure with all its results, but for the jobs of the kinds or runs ``without``."""
    planned = plan(root, figure_id, scale, released=released)
    store = Store(root / "results" / scale)
    for job in planned.graph:
        if job.kind not in without and job.run not in without:
            fill(store, job)
    return finish_figure(planned, store)


def fill(store: Store, job: Job) -> None:
    """The result of ``job``, as the engine would write it."""
    folder = store.prepare(job)
    summary: dict[str, Any] = {}
    if job.kind == "predict":
        labels = np.zeros(IMAGES, np.int16)
        top5 = np.tile(np.arange(5, dtype=np.int16), (IMAGES, 1))
        top5[CORRECT[job.run] :] = np.arange(5, 10)
        better = top5.copy()
        better[: CORRECT[job.run] + 5] = np.arange(5)
        np.savez(folder / "decisions.npz", labels=labels, **{"class": top5, "distillation": better})
        names = ["decisions.npz"]
    elif job.kind == "measure":
        speed, ratio = SPEED[job.run]
        paired = {"median": ratio, "low": 0.99 * ratio, "high": 1.01 * ratio, "steady": True, "half_width_percent": 1.0}
        summary = {"images_per_second": speed, "ratio": paired if job.payload["protocol"]["name"] == "paired" else None}
        names = ["measure.json"]
    elif job.kind == "probe":
        summary = {"input": 0.1, "input_with_position": 0.15, "layers": [0.2, 0.5, 0.7], "last": 0.9}
        names = ["similarity.json"]
    elif job.kind == "train":
        curve = [
            {"epoch": at, "lr": 0.1 * (at + 1), "loss": 2.0 - at, "images": at, "validation": 50.0 + 25 * at}
            for at in range(2)
        ]
        (folder / "curve.json").write_text(json.dumps(curve))
        names = ["curve.json", "model.safetensors"]
    else:
        names = ["images.npy"]
    for name in names:
        if name == "measure.json":
            (folder / name).write_text(json.dumps({"windows": {"network": []}}))
        else:
            (folder / name).touch()
    made = {"commit": "unknown", "dirty": None, "python": "3.11", "packages": {}, "processor": "", "system": ""}
    cost = {"wall_seconds": 1.0, "cpu_seconds": 1.0, "peak_mb": 1.0}
    commit_result(folder, job.key, names, summary, cost, made | {"threads": 1})


def points(figure: Figure, side: Side, panel: int = 0) -> list[tuple[float, float]]:
    """All points of one side in a panel with two axes."""
    return [(point.x, point.y) for point in whole(figure, side, panel)]


def whole(figure: Figure, side: Side, panel: int = 0) -> list[Point]:
    found = figure.panels[panel]
    assert isinstance(found, XYPanel)
    return [point for series in found.series if series.side == side for point in series.points]
