"""RandAugment (arXiv:1909.13719) as timm's ``rand-m9-mstd0.5-inc1`` does it, on a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from replicate.engine.operations import INCREASING, NONE, Column, apply_layer, noisy_levels, signs_of

DRAWS = 4
"""Uniform draws per layer and image: operation, application, magnitude, sign."""


@dataclass(frozen=True, slots=True)
class RandAugment:
    """``layers`` operations an image, each applied with ``probability`` at normal(magnitude, deviation)."""

    magnitude: int
    layers: int = 2
    deviation: float = 0.0
    probability: float = 0.5

    @property
    def width(self) -> int:
        """Uniform draws per image."""
        return DRAWS * self.layers

    def apply(self, images: Tensor, draws: Column, fill: Sequence[int]) -> None:
        """Augment uint8 [B, 3, S, S] in place by ``draws`` [B, width].

        ``fill`` is the colour that geometric operations put outside the image. Operations are drawn with
        replacement.
        """
        table = draws.reshape(len(images), self.layers, DRAWS)
        levels = noisy_levels(np.float64(self.magnitude), self.deviation, table[:, :, 2])
        signs = signs_of(table[:, :, 3])
        chosen = (table[:, :, 0] * INCREASING).astype(np.int64)
        chosen[table[:, :, 1] >= self.probability] = NONE
        for layer in range(self.layers):
            apply_layer(images.numpy(), chosen[:, layer], levels[:, layer], signs[:, layer], fill)
