"""Memory and time of evaluating DeiT-B at 384 pixels on one core, by the images that are computed at a time.

    python benchmarks/evaluation.py [--smallest]

A process for each, about three minutes.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time

IMAGES = (7, 32, 64)
SIZE = 384


def measure(images: int, size: int) -> None:
    """One row, in this process. DeiT-Ti in place of B where the images are smaller than those of ImageNet."""
    import torch

    from replicate.engine import models
    from replicate.jobs.network import Network

    torch.set_num_threads(1)
    name = "deit_base_patch16_384" if size == SIZE else "deit_tiny_patch16_224"
    model = Network(name="b", timm=name, args={}, resizable=True, pos_embed_std=None, channels_last=False)
    network = models.build(model, size, 1000).eval()
    with torch.no_grad():
        begun = time.perf_counter()
        models.heads(network, torch.zeros(images, 3, size, size))
        seconds = (time.perf_counter() - begun) / images
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"| {images} | {gigabytes:.2f} GB | {seconds:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smallest", action="store_true", help="one image of 32 pixels, of DeiT-Ti")
    parser.add_argument("--row", nargs=2, type=int, help=argparse.SUPPRESS)
    call = parser.parse_args()
    if call.row:
        measure(*call.row)
        return
    print("| images at a time | peak memory | seconds an image |\n|---|---|---|", flush=True)
    for images in (1,) if call.smallest else IMAGES:
        row = ("--row", str(images), str(32 if call.smallest else SIZE))
        subprocess.run([sys.executable, __file__, *row], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main()
