"""BatchNorm in training: the statistics are those of one GPU of the released code, whoever computes them.

A batch is computed in groups of ``recipe.mix_batch`` images, the batch of one GPU there, which share their statistics.
The running statistics are those of the first group of each batch: DistributedDataParallel gives the buffers of the
first process to all of them, so there, too, the others' are lost. Neither depends on the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from replicate.errors import UserError
from replicate.spec.recipe import Recipe


class BatchNorms:
    """The layers of ``network`` that take the statistics of a batch; none where it is in evaluation mode."""

    def __init__(self, network: nn.Module) -> None:
        self._layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d) and layer.training]

    def __bool__(self) -> bool:
        return bool(self._layers)

    @contextmanager
    def tracking(self, first: bool) -> Iterator[None]:
        """Inside, a forward pass changes the running statistics only where it is of the ``first`` group of a batch."""
        for layer in self._layers:
            layer.track_running_stats = first
        try:
            yield
        finally:
            for layer in self._layers:
                layer.track_running_stats = True


def check_whole(recipe: Recipe, world: int) -> None:
    """Raise UserError where ``world`` processes would tear a group, and with it the statistics."""
    share = recipe.batch // world
    if share % recipe.mix_batch:
        raise UserError(
            f"recipe.mix_batch: a divisor of one process's {share} images, got {recipe.mix_batch}\n"
            "  BatchNorm takes its statistics from so many images, on one process: use at most "
            f"{recipe.batch // recipe.mix_batch} processes, and a divisor of that number"
        )
