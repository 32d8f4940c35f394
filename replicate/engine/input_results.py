"""What a job reads from the results it depends on: what they are of, the data set, the trained network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from replicate.engine.data import DataSet, open_data
from replicate.engine.models import build, load_weights
from replicate.errors import StoreFault
from replicate.jobs.data import Data
from replicate.jobs.job import Job, from_json
from replicate.jobs.network import WEIGHTS
from replicate.jobs.train import Train
from replicate.jobs.weights import Weights
from replicate.specs.recipe import Attention


def job_of(folder: Path) -> Job:
    """The job that filled ``folder``. Errors: `StoreFault` where ``job.json`` describes none."""
    path = folder / "job.json"
    try:
        return from_json(json.loads(path.read_text()))
    except (OSError, ValueError, AttributeError) as error:
        raise StoreFault(f"{path} cannot be read as a job: {error!r}") from error


def network_of(folder: Path) -> Train | Weights:
    """The job of a trained or published network that filled ``folder``. Errors: `StoreFault` where it is another."""
    job = job_of(folder)
    if not isinstance(job, Train | Weights):
        raise StoreFault(f"{folder} is the result of a {job.kind} job, expected a network")
    return job


def same_data(job: Train, inputs: Mapping[str, Path]) -> bool:
    """Whether the network that the training ``job`` starts from was trained on the same data set."""
    start = network_of(inputs["init"])
    if isinstance(start, Weights):
        return start.data == _data_of(inputs["data"]).data
    return start.inputs["data"] == job.inputs["data"]


def data_set(inputs: Mapping[str, Path]) -> DataSet:
    """The data set of the role ``data``. Errors: `StoreFault`, and those of `open_data`."""
    return open_data(_data_of(inputs["data"]), inputs["data"])


def _data_of(folder: Path) -> Data:
    job = job_of(folder)
    if not isinstance(job, Data):
        raise StoreFault(f"{folder} is the result of a {job.kind} job, expected a data set")
    return job


def network(folder: Path, size: int, classes: int, weights: str = "last", attention: Attention = "fused") -> nn.Module:
    """A trained network in evaluation mode, on the CPU, for images of ``size`` x ``size``.

    The position embedding is resampled where ``size`` is not the training's (paper Table 10).
    Errors: `StoreFault`, or `UserError` for weights of other classes.
    """
    model = build(network_of(folder).model, size, classes, attention=attention)
    load_weights(model, folder / WEIGHTS[weights], resize=True)
    return model.eval()
