"""AutoAugment (arXiv:1805.09501) as timm's ``original`` and ``v0`` do it, on a whole batch.

Which of the two the paper's Table 8 used is not stated (recipes.md, "Ablation").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from timm.data.auto_augment import auto_augment_policy
from torch import Tensor

from replicate.engine.operations import NONE, OPERATIONS, Column, apply_layer, noisy_levels, signs_of
from replicate.engine.rand_augment import RandAugment
from replicate.errors import UserError
from replicate.spec.policy import policy_of

LAYERS = 2
"""Operations of every sub-policy."""
DRAWS = 3
"""Uniform draws per layer and image: application, magnitude, sign."""


@dataclass(frozen=True, slots=True)
class AutoAugment:
    """25 sub-policies of two operations, each (operation, probability, magnitude); an image draws one of them.

    ``operations`` int64, ``probabilities`` and ``magnitudes`` float64, all [25, 2]. ``deviation`` adds normal
    noise to the magnitudes, timm's own addition (``mstd``).
    """

    operations: NDArray[np.int64]
    probabilities: Column
    magnitudes: Column
    deviation: float = 0.0

    @property
    def width(self) -> int:
        """Uniform draws per image: the sub-policy, then those of its layers."""
        return 1 + DRAWS * LAYERS

    def apply(self, images: Tensor, draws: Column, fill: Sequence[int]) -> None:
        """Augment uint8 [B, 3, S, S] in place by ``draws`` [B, width]; ``fill`` as in `RandAugment.apply`."""
        drawn = (draws[:, 0] * len(self.operations)).astype(np.int64)
        table = draws[:, 1:].reshape(len(images), LAYERS, DRAWS)
        levels = noisy_levels(self.magnitudes[drawn], self.deviation, table[:, :, 1])
        signs = signs_of(table[:, :, 2])
        chosen = np.where(table[:, :, 0] < self.probabilities[drawn], self.operations[drawn], NONE).astype(np.int64)
        for layer in range(LAYERS):
            apply_layer(images.numpy(), chosen[:, layer], levels[:, layer], signs[:, layer], fill)


def parse(text: str) -> RandAugment | AutoAugment:
    """Read timm's notation of either (see `replicate.spec.policy`). The sub-policies are timm's own tables.

    Raises UserError for any other text.
    """
    try:
        policy = policy_of(text)
    except ValueError as error:
        raise UserError(f"recipe.auto_augment = '{text}': {error}") from None
    if policy.name == "rand":
        return RandAugment(policy.magnitude, policy.layers, policy.deviation, policy.probability)
    entries = auto_augment_policy(policy.name)  # type: ignore[no-untyped-call]
    return AutoAugment(
        np.array([[OPERATIONS.index(op.name) for op in pair] for pair in entries]),
        np.array([[op.prob for op in pair] for pair in entries]),
        np.array([[float(op.magnitude) for op in pair] for pair in entries]),
        policy.deviation,
    )
