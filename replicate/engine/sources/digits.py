"""scikit-learn's handwritten digits (1797 real images of 8 x 8), for runs that must work offline."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from replicate.engine.data import Arrays, ArraySource
from replicate.engine.keyed_random import generator
from replicate.errors import NotAvailable, UserError
from replicate.specs.sources.digits import DigitsData


class Digits(ArraySource[DigitsData]):
    def arrays(self, data: DigitsData) -> Iterator[Arrays]:
        yield from split_digits(data.seed, data.train, data.test, data.size, data.skip)

    def true_labels(self, data: DigitsData) -> NDArray[np.int16]:
        return split_digits(data.seed, data.train, data.test, data.size, data.skip)[1][1]


def split_digits(seed: int, train: int, test: int, size: int, skip: int = 0) -> tuple[Arrays, Arrays]:
    """(images, labels) of the train and the test split: uint8 [N, 3, size, size] and int16 [N].

    One permutation, drawn from ``seed``, gives the first ``train`` images after ``skip`` to training and the
    next ``test`` to the test: splits of one seed that skip each other's images have none in common. The 8 x 8
    grey values are upsampled bicubically and repeated over the channels.

    Raises NotAvailable without scikit-learn, UserError when more images are asked for than there are.
    """
    images, labels = _read()
    if skip + train + test > len(labels):
        asked = f"{train} + {test}" + (f" after {skip}" if skip else "")
        raise UserError(f"data.train + data.test exceed {len(labels)} digits: {asked}\n  ask for fewer")
    order = generator(seed, "digits split", 0).permutation(len(labels))[skip:]
    grey = torch.from_numpy(images)[:, None] * (255 / 16)
    large = interpolate(grey, size=(size, size), mode="bicubic", align_corners=False)
    rgb = large.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).numpy()
    parts = order[:train], order[train : train + test]
    first, second = ((rgb[part], labels[part]) for part in parts)
    return first, second


def _read() -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    # Found, not imported: `import sklearn` costs 4 s.
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise NotAvailable("scikit-learn is not installed, which the source 'digits' needs\n  make env")
    with gzip.open(Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int16)
