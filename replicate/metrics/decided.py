"""Metrics that count test images by the decisions a network stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate.metrics.metric import Reading, Stored, from_decisions, register

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CORRECTED = "real_labels.npy"


def answered(labels: Stored) -> NDArray[np.bool_]:
    """[N]: which of the images have a right label at all, by the corrected ``labels`` of their data set."""
    counted: NDArray[np.bool_] = labels.array(CORRECTED).max(axis=1)
    return counted


def _corrected(reading: Reading) -> NDArray[np.bool_]:
    """[M]: of the images that are `answered`, whether the choice is one of their right labels."""
    counted = answered(reading.other)
    hits: NDArray[np.bool_] = reading.other.array(CORRECTED)[counted, reading.decisions.choice(reading.head)[counted]]
    return hits


def _different(reading: Reading) -> NDArray[np.bool_]:
    theirs = reading.other.decisions().choice(reading.other_head)
    hits: NDArray[np.bool_] = reading.decisions.choice(reading.head) != theirs
    return hits


register(
    from_decisions(
        "top1",
        "Share of the test images whose label is the first choice.",
        lambda reading: reading.decisions.among(reading.head, 1),
    )
)
register(
    from_decisions(
        "top5",
        "Share of the test images whose label is among the first five choices.",
        lambda reading: reading.decisions.among(reading.head, 5),
    )
)
register(
    from_decisions(
        "real",
        "Share of the test images whose first choice is among the corrected labels of the data set 'on' (ReaL).",
        _corrected,
        second="labels",
        on=True,
    )
)
register(
    from_decisions(
        "disagreement",
        "Share of the test images for which the networks of row and column choose differently.",
        _different,
        second="network",
        unit="",
        digits=3,
        scale=1,
        accuracy=False,
    )
)
