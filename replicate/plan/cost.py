"""What jobs are expected to cost: seconds of one processor of the scale. Never part of a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from replicate.spec.load import Specs
from replicate.spec.run import RunSpec

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
