"""Which image stands at which position of an epoch: repeated augmentation in DeiT's order.

DeiT's RASampler (samplers.py; Hoffer et al., arXiv:1901.09335; Berman et al., arXiv:1902.05509) permutes
the images, repeats each in a row, deals the positions round robin to the GPUs and stops after as many
samples as the data set has images, rounded down to 256: with 3 repeats an epoch shows a third of the
images (deit#13, #89, #95). The official code builds it only when distributed; here it does not depend on
the number of processes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from replicate.engine.draws import generator
from replicate.spec.recipe import epoch_length


def epoch_order(images: int, repeats: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The image at every position of an epoch: int64 [epoch_length]. 1.28 million images take 20 ms."""
    length = epoch_length(images)
    permutation = generator(seed, "order", epoch).permutation(images)
    return np.repeat(permutation[: -(-length // repeats)], repeats)[:length].astype(np.int64, copy=False)


def deal(batch: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """Reorder a global batch so that its consecutive ``groups`` parts are what round robin deals to each.

    The copies of one image thus land in different mix groups, with different partners, as on DeiT's GPUs.
    """
    return batch.reshape(-1, groups).T.reshape(-1)


def rank_positions(batch: int, rank: int, world: int) -> range:
    """The positions in a global batch that one of ``world`` processes computes: equal contiguous slices."""
    part = batch // world
    return range(rank * part, (rank + 1) * part)
