"""RandAugment (arXiv:1909.13719) as timm's ``rand-m9-mstd0.5-inc1`` does it, on a whole batch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from replicate.engine.operations import INCREASING, MAX_LEVEL, NONE, Column, apply_layer, noisy_levels, signs_of
from replicate.errors import UserError

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


def parse(text: str) -> RandAugment:
    """Read timm's notation: m (required, 0 to 10), n, mstd and p, with inc1. Raises UserError otherwise."""
    values: dict[str, str] = {}
    head, *sections = text.split("-")
    for section in sections:
        match = re.fullmatch(r"(mstd|inc|m|n|p)(\d+(?:\.\d+)?)", section)
        if match is None or match[1] in values:
            raise _unreadable(text, f"'{section}'")
        values[match[1]] = match[2]
    if head != "rand":
        raise _unreadable(text, f"'{head}'")
    if values.get("inc") != "1":
        raise _unreadable(text, "no inc1")
    try:
        policy = RandAugment(
            int(values["m"]),
            int(values.get("n", "2")),
            float(values.get("mstd", "0")),
            float(values.get("p", "0.5")),
        )
    except (KeyError, ValueError):
        raise _unreadable(text, "no whole m and n") from None
    if policy.magnitude > MAX_LEVEL or policy.layers < 1 or policy.probability > 1:
        raise _unreadable(text, "a value out of range (m to 10, n from 1, p to 1)")
    return policy


def _unreadable(text: str, got: str) -> UserError:
    return UserError(
        f"recipe.auto_augment = '{text}': sections m, n, mstd, p and inc1 after 'rand', got {got}\n"
        "  write it as in 'rand-m9-mstd0.5-inc1' or 'original-mstd0.5', or leave it empty to switch it off"
    )
