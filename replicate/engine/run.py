"""Runs a job of any kind: the one entry of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from replicate.engine.context import Report, Stop
from replicate.jobs.job import Job
from replicate.store.provenance import threads


def execute(job: Job, inputs: Mapping[str, Path], folder: Path, report: Report, stop: Stop) -> dict[str, Any]:
    """Run ``job``: its artefacts into ``folder``, which exists; returns its summary, plain JSON.

    The function is ``run`` of the module of the kind's name beside this one, or of the one that the kind states.
    inputs: folder of the result of each role in ``job.inputs``, with its ``job.json``.
    report, stop: see `replicate.engine.train.run`; a job that cannot resume never asks ``stop``.
    One thread, unless OMP_NUM_THREADS says otherwise: jobs share the cores, and small networks gain nothing.
    Errors: those of the function.
    """
    run = import_module(job.engine_module).run
    torch.set_num_threads(threads())
    # fp32 means fp32: cuDNN would round the inputs of convolutions to TF32, which the paper's V100 has not.
    torch.backends.cudnn.allow_tf32 = False
    summary: dict[str, Any] = run(job, inputs, folder, report, stop)
    return summary
