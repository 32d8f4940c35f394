"""Counts a network: it is built without memory for its weights, so that the largest takes no longer than the least."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from replicate.engine import models
from replicate.engine.run import Report, Stop
from replicate.jobs.architecture import Architecture
from replicate.store.files import write_json

FILE = "architecture.json"
"""The summary, once more as a file of its own."""


def run(job: Architecture, inputs: Mapping[str, Path], folder: Path, report: Report, stop: Stop) -> dict[str, object]:
    """Run an architecture job: ``architecture.json``, which is also the summary.

    Returns the exact number of ``parameters`` and the ``architecture``, as a measurement does.
    """
    with torch.device("meta"):
        network = models.build(job.model, job.size, job.classes)
    found = {"parameters": models.parameter_count(network), "architecture": models.architecture(network)}
    write_json(folder / FILE, found)
    return found
