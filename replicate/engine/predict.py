"""Decisions of a trained network on the test images: what every accuracy of the tables is computed from."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from replicate.engine import input_results, models
from replicate.engine.batches import decode_workers, evaluation_batches
from replicate.engine.micro_batch import MicroBatches
from replicate.engine.run import Progress, Report, Stop
from replicate.errors import JobError
from replicate.jobs.predict import DECISIONS, Predict
from replicate.store.files import write_bytes

BATCH = 256
"""Images at a time, where the memory takes them (`MicroBatches`): which classes an image gets does not depend on it."""
TOP = 5


def fused(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scores [b, K] of every way to read the heads: each alone and, of two, their joint decisions.

    ``softmax-sum`` adds the two softmax outputs (paper Section 4), ``logit-mean`` averages the logits as
    the released code does (deit#42); their decisions can differ.
    """
    scores = dict(logits)
    if "distillation" in logits:
        first, second = logits["class"], logits["distillation"]
        scores["softmax-sum"] = first.softmax(dim=1) + second.softmax(dim=1)
        scores["logit-mean"] = (first + second) / 2
    return scores


def best(scores: Tensor) -> NDArray[np.int16]:
    """The classes of the ``min(5, K)`` highest ``scores`` [b, K], best first; of equal ones the lowest first.

    A stable sort, because torch.topk promises no order among equals.
    """
    order = torch.sort(scores, dim=1, descending=True, stable=True).indices
    return order[:, :TOP].to(torch.int16).cpu().numpy()


def run(job: Predict, inputs: Mapping[str, Path], folder: Path, report: Report, stop: Stop) -> dict[str, object]:
    """Run a predict job: ``decisions.npz`` in ``folder``, in fp32.

    It holds ``labels`` int16 [N] and, for each head, int16 [N, min(5, K)] as `best` gives them.
    Returns ``{"images": N, "correct": {head: number of images whose best class is the label}}``.
    Errors: those of `input_results.network` and `MicroBatches`, and `JobError` for scores that are not finite.
    """
    data = input_results.data_set(inputs)
    device = models.best_device()
    source = inputs["network"]
    how = job.evaluation
    network = input_results.network(source, job.size, data.classes, how.weights, how.attention).to(device)
    labels: list[NDArray[np.int16]] = []
    decided: dict[str, list[NDArray[np.int16]]] = {}
    done = 0
    micro_batches = MicroBatches.of_evaluation(BATCH, job.size, device)
    progress = Progress(report)
    batches = evaluation_batches(data.test, job.size, how, BATCH, decode_workers(device))
    with torch.no_grad():
        for images, true in batches:
            for part in micro_batches.each(lambda some: fused(models.heads(network, some.to(device))), images):
                for head, scores in part.items():
                    if not bool(torch.isfinite(scores).all()):
                        raise JobError(f"predict: scores of head '{head}' are not finite, of network {source}")
                    decided.setdefault(head, []).append(best(scores))
            labels.append(true.numpy().astype(np.int16))
            done += len(true)
            progress({"images": done, "of": len(data.test)})
    if done != len(data.test):
        raise JobError(f"predict: decided {done} images of the {len(data.test)} in the test split")
    arrays = {"labels": np.concatenate(labels)}
    arrays |= {head: np.concatenate(parts) for head, parts in decided.items()}
    write_bytes(folder / DECISIONS, npz_bytes(arrays))
    correct = {head: int((arrays[head][:, 0] == arrays["labels"]).sum()) for head in decided}
    return {"images": done, "correct": correct}


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An ``.npz`` archive: the same bytes for the same arrays, as NumPy stamps its members 1980-01-01."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
