"""What AdamW costs in a training step at mini scale: fused, with lists of tensors (foreach), and one tensor at a time.

    OMP_NUM_THREADS=1 python benchmarks/step.py [STEPS] [--smallest]

One network of DeiT-Ti and of DeiT-B for each way, a batch of random images, cross-entropy of the labels; no data stream
and no average of the weights. The ways take turns in one process, so that a busy machine slows all alike: median
processor milliseconds of a whole step and of the optimiser in it, and the median ratio to the fused step of its turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from torch.nn.functional import cross_entropy
from torch.optim import AdamW, Optimizer

from replicate.engine import models, optim
from replicate.jobs.train import Train
from replicate.plan.cells import plan_tables
from replicate.specs.load import load

RUNS = {"Ti": "deit-ti-224/none", "B": "deit-b-224/none"}
WAYS = {
    "fused": {"fused": True, "foreach": False},
    "foreach": {"fused": False, "foreach": True},
    "one by one": {"fused": False, "foreach": False},
}
WARM = 10
"""Turns that are not counted: the first step of an optimiser makes its moments."""
STEPS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="?", type=int, default=STEPS)
    parser.add_argument("--smallest", action="store_true", help="one step of Ti")
    call = parser.parse_args()
    print("| network | AdamW | ms a step | ratio | ms of the optimiser | ratio |\n|---|---|---|---|---|---|")
    for words in measured(1, ["Ti"]) if call.smallest else measured(call.steps, list(RUNS)):
        print(f"| {' | '.join(words)} |", flush=True)


def quick(smallest: bool) -> dict[str, str]:
    found = measured(1, ["Ti"]) if smallest else measured(STEPS // 4, list(RUNS))
    return {f"{network}, AdamW {way}, a step": f"{whole} ms" for network, way, whole, *_ in found}


def measured(steps: int, names: list[str]) -> Iterator[list[str]]:
    """Rows of the table."""
    torch.set_num_threads(1)
    specs = load(Path(__file__).resolve().parents[1] / "tables", "mini")
    plan = plan_tables(specs, ["distillation_ablation"], (0,))
    for name in names:
        run = RUNS[name]
        job = plan.expander.network(run, 0)
        assert isinstance(job, Train)
        recipe, size, classes = job.recipe, job.size, specs.scale.data["imagenet"].classes
        images = torch.randn(recipe.batch, 3, size, size, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(recipe.batch) % classes
        trained = {}
        for way, how in WAYS.items():
            network = models.build(job.model, size, classes, recipe, 0).train()
            groups = optim.decay_groups(network, recipe.weight_decay)
            trained[way] = network, AdamW(groups, lr=recipe.lr, betas=(0.9, 0.999), eps=1e-8, **how)
        turns = [{way: step(*trained[way], images, labels) for way in WAYS} for _ in range(WARM + steps)][WARM:]
        for way in WAYS:
            shown = []
            for part in (0, 1):
                shown.append(f"{1000 * median(turn[way][part] for turn in turns):.2f}")
                shown.append(f"{median(turn[way][part] / turn['fused'][part] for turn in turns):.2f}")
            yield [name, way, *shown]


def step(
    network: torch.nn.Module, optimizer: Optimizer, images: torch.Tensor, labels: torch.Tensor
) -> tuple[float, float]:
    """Processor seconds of a whole step, and of the optimiser alone."""
    started = time.process_time()
    cross_entropy(models.heads(network, images)["class"], labels).backward()
    before = time.process_time()
    optimizer.step()
    after = time.process_time()
    optimizer.zero_grad(set_to_none=True)
    return time.process_time() - started, after - before


if __name__ == "__main__":
    main()
