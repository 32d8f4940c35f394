"""What a network decided for every test image: the arrays all accuracies are counted from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from replicate.errors import StoreFault
from replicate.spec.table import Head, Metric
from replicate.store.result import Result

FILE = "decisions.npz"


@dataclass(frozen=True, slots=True)
class Decisions:
    """``labels`` [N] and, by head, the ``top5`` classes [N, 5], best first (int16)."""

    labels: NDArray[np.int16]
    top5: Mapping[str, NDArray[np.int16]]

    def choice(self, head: Head) -> NDArray[np.int16]:
        """[N]: the class chosen at ``head``; the label itself for ``truth``."""
        return self.labels if head == "truth" else self.top5[head][:, 0]

    def correct(self, head: Head, metric: Metric) -> NDArray[np.bool_]:
        """[N]: was the true class the first choice (``top1``), or among the first five (``top5``)?"""
        if metric == "top1":
            return np.asarray(self.choice(head) == self.labels)
        return np.asarray((self.top5[head] == self.labels[:, None]).any(axis=1))


@dataclass(slots=True)
class DecisionReader:
    """Reads each file once."""

    _read: dict[str, Decisions] = field(default_factory=dict)

    def read(self, result: Result) -> Decisions:
        known = self._read.get(result.key)
        if known is None:
            known = self._read[result.key] = _load(result)
        return known


def _load(result: Result) -> Decisions:
    try:
        # No pickle: an array of objects is refused.
        with np.load(result.path(FILE), allow_pickle=False) as arrays:
            heads = {name: arrays[name] for name in arrays.files if name != "labels"}
            return Decisions(arrays["labels"], heads)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise StoreFault(f"{result.key}/{FILE}: cannot be read ({error})") from error
