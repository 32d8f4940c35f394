"""A recipe to vary in the tests of the data half of the engine: the paper's, with a batch of 64."""

from __future__ import annotations

import json
from typing import Any

from replicate.jobs.data import Data
from replicate.jobs.job import from_payload
from replicate.specs.recipe import Recipe


def recipe(**change: Any) -> Recipe:
    values: dict[str, Any] = {
        "optimizer": "adamw",
        "lr": 5e-4,
        "lr_batch": 512,
        "weight_decay": 0.05,
        "momentum": 0.9,
        "batch": 64,
        "mix_batch": 64,
        "epochs": 3,
        "warmup_epochs": 0,
        "warmup_lr": 1e-6,
        "min_lr": 1e-5,
        "repeats": 3,
        "crop_scale": (0.08, 1.0),
        "crop_ratio": (3 / 4, 4 / 3),
        "flip": 0.5,
        "auto_augment": "rand-m9-mstd0.5-inc1",
        "color_jitter": 0.4,
        "erase": 0.25,
        "mixup": 0.8,
        "cutmix": 1.0,
        "mix_prob": 1.0,
        "mix_switch": 0.5,
        "label_smoothing": 0.1,
        "drop_path": 0.1,
        "dropout": 0.0,
        "train_mode": True,
        "ema": 0.0,
        "precision": "fp32",
    }
    return Recipe(**(values | change))


def trained_payload(model: dict[str, Any]) -> dict[str, Any]:
    """The payload of a training of the network ``model``: what it was trained with is all one."""
    values = recipe().model_dump()
    body = {"kind": "train", "seed": 0, "size": 16, "model": model, "recipe": values, "distillation": None}
    return body | {"inputs": {"data": "d"}}


def data_job(data: dict[str, Any]) -> Data:
    """The job that makes ``data``, an entry of a scale."""
    job = from_payload({"kind": "data", "version": 1, "data": json.loads(json.dumps(data))})
    assert isinstance(job, Data)
    return job
