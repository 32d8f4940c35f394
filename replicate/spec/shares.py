"""Whether the images of a recipe's batch can be dealt out to so many processes: known before any of them starts."""

from __future__ import annotations

from replicate.errors import UserError
from replicate.spec.recipe import Recipe


def check_shares(recipe: Recipe, processes: int) -> None:
    """Raises UserError unless a batch is whole groups of those that are mixed together, and every process gets as many
    images."""
    if recipe.batch % recipe.mix_batch:
        raise UserError(
            f"recipe.mix_batch: a divisor of recipe.batch ({recipe.batch}), got {recipe.mix_batch}\n"
            "  mix_batch is the batch of one GPU in the official code; give one that divides the batch"
        )
    if recipe.batch % processes:
        raise UserError(
            f"recipe.batch: a multiple of the {processes} processes, got {recipe.batch}\n"
            "  use another number of processes"
        )
