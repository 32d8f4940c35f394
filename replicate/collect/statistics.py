"""How sure a number is. All results are in the unit of the table (points of a percentage)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Z = 1.96
"""Half-width of a 95 % interval in standard errors."""


def image_error(hits: NDArray[np.bool_], scale: float = 100.0) -> float:
    """Standard error of a share over another draw of test images: binomial, from [N] decisions."""
    share = float(hits.mean())
    return scale * sqrt(share * (1.0 - share) / len(hits))


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1); None for fewer than two values."""
    if len(values) < 2:
        return None
    return float(np.std(np.asarray(values), ddof=1))


def paired_image_error(differences: NDArray[np.float64], scale: float = 100.0) -> float:
    """Standard error of a margin over another draw of test images; ``scale`` 100 gives percent.

    differences: [N], per image the mean over comparisons and seeds of (left correct) - (right correct). Images
    that both sides get right or wrong cancel, so this is far smaller than for two separate test sets.
    """
    return scale * float(np.std(differences, ddof=1)) / sqrt(len(differences))


def seed_error(weights: Mapping[str, float], known_sd: float, per_seed: Sequence[float]) -> float:
    """Standard error of a margin over other seeds, in the unit of ``known_sd``.

    weights: by training, its share in the margin: two heads of one network cancel, since a better network lifts
    both. known_sd: standard deviation of one accuracy between seeds, as the scale states it. per_seed: the margin
    of each seed; with two or more, the larger of what the scale states and what they show is taken.
    """
    seeds = max(1, len(per_seed))
    stated = known_sd * sqrt(sum(weight**2 for weight in weights.values()) / seeds)
    measured = spread(per_seed)
    return stated if measured is None else max(stated, measured / sqrt(seeds))
