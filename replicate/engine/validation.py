"""The validation of a training's curve: a few test images, for the eye."""

from __future__ import annotations

import torch

from replicate.engine import models
from replicate.engine.data import Split
from replicate.engine.portion import Portion
from replicate.engine.stream import PAPER, evaluation_batches, spread

VALIDATION_IMAGES = 256
"""Enough to see a curve rise (one standard error is 3 points at most), and 1-2 % of an epoch's time at mini scale."""


class Validation:
    """Up to `VALIDATION_IMAGES` images of ``split``, evenly spaced; false where it has none.

    For the curve alone: no weights are ever chosen by it, and it is no number of a table.
    """

    def __init__(self, split: Split, size: int, device: torch.device) -> None:
        some = spread(len(split), VALIDATION_IMAGES)
        views = evaluation_batches(split, size, PAPER, VALIDATION_IMAGES, chosen=some)
        self.images, self.labels = (part.to(device) for part in next(views, (torch.empty(0), torch.empty(0))))
        self._portion = Portion(VALIDATION_IMAGES)

    def __bool__(self) -> bool:
        return len(self.images) > 0

    @torch.no_grad()
    def top1(self, network: torch.nn.Module) -> float:
        """Top-1 [%] of the heads of ``network`` together. Its mode is as before afterwards."""
        mode = network.training
        network.eval()
        decided = self._portion.each(lambda images: models.joint(network, images).argmax(dim=1), self.images)
        network.train(mode)
        return 100.0 * float((torch.cat(decided) == self.labels).float().mean())
