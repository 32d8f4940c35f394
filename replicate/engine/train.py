"""Training one network: pre-training, distillation and fine-tuning are one loop.

A training is a function of its payload and its inputs: where it is stopped and resumed does not
change a bit of it (on the CPU).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from replicate.engine import models, optim, upstream
from replicate.engine.checkpoint import Checkpoints, weights_bytes
from replicate.engine.progress import Progress, Report, Stop
from replicate.engine.ranks import together
from replicate.engine.training import Training
from replicate.errors import Diverged, JobError
from replicate.store.atomic import write_bytes, write_json


class Stopped(JobError):
    """The training was asked to stop; a checkpoint of that step is in its folder."""


def train(
    payload: Mapping[str, Any], inputs: Mapping[str, Path], folder: Path, report: Report, stop: Stop
) -> dict[str, Any]:
    """Run a train job: ``model.safetensors``, ``curve.json`` and, with an EMA, ``ema.safetensors``.

    report: gets ``{"epoch", "epochs", "step", "steps", "loss"}``, epoch and step counted from 1.
    stop: asked after each step; True writes a checkpoint there and raises `Stopped`.
    Resumes from the newest intact checkpoint in ``folder``; without a fault they are removed at the end.
    Returns the last epoch's mean loss, and epochs, images and parameters.
    Where the environment names several processes (see `ranks.together`), they share each batch, and the first
    one writes; the others return an empty summary.
    Errors: `Diverged`, those of `Training`, and `OSError` when the weights cannot be written.
    """
    with together() as team, closing(Training(payload, inputs, team)) as training:
        return _train(training, payload, folder, report, stop)


def _train(training: Training, payload: Mapping[str, Any], folder: Path, report: Report, stop: Stop) -> dict[str, Any]:
    team = training.team
    checkpoints = Checkpoints(folder, payload)
    start = 0
    if (snapshot := checkpoints.newest()) is not None:
        training.restore(snapshot)
        start = snapshot.position
    epochs, steps = training.recipe.epochs, training.steps
    team.check(training.stream.share, training.recipe.batch, start, training.device)
    progress = Progress(report)
    for position in range(start, epochs * steps):
        epoch, step = divmod(position, steps)
        if step == 0 or position == start:
            optim.set_rate(training.optimizer, optim.rate(training.recipe, epoch))
        value = training.step(epoch, step)
        epoch_done = step == steps - 1
        # Asked of all: where one alone gave up, the others would wait for it.
        if not math.isfinite(value) or (epoch_done and team.any(not training.finite(), training.device)):
            what = "weights that are not finite" if math.isfinite(value) else "a loss that is not finite"
            raise Diverged(
                f"train: {what} in epoch {epoch + 1} of {epochs}, step {step + 1} of {steps}: loss {value}\n"
                f"  last good checkpoint: {checkpoints.last or 'none'}"
            )
        if epoch_done:
            training.end_epoch(epoch)
        fields = {"epoch": epoch + 1, "epochs": epochs, "step": step + 1, "steps": steps, "loss": value}
        if team.first:
            progress(fields, always=position == epochs * steps - 1)
        if team.any(stop(), training.device):
            if team.first:
                checkpoints.save(training.snapshot(position + 1))
            raise Stopped(f"train: stopped after epoch {epoch + 1}, step {step + 1}: {checkpoints.last}")
        # Within an epoch too: one of DeiT-B takes over an hour on a V100. What has diverged is no way back.
        if team.first and checkpoints.due() and training.finite():
            checkpoints.save(training.snapshot(position + 1))
    if not team.first:
        return {}
    write_bytes(folder / upstream.WEIGHTS["last"], weights_bytes(training.network.state_dict()))
    if training.ema is not None:
        write_bytes(folder / upstream.WEIGHTS["ema"], weights_bytes(training.ema.module.state_dict()))
    write_json(folder / "curve.json", training.curve)
    checkpoints.clear()
    return {
        "loss": training.curve[-1]["loss"],
        "epochs": epochs,
        "images": training.images,
        "parameters": models.parameter_count(training.network),
    }
