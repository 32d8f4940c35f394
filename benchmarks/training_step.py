"""Training steps of DeiT-Ti at 224 pixels: this project's beside the released engine's and timm's, on the same batch.

    OMP_NUM_THREADS=1 python benchmarks/training_step.py [TURNS] [--batch N] [--precision bf16] [--compile] [--smallest]

The released engine is the loop of DeiT's engine.py with what timm 0.3.2 made for it: attention as explicit products,
AdamW and the average of the weights one tensor at a time, and the loss read in each step. timm's is the loop of its
present train.py: the fused kernel of attention, AdamW as torch chooses it, `ModelEmaV3`, and the loss read in each
step. Ours is `replicate.engine.train.Training`, whose losses are read as a training reads them. All have the paper's
recipe of DeiT-Ti; the images are made beforehand.

They take turns in one process, so that a busy machine slows all alike: median seconds of a step (of the processor; on a
GPU of the clock, over ten steps), and the median ratio to the released engine's fp32 step of the same turn with its
quartiles. The last column is the share of the rate at which the device multiplies two large matrices of that precision.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
import torch
from timm.loss import SoftTargetCrossEntropy
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.flop_counter import FlopCounterMode

from replicate.engine import input_results, models, optim
from replicate.engine.batches import Batch
from replicate.engine.compiled import COMPILE
from replicate.engine.data import ArraySplit, DataSet
from replicate.engine.train import Looks, Training
from replicate.jobs.train import Train
from replicate.plan.cells import plan_tables
from replicate.specs.load import load
from replicate.specs.recipe import Attention

RUN, SIZE, CLASSES = "deit-ti-224/none", 224, 1000
GPU = torch.cuda.is_available()
TURNS, BATCH, STEPS, MATRIX = (20, 256, 10, 8192) if GPU else (20, 8, 1, 1024)
"""Turns, images of a step, steps of a turn, and the edge of the matrices whose product is the device's best."""
WARM = 2
"""Turns that are not counted: the first steps make moments, and compile."""
AUTOCAST = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("turns", nargs="?", type=int, default=TURNS)
    parser.add_argument("--batch", type=int, default=BATCH, help="images of a step")
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=list(AUTOCAST))
    parser.add_argument("--compile", action="store_true", help="timm's and ours compiled, too: minutes on a CPU")
    parser.add_argument("--smallest", action="store_true", help="a turn of two images of 32 pixels")
    call = parser.parse_args()
    print("| loop | precision | seconds a step | beside the released's | half of the turns | of the matrix rate |")
    print("|---|---|---|---|---|---|")
    for words in (
        measured(1, 2, list(AUTOCAST), False, 32, 64)
        if call.smallest
        else measured(call.turns, call.batch, call.precision, call.compile)
    ):
        print(f"| {' | '.join(words)} |", flush=True)


def quick(smallest: bool) -> dict[str, str]:
    rows = measured(1, 2, ["fp32"], False, 32, 64) if smallest else measured(TURNS // 2, BATCH, ["fp32"], False)
    return {
        f"a step of {loop}, {precision}, beside the released engine's": ratio for loop, precision, _, ratio, *_ in rows
    }


def measured(
    turns: int, batch: int, precisions: Sequence[str], compiles: bool, size: int = SIZE, matrix: int = MATRIX
) -> Iterator[list[str]]:
    """Rows of the table."""
    torch.set_num_threads(1)
    device = models.best_device()
    data = batch_of(batch, size, device)
    ways: dict[tuple[str, str], Callable[[], None]] = {}
    for precision in dict.fromkeys(["fp32", *precisions]):
        job = training(precision, batch, size)
        ways["the released engine", precision] = partial(Loop(job, "explicit", device, released=True).step, data)
        ways["timm", precision] = partial(Loop(job, "fused", device).step, data)
        ways["ours", precision] = ours(job, data, "off")
        if compiles:
            ways["timm, compiled", precision] = partial(Loop(job, "fused", device, compiled=True).step, data)
            ways["ours, compiled", precision] = ours(job, data, "on")
    taken: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    for _ in range(WARM + turns):
        for way, step in ways.items():
            taken[way].append(seconds_of(step, device))
    products = flops(job, batch, size)
    base = taken["the released engine", "fp32"]
    for (loop, precision), times in taken.items():
        ratios = [theirs / own for theirs, own in zip(base, times, strict=True)][WARM:]
        low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        each = median(times[WARM:])
        share = products / each / matrix_rate(matrix, AUTOCAST[precision], device)
        yield [
            loop,
            precision,
            f"{each:.4f}",
            f"{median(ratios):.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{share:.0%}",
        ]


def training(precision: str, batch: int, size: int) -> Train:
    """The paper's training of DeiT-Ti, with so many images a step."""
    specs = load(Path(__file__).resolve().parents[1] / "tables", "paper")
    job = plan_tables(specs, ["distillation_ablation"], (0,)).expander.network(RUN, 0)
    assert isinstance(job, Train)
    changed = {"precision": precision, "batch": batch, "mix_batch": batch}
    return replace(job, size=size, recipe=job.recipe.model_copy(update=changed))


def batch_of(images: int, size: int, device: torch.device) -> Batch:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randn(images, 3, size, size, generator=draw)
    targets = torch.softmax(3 * torch.randn(images, CLASSES, generator=draw), dim=1)
    return Batch(pixels.to(device), targets.to(device), torch.arange(images))


def ours(job: Train, batch: Batch, compiles: str) -> Callable[[], None]:
    """A step of `Training`, which gets ``batch`` in place of its own images."""
    count, size = len(batch.labels), job.size
    blank = np.zeros((count, 3, size, size), np.uint8), np.zeros(count, np.int64)
    split = ArraySplit(*blank, (0.5,) * 3, (0.5,) * 3)
    none = ArraySplit(*(part[:0] for part in blank), (0.5,) * 3, (0.5,) * 3)
    made, before = input_results.data_set, os.environ.get(COMPILE)
    input_results.data_set = lambda inputs: DataSet(split, none, CLASSES, split.mean, split.std)
    os.environ[COMPILE] = compiles
    try:
        training = Training(job, {})
    finally:
        input_results.data_set = made
        os.environ[COMPILE] = before or ""
    training.close()
    training.prefetcher = None
    given: Any = training.batches
    given.batch = lambda epoch, step: batch
    looks = Looks(training.device)

    def step() -> None:
        training.step(0, 0)
        if looks.due():
            training.losses()
            looks.steps = looks.next()

    return step


class Loop:
    """A training whose steps are those of a loop elsewhere: timm's, or the ``released`` engine's."""

    def __init__(
        self,
        job: Train,
        attention: Attention,
        device: torch.device,
        released: bool = False,
        compiled: bool = False,
    ) -> None:
        recipe = job.recipe
        self.device, self.precision = device, recipe.precision
        self.network = models.build(job.model, job.size, CLASSES, recipe, 0, attention).to(device).train()
        self.forward: Callable[[Tensor], Tensor] = torch.compile(self.network) if compiled else self.network
        how = {"foreach": False, "fused": False} if released else {}
        self.optimizer = AdamW(optim.decay_groups(self.network, recipe.weight_decay), lr=1e-5, eps=1e-8, **how)
        self.average = Average(self.network, recipe.ema) if released else ModelEmaV3(self.network, decay=recipe.ema)
        self.loss = SoftTargetCrossEntropy()
        self.seen = 0.0

    def autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, AUTOCAST[self.precision])

    def step(self, batch: Batch) -> None:
        with self.autocast():
            loss = self.loss(self.forward(batch.images), batch.targets)
        self.seen += loss.item()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.average.update(self.network)


class Average:
    """timm 0.3.2's `ModelEma`."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        for name, value in network.state_dict().items():
            mean = self.values[name]
            mean.copy_(mean * self.decay + (1.0 - self.decay) * value)


def seconds_of(step: Callable[[], None], device: torch.device) -> float:
    """Seconds of one step: of the processor, or of the clock where a GPU computes it."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    wait(device)
    begun = clock()
    for _ in range(STEPS):
        step()
    wait(device)
    return (clock() - begun) / STEPS


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def flops(job: Train, batch: int, size: int) -> float:
    """Operations of the products in a step: those of the forward pass, and twice as many backward."""
    network = models.build(job.model, size, CLASSES, job.recipe, 0)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    return 3.0 * batch * counter.get_total_flops()


def matrix_rate(edge: int, dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of the best of five products of two square matrices, of the clock that steps have."""
    left, right = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))
    best = min(seconds_of(lambda: torch.mm(left, right), device) for _ in range(5))  # type: ignore[arg-type, return-value]
    return 2.0 * edge**3 / best


if __name__ == "__main__":
    main()
