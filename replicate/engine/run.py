"""Runs a job of any kind: the one entry of the engine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from replicate.engine.context import Report, Stop
from replicate.engine.data import data_facts, make_data
from replicate.engine.measure import measure
from replicate.engine.predict import predict
from replicate.engine.probe import probe
from replicate.engine.train import train
from replicate.engine.weights import released
from replicate.errors import UnknownName
from replicate.store.files import canonical, sha256_of
from replicate.store.provenance import threads

Job = Callable[[Mapping[str, Any], Mapping[str, Path], Path, Report, Stop], dict[str, Any]]


def make(
    payload: Mapping[str, Any], inputs: Mapping[str, Path], folder: Path, report: Report, stop: Stop
) -> dict[str, Any]:
    """Run a data job. Returns `data_facts` and a ``fingerprint`` of the files written."""
    make_data(payload["data"], folder)
    # Not whatever is new in the folder: another caller may be looking in, and an earlier attempt left files.
    made = [*folder.glob("*.npy"), *folder.glob("index.json")]
    files = {path.name: sha256_of(path) for path in made}
    return data_facts(payload["data"], folder) | {"fingerprint": hashlib.sha256(canonical(files)).hexdigest()}


KINDS: dict[str, Job] = {
    "data": make,
    "weights": released,
    "train": train,
    "predict": predict,
    "measure": measure,
    "probe": probe,
}
"""The function of every kind of job."""


def execute(
    payload: Mapping[str, Any], inputs: Mapping[str, Path], folder: Path, report: Report, stop: Stop
) -> dict[str, Any]:
    """Run the job ``payload``: its artefacts into ``folder``, which exists; returns its summary, plain JSON.

    inputs: folder of the result of each name in ``payload["inputs"]``, with its ``job.json``.
    report, stop: see `replicate.engine.train.train`; a job that cannot resume never asks ``stop``.
    One thread, unless OMP_NUM_THREADS says otherwise: jobs share the cores, and small networks gain nothing.
    Errors: `UnknownName` for the kind, and those of its function.
    """
    if payload["kind"] not in KINDS:
        raise UnknownName("kind of job", payload["kind"], KINDS)
    torch.set_num_threads(threads())
    # fp32 means fp32: cuDNN would round the inputs of convolutions to TF32, which the paper's V100 has not.
    torch.backends.cudnn.allow_tf32 = False
    return KINDS[payload["kind"]](payload, inputs, folder, report, stop)
