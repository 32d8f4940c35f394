"""What a job reads from the results it depends on: their payload, the data set, the trained network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from replicate.engine.data import DataSet, open_data
from replicate.engine.models import build, load_weights
from replicate.errors import StoreFault

WEIGHTS = {"last": "model.safetensors", "ema": "ema.safetensors"}
"""File of a train job for each kind of weights."""


def payload_of(folder: Path) -> dict[str, Any]:
    """The payload of the job that filled ``folder``. Errors: `StoreFault` where ``job.json`` is none."""
    path = folder / "job.json"
    try:
        payload: dict[str, Any] = json.loads(path.read_text())["payload"]
    except (OSError, ValueError, KeyError) as error:
        raise StoreFault(f"{path}: a job expected, got {error!r}") from error
    return payload


def same_data(payload: Mapping[str, Any], inputs: Mapping[str, Path]) -> bool:
    """Whether the network that the training ``payload`` starts from was trained on the same data set."""
    start = payload_of(inputs["init"])
    if start["kind"] == "weights":
        return bool(start["data"] == payload_of(inputs["data"])["data"])
    return bool(start["inputs"]["data"] == payload["inputs"]["data"])


def data_set(inputs: Mapping[str, Path]) -> DataSet:
    folder = inputs["data"]
    return open_data(payload_of(folder)["data"], folder)


def network(folder: Path, size: int, classes: int, weights: str = "last") -> nn.Module:
    """A trained network in evaluation mode, on the CPU, for images of ``size`` x ``size``.

    The position embedding is resampled where ``size`` is not the training's (paper Table 10).
    Errors: `StoreFault`, or `UserError` for weights of other classes.
    """
    model = build(payload_of(folder)["model"], size, classes)
    load_weights(model, folder / WEIGHTS[weights], resize=True)
    return model.eval()
