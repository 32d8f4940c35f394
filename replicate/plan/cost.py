"""What jobs are expected to cost: seconds of one processor, megabytes on disk. Never part of a key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from replicate.plan.graph import Graph
from replicate.plan.job import Job
from replicate.specs.load import Specs
from replicate.specs.run import RunSpec

DATA_SECONDS = 0.5e-3
"""To generate (or to find and list) one image."""


def data_seconds(specs: Specs, data: Mapping[str, Any]) -> float:
    """``data``: an entry of the scale, as the job has it."""
    return specs.scale.job_seconds + DATA_SECONDS * float(data.get("train", 0) + data.get("test", 0))


def train_seconds(specs: Specs, run: RunSpec, epochs: int) -> float:
    alone = image_seconds(specs, run) * epochs * _images(specs, run.data, "train")
    return specs.scale.job_seconds + alone + teacher_seconds(specs, run, epochs)


def teacher_seconds(specs: Specs, run: RunSpec, epochs: int) -> float:
    """The part of a training in which the teacher answers: once for each image of each epoch."""
    if run.teacher is None:
        return 0.0
    each = specs.scale.predict_share * image_seconds(specs, specs.runs.runs[run.teacher])
    return each * epochs * _images(specs, run.data, "train")


def predict_seconds(specs: Specs, run: RunSpec, data: str) -> float:
    each = image_seconds(specs, run) * specs.scale.predict_share
    return specs.scale.job_seconds + _images(specs, data, "test") * each


def image_seconds(specs: Specs, run: RunSpec) -> float:
    """Seconds to train on one image; at a resolution without a stated cost, the largest stated one by pixels."""
    known = specs.scale.models[run.model].seconds
    if str(run.resolution) in known or not known:
        return known.get(str(run.resolution), 0.0)
    nearest, seconds = max(known.items(), key=lambda item: int(item[0]))
    sizes = specs.scale.resolutions
    return seconds * (sizes[str(run.resolution)] / sizes.get(nearest, int(nearest))) ** 2


def _images(specs: Specs, data: str, split: str) -> int:
    return int(getattr(specs.scale.data[data], split, 0))


FILES = 0.03
"""What a job leaves beside its arrays: job.json, result.json, log.txt and a curve, in blocks of 4 kB."""

VITS = {"tiny": (192, 12), "small": (384, 12), "base": (768, 12), "large": (1024, 24)}
"""Width and depth of timm's ViTs (of the paper's, its Table 1), where `args` do not change them."""

CONVNETS = {"regnety_040": 20.6e6, "regnety_080": 39.2e6, "regnety_120": 51.8e6, "regnety_160": 83.6e6}
"""Parameters of timm's RegNetY-4, 8, 12 and 16GF (the paper's Table 5 prints 21, 39, 52 and 84 million)."""

RESHAPED = 37e3
"""Parameters of a convnet that `args` make another: those of the largest teacher in tables/scales/mini.toml."""

UNKNOWN = 86e6
"""Parameters of any other network: DeiT-B's, the largest student of the paper."""

COPIES = 2
"""Checkpoints that a training keeps at once: the last and the one before it."""


def stored(job: Job, graph: Graph) -> float:
    """Megabytes of the result of ``job``."""
    return FILES + _arrays(job, graph) / 1e6


def running(job: Job, graph: Graph) -> float:
    """Megabytes that ``job`` needs on top while it runs: checkpoints with weights, their average and the moments."""
    if job.kind != "train":
        return 0.0
    recipe = job.payload["recipe"]
    moments = 2 if recipe["optimizer"] == "adamw" else 1
    return COPIES * _weights(job, graph) * (1 + bool(recipe["ema"]) + moments) / 1e6


def _arrays(job: Job, graph: Graph) -> float:
    if job.kind == "data":
        data = job.payload["data"]
        # Images that lie in folders stay there.
        return float(3 * data["size"] ** 2 * (data["train"] + data["test"])) if "size" in data else 0.0
    if job.kind == "weights":
        return 4 * parameters(job.payload, job.payload["data"]["classes"])
    if job.kind == "train":
        return _weights(job, graph) * (1 + bool(job.payload["recipe"]["ema"]))
    if job.kind == "predict":
        data = graph.jobs[job.inputs["data"]].payload["data"]
        # Each alone and two ways to join them (engine/predict.py); labels and classes are of 2 bytes.
        heads = 4 if _tokens(graph.jobs[job.inputs["network"]].payload) == 2 else 1
        return float(2 * data["test"] * (1 + heads * min(5, data["classes"])))
    return 0.0


def _weights(job: Job, graph: Graph) -> float:
    """Bytes of one copy of the weights."""
    return 4 * parameters(job.payload, graph.jobs[job.inputs["data"]].payload["data"]["classes"])


def parameters(payload: Mapping[str, Any], classes: int) -> float:
    """Parameters of the network that a ``payload`` describes. Exact for ViTs."""
    model, args = payload["model"]["timm"], payload["model"]["args"]
    vit = re.fullmatch(r"(?:deit|vit)_(tiny|small|base|large)_(?:distilled_)?patch(\d+)_\d+", model)
    if vit is None:
        return RESHAPED if args else CONVNETS.get(model, UNKNOWN)
    width, depth = VITS[vit[1]]
    width, depth = args.get("embed_dim", width), args.get("depth", depth)
    patch, tokens = args.get("patch_size", int(vit[2])), _tokens(payload)
    blocks = depth * (12 * width + 13) * width
    embedding = (3 * patch**2 + 1) * width + ((payload["size"] // patch) ** 2 + 2 * tokens) * width
    return float(blocks + embedding + 2 * width + tokens * (width + 1) * classes)


def _tokens(payload: Mapping[str, Any]) -> int:
    how = payload["distillation"]
    return 2 if how is not None and how["token"] else 1
