"""Memory and time of evaluating DeiT-B at 384 pixels on one core, by the images that are computed at a time.

``python benchmarks/evaluation.py``: a process for each, about three minutes.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

IMAGES = (7, 32, 64)
SIZE = 384


def measure(images: int) -> None:
    """One row, in this process."""
    import torch

    from replicate.engine import models

    torch.set_num_threads(1)
    model = {"name": "b", "timm": "deit_base_patch16_384", "args": {}, "resizable": True}
    network = models.build(model | {"pos_embed_std": None, "channels_last": False}, SIZE, 1000).eval()
    with torch.no_grad():
        begun = time.perf_counter()
        models.heads(network, torch.zeros(images, 3, SIZE, SIZE))
        seconds = (time.perf_counter() - begun) / images
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{images:3} images at a time: {gigabytes:.2f} GB, {seconds:.2f} s an image")


def main() -> None:
    for images in IMAGES:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, __file__, str(images)], check=True, env=environment)


if __name__ == "__main__":
    measure(int(sys.argv[1])) if sys.argv[1:] else main()
