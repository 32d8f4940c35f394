"""How much faster timm's fused kernel makes DeiT-B at two resolutions than the explicit product of attention.

    OMP_NUM_THREADS=1 python benchmarks/attention.py [--smallest]

Inference in fp32 in one process, about two minutes. The windows of all four networks follow each other in rounds, so
that what disturbs one disturbs all; images a second of the process's CPU time, as medians over the rounds.
"""

from __future__ import annotations

import argparse
from statistics import median
from typing import get_args

import torch

from replicate.engine.measure import Subject, exact_fp32
from replicate.jobs.network import Network, Untrained
from replicate.specs.recipe import Attention

SIZES = (224, 384)
BATCH, ROUNDS = 4, 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smallest", action="store_true", help="two rounds of DeiT-Ti, one image of 32 and 48 pixels")
    if parser.parse_args().smallest:
        show("deit_tiny_patch16_224", (32, 48), 1, 2)
    else:
        show("deit_base_patch16_224", SIZES, BATCH, ROUNDS)


def show(timm: str, sizes: tuple[int, int], batch: int, rounds: int) -> None:
    torch.set_num_threads(1)
    model = Network(name="b", timm=timm, args={}, resizable=True, pos_embed_std=None, channels_last=False)
    subjects = {
        (attention, size): Subject(Untrained(model, size, 1000), batch, torch.device("cpu"), attention)
        for attention in get_args(Attention)
        for size in sizes
    }
    rates: dict[tuple[Attention, int], list[float]] = {which: [] for which in subjects}
    with exact_fp32():
        for subject in subjects.values():
            subject.run()
        for _ in range(rounds):
            for which, subject in subjects.items():
                window = subject.window(0.0)
                rates[which].append(window.images / window.cpu)
    small, large = sizes
    print(
        f"| attention | images/s at {small} | at {large} | ratio | smallest and largest ratio |\n|---|---|---|---|---|"
    )
    for attention in get_args(Attention):
        slow, fast = rates[attention, large], rates[attention, small]
        ratios = [one / other for one, other in zip(slow, fast, strict=True)]
        shown = f"{median(fast):.2f} | {median(slow):.2f} | {median(ratios):.3f} | {min(ratios):.3f}, {max(ratios):.3f}"
        print(f"| {attention} | {shown} |")


if __name__ == "__main__":
    main()
