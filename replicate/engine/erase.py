"""Random erasing (Zhong et al., arXiv:1708.04896) as DeiT used it: timm's mode 'pixel', one box an image."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MIN_AREA, MAX_AREA = 0.02, 1 / 3
MIN_ASPECT = 0.3
ATTEMPTS = 10
WIDTH = 1 + 2 * ATTEMPTS + 2
"""Uniform draws per image."""

Noise = Callable[[int, tuple[int, int, int]], NDArray[np.float32]]
"""(index in the batch, shape) -> standard normal numbers."""


def erase(images: Tensor, draws: NDArray[np.float64], probability: float, noise: Noise) -> None:
    """Overwrite one box of some of the normalised images float32 [B, 3, H, W] by noise, in place.

    ``draws`` is [B, WIDTH]. An image for which ten boxes do not fit is left alone, as in timm.
    """
    channels, height, width = images.shape[1:]
    for index in np.flatnonzero(draws[:, 0] < probability).tolist():
        box = erase_box(height, width, draws[index].tolist())
        if box is not None:
            top, left, h, w = box
            patch = torch.from_numpy(noise(index, (channels, h, w)))
            images[index, :, top : top + h, left : left + w] = patch


def erase_box(height: int, width: int, draws: list[float]) -> tuple[int, int, int, int] | None:
    """Top, left, height and width of the box, or None; timm's RandomErasing._erase from ``WIDTH`` draws.

    The area is uniform in 2 % to a third of the image, the aspect ratio log-uniform in 0.3 to 1/0.3; the box
    is strictly smaller than the image in both directions.
    """
    log_aspect = math.log(MIN_ASPECT)
    for attempt in range(ATTEMPTS):
        area = (MIN_AREA + (MAX_AREA - MIN_AREA) * draws[1 + 2 * attempt]) * height * width
        aspect = math.exp(log_aspect * (1 - 2 * draws[2 + 2 * attempt]))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            return int((height - h + 1) * draws[-2]), int((width - w + 1) * draws[-1]), h, w
    return None
