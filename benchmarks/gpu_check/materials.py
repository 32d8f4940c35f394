"""What checks compute with: photographs, jobs of the paper's networks and recipes, and folders of their results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NAME = "photographs"
CLASSES = 4
HEIGHT, WIDTH = 375, 500
"""Pixels that most files of ImageNet have."""
QUALITY = 92
TRAIN, TEST = 256, 64
RUN = {"Ti": "deit-ti-224/none", "S": "deit-s-224/none", "B": "deit-b-224/none", "teacher": "regnety-16gf"}


def photographs(root: Path, smallest: bool = False, share: int = 1) -> None:
    """A data set of image files under ``root``: cuts of photographs, from another part of them for each class.

    smallest: a quarter of the images, at a quarter of the size. share: one image in so many.
    """
    draw = np.random.default_rng(0)
    scenes = _scenes(draw)
    scale = 4 if smallest else 1
    for part, count in (("train", TRAIN), ("val", TEST)):
        for number in range(count // scale // share):
            label = number % CLASSES
            scene = scenes[label % len(scenes)]
            room = np.subtract(scene.shape[:2], (HEIGHT // scale, WIDTH // scale))
            # Upper cuts for half of the classes: two photographs make four.
            top = int(draw.integers(room[0] // 2)) + (room[0] // 2 if label >= len(scenes) else 0)
            left = int(draw.integers(room[1]))
            folder = root / NAME / part / f"class-{label}"
            folder.mkdir(parents=True, exist_ok=True)
            cut = scene[top : top + HEIGHT // scale, left : left + WIDTH // scale]
            Image.fromarray(cut).save(folder / f"{number:04}.JPEG", quality=QUALITY)


def _scenes(draw: np.random.Generator) -> list[NDArray[np.uint8]]:
    try:
        from sklearn.datasets import load_sample_images
    except ImportError:
        # Blurred noise of several sizes has the spectrum of a photograph, and so its decoding time.
        return [_scene(draw, hue) for hue in range(2)]
    return list(load_sample_images().images)


def _scene(draw: np.random.Generator, hue: int) -> NDArray[np.uint8]:
    height, width = HEIGHT + 52, WIDTH + 140
    whole = np.zeros((height, width, 3))
    for cells in (4, 12, 40, 120):
        noise = Image.fromarray(draw.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        whole += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), float) / cells**0.5
    whole *= 200 / whole.max()
    whole[:, :, hue] += 40
    return whole.clip(0, 255).astype(np.uint8)


@cache
def expander() -> Any:
    """What makes the jobs of the paper's runs."""
    from replicate.plan.cells import plan_tables
    from replicate.specs.load import load

    return plan_tables(load(ROOT / "tables", "paper"), ["distillation_ablation"], (0,)).expander


class Laboratory:
    """Results of jobs in folders of their own, computed by this process and without a plan."""

    def __init__(self, folder: Path, smallest: bool) -> None:
        self.folder, self.smallest = folder, smallest
        scale = 4 if smallest else 1
        self.train_images, self.test_images = TRAIN // scale, TEST // scale
        self.size = 32 if smallest else 224
        self.data = self._data()

    def _data(self) -> Path:
        from replicate.jobs.data import Data
        from replicate.specs.sources.imagefolder import FolderData

        values = {"name": NAME, "classes": CLASSES, "train": self.train_images, "test": self.test_images}
        return self.run(Data(key="data", data=FolderData(source="imagefolder", **values)))

    def network(self, name: str) -> Any:
        """The paper's network ``name``; of the smallest check a part of it."""
        from dataclasses import replace

        model = expander().model({"Ti": "deit-ti", "S": "deit-s", "B": "deit-b", "teacher": "regnety-16gf"}[name], None)
        if not self.smallest:
            return model
        return replace(model, args={"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2})

    def training(self, key: str, steps: int = 50, **changes: Any) -> Any:
        """A training of DeiT-Ti with the paper's recipe, one step an epoch: its curve has the loss of every step."""
        from replicate.jobs.train import Train

        values = {"batch": self.train_images, "mix_batch": self.train_images, "epochs": steps, "precision": "fp32"}
        recipe = expander().recipe(RUN["Ti"]).model_copy(update=values | changes)
        model = self.network("Ti")
        return Train(
            key=key, inputs={"data": "data"}, seed=0, size=self.size, model=model, recipe=recipe, distillation=None
        )

    def student(self, key: str, steps: int) -> Any:
        """A training of DeiT-Ti that learns from the decisions of the network in the folder ``teacher``."""
        from dataclasses import replace

        run = expander().specs.runs.runs["deit-ti-224/token"]
        model = replace(expander().model(run.model, run.distillation), args=self.network("Ti").args)
        taught = {"data": "data", "teacher": "teacher"}
        job = self.training(key, steps)
        return replace(job, model=model, inputs=taught, distillation=expander().distillation(run.distillation))

    def prediction(self, key: str, network: str) -> Any:
        from replicate.jobs.predict import Predict

        inputs = {"data": "data", "network": network}
        return Predict(key=key, inputs=inputs, size=self.size, evaluation=expander().evaluation("last"))

    def released(self, key: str) -> Any:
        """A job that reads a file as the authors' release has it, made here of random weights."""
        import os

        import torch

        from replicate.engine import models
        from replicate.jobs.weights import Weights
        from replicate.specs.sources.imagefolder import FolderData

        model, folder = self.network("Ti"), Path(os.environ["REPLICATE_DATA"]) / "weights"
        folder.mkdir(exist_ok=True)
        network = models.build(model, self.size, CLASSES, seed=7)
        path = folder / f"{key}.pth"
        torch.save({"model": network.state_dict()}, path)
        digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        path = path.rename(folder / f"{key}-{digits}.pth")
        data = FolderData(source="imagefolder", name=NAME, classes=CLASSES, train=0, test=self.test_images)
        return Weights(key=key, model=model, size=self.size, distillation=None, data=data, file=path.name)

    def run(self, job: Any, folder: str = "", beside: Mapping[str, Path] | None = None) -> Path:
        """Compute ``job``: the folder of its result. beside: by role, results that it reads and is no other job for."""
        from replicate.engine.run import execute
        from replicate.jobs.job import to_json

        where = self.folder / (folder or job.key)
        where.mkdir(parents=True, exist_ok=True)
        (where / "job.json").write_text(json.dumps(to_json(job)), encoding="utf-8")
        inputs: Mapping[str, Path] = {role: self.folder / key for role, key in job.inputs.items()}
        inputs = {**inputs, **(beside or {})}
        execute(job, inputs, where, lambda fields: None, lambda: False)
        return where

    def losses(self, folder: Path) -> NDArray[np.float64]:
        """The loss of every step of a training that `training` describes."""
        from replicate.jobs.train import CURVE

        return np.array([point["loss"] for point in json.loads((folder / CURVE).read_text())])
