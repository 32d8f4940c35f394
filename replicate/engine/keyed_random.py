"""Keyed randomness: every draw is a function of (seed, stream, epoch, row), of nothing that happened before.

A *row* is the position of a sample in its epoch, a mix group, or an image's index. Worker, rank, batch
splitting and restart do not enter, so a resumed or re-split run sees bit-identical samples.
Philox is a counter-based generator (Salmon et al., SC 2011): any row costs the same as the first.

It is short and stands alone, since data, batches, networks and measurements all draw from it, and none of them may have
another way to draw.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

WORDS = 4
"""64-bit words that one step of Philox's counter gives."""


def uniforms(seed: int, stream: str, epoch: int, start: int, stop: int, width: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) for rows ``start`` to ``stop``: float64 [stop - start, width].

    A row depends on ``width`` only through its multiple of 4, so give every stream one width.
    """
    steps = -(-width // WORDS)
    philox = np.random.Philox(key=_key(seed, stream, epoch), counter=_words(start * steps, 0))
    block = np.random.Generator(philox).random((stop - start, steps * WORDS))
    return block[:, :width]


def generator(seed: int, stream: str, epoch: int, row: int = 0) -> np.random.Generator:
    """A generator of its own for one row, for draws of unknown number (normals, Beta, permutations).

    Rows stand 2**128 counter steps apart, so they never overlap. Do not share ``stream`` with ``uniforms``.
    """
    return np.random.Generator(np.random.Philox(key=_key(seed, stream, epoch), counter=_words(0, row)))


def torch_seed(seed: int, stream: str, epoch: int, step: int) -> int:
    """A seed below 2**63 for ``torch.default_generator.manual_seed`` (dropout, initialisation).

    That call costs 1 us; ``torch.manual_seed`` costs 100 us, because it seeds the accelerators too.
    """
    return int(_digest(seed, stream, epoch, step)[0] >> np.uint64(1))


def _key(seed: int, stream: str, epoch: int) -> NDArray[np.uint64]:
    return _digest(seed, stream, epoch)


def _digest(*parts: int | str) -> NDArray[np.uint64]:
    text = "\0".join(str(part) for part in parts)
    # "<u8": the same numbers on a big-endian machine.
    return np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), "<u8").astype(np.uint64)


def _words(low: int, high: int) -> NDArray[np.uint64]:
    return np.array([low, 0, high, 0], np.uint64)
