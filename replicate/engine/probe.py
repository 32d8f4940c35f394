"""How alike the two tokens of a network are, from the input to the last layer (paper Section 4).

The paper: .06 on average at the input, .93 at the last layer; of two class tokens .999.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from replicate.engine import input_results, models
from replicate.engine.batches import PAPER, decode_workers, evaluation_batches
from replicate.engine.data import Split
from replicate.engine.micro_batch import MicroBatches
from replicate.engine.run import Progress, Report, Stop
from replicate.errors import JobError, UserError
from replicate.jobs.probe import SIMILARITY, Probe
from replicate.store.files import write_json

BATCH = 256
"""Images at a time, where the memory takes them (`MicroBatches`): a similarity is that of an image by itself."""


def run(job: Probe, inputs: Mapping[str, Path], folder: Path, report: Report, stop: Stop) -> dict[str, object]:
    """Run a probe job: ``similarity.json``, which is also the summary.

    ``input`` is the cosine of the two learned vectors before the first layer, which are the same for every
    image (deit#111), ``input_with_position`` with their position embeddings added. ``layers`` are those after
    each block and ``last`` after the final norm, means over the first ``job.images`` test images;
    ``errors`` are the standard errors of these means.
    Errors: `UserError` for a network without a second token or too many images, `JobError` for a
    similarity that is not finite.
    """
    data = input_results.data_set(inputs)
    network = input_results.network(inputs["network"], job.size, data.classes, PAPER.weights)
    if not models.has_distillation_head(network):
        raise UserError(
            f"probe: the network {inputs['network'].name} has a class token only, two tokens are compared\n"
            "  take a run with a distillation token"
        )
    if not 2 <= job.images <= len(data.test):
        raise UserError(
            f"probe.images is not within 2 to {len(data.test)}, the test images: {job.images}\n  take so many"
        )
    alone, placed = models.input_tokens(network)
    network = network.to(models.best_device())
    values = similarities(network, data.test, job.size, job.images, Progress(report))
    means, errors = values.mean(dim=0).tolist(), (values.std(dim=0) / len(values) ** 0.5).tolist()
    result = {
        "input": cosine(alone).item(),
        "input_with_position": cosine(placed).item(),
        "layers": means[:-1],
        "last": means[-1],
        "errors": {"layers": errors[:-1], "last": errors[-1]},
        "images": len(values),
    }
    write_json(folder / SIMILARITY, result)
    return result


def similarities(network: torch.nn.Module, split: Split, size: int, images: int, progress: Progress) -> Tensor:
    """Cosines of the two tokens, float64 [images, blocks + 1]: after each block and after the final norm."""
    device = next(network.parameters()).device
    parts: list[Tensor] = []
    micro_batches = MicroBatches.of_evaluation(BATCH, size, device)
    done = 0
    batches = evaluation_batches(split, size, PAPER, BATCH, decode_workers(device), range(images))
    with torch.no_grad():
        for batch, _ in batches:
            parts += micro_batches.each(lambda some: layered(network, some.to(device)), batch)
            done += len(batch)
            progress({"images": done, "of": images})
    values = torch.cat(parts)
    if not bool(torch.isfinite(values).all()):
        raise JobError("probe: cosines are not finite: a token is zero, or the weights have diverged")
    return values


def layered(network: torch.nn.Module, images: Tensor) -> Tensor:
    """`similarities` of a few images on the device of ``network``."""
    return torch.stack([cosine(state) for state in models.token_states(network, images)], dim=1).cpu()


def cosine(tokens: Tensor) -> Tensor:
    """Cosine of the first and the second token, [..., 2, d] -> float64 [...]."""
    first, second = tokens.double().unbind(dim=-2)
    return cosine_similarity(first, second, dim=-1, eps=0.0)
