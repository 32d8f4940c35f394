"""Colour jitter as torchvision's ColorJitter does it on Pillow images: brightness, contrast, saturation.

timm switches it on only where no RandAugment or AutoAugment policy is (recipes.md, "Common recipe").
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from replicate.engine import image_ops as ops

WIDTH = 4
"""Uniform draws per image: the order, then one factor for each adjustment."""
BRIGHTNESS, CONTRAST, SATURATION = range(3)
ORDERS = np.array(list(permutations(range(3))))


def color_jitter(images: Tensor, strength: float, draws: NDArray[np.float64]) -> None:
    """Jitter uint8 [B, 3, S, S] in place by ``draws`` [B, WIDTH].

    Each factor is uniform in ``max(0, 1 - strength)`` to ``1 + strength``; the order differs by image.
    """
    low, high = max(0.0, 1.0 - strength), 1.0 + strength
    factors = low + (high - low) * draws[:, 1:]
    orders = ORDERS[(draws[:, 0] * len(ORDERS)).astype(np.int64)]
    pixels: NDArray[np.uint8] = images.numpy()
    for place in range(3):
        for kind in (BRIGHTNESS, CONTRAST, SATURATION):
            (group,) = np.nonzero(orders[:, place] == kind)
            if len(group):
                pixels[group] = _adjust(pixels[group], kind, factors[group, kind])


def _adjust(images: NDArray[np.uint8], kind: int, factor: NDArray[np.float64]) -> NDArray[np.uint8]:
    if kind == BRIGHTNESS:
        return ops.lookup(images, ops.brightness_tables(factor))
    if kind == CONTRAST:
        return ops.lookup(images, ops.contrast_tables(images, factor))
    return ops.color(images, factor)
