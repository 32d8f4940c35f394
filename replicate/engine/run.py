"""Runs a job of any kind: the one entry of the engine, and what it hands to every job."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import torch

from replicate.errors import JobError, UserError
from replicate.jobs.job import Job
from replicate.store.provenance import threads

Report = Callable[[dict[str, object]], None]
Stop = Callable[[], bool]


class Stopped(JobError):
    """The job was asked to stop; a checkpoint of that step is in its folder."""


EVERY = 0.25
"""Seconds between two reports: steps take milliseconds, and a reader needs about 5 a second at most."""


class Progress:
    """Passes a report on when the last one is at least `EVERY` old, or when told to."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._reported = -math.inf

    def __call__(self, fields: dict[str, object], always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._reported >= EVERY:
            self._report(fields)
            self._reported = now


def whole_number(variable: str, of: str) -> int | None:
    """The number ``of`` something that ``variable`` gives; None where it is unset or empty.

    Raises UserError, which names the variable, for anything but a number from 1 on.
    """
    text = os.environ.get(variable, "")
    if not text:
        return None
    if not (text.isdecimal() and int(text) > 0):
        raise UserError(f"{variable} is no number of {of} from 1 on: '{text}'\n  correct it, or unset it")
    return int(text)


def execute(job: Job, inputs: Mapping[str, Path], folder: Path, report: Report, stop: Stop) -> dict[str, object]:
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
    summary: dict[str, object] = run(job, inputs, folder, report, stop)
    return summary
