"""How sure numbers are: errors, intervals, and the rules that turn them into verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from replicate.judge.table import ClaimVerdict, Verdict
from replicate.metrics.stated import Z
from replicate.specs.scale import Scale
from replicate.specs.table import Relation

_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % quantiles of Student's t for 1 to 10 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Error:
    """How sure a number is: one ``standard`` error, and the ``half`` width of its 95 % interval."""

    standard: float
    half: float

    def scaled(self, factor: float) -> Error:
        return Error(self.standard * abs(factor), self.half * abs(factor))


NO_ERROR = Error(0.0, 0.0)
"""Of a fact."""


def error_from_sigma(standard: float) -> Error:
    """Of a standard error that is known, or measured on very many values."""
    return Error(standard, Z * standard)


def error_from_samples(standard: float, values: int) -> Error:
    """Of a standard error that was itself measured on a few ``values``: then 1.96 of them are too few."""
    return Error(standard, student(values - 1) * standard)


def combined(errors: Sequence[Error]) -> Error:
    """Of a sum of independent numbers."""
    return Error(hypot(*(error.standard for error in errors)), hypot(*(error.half for error in errors)))


def student(freedom: int) -> float:
    """97.5 % quantile of Student's t: half-width of a 95 % interval in standard errors that were measured.

    Beyond the table by its expansion at the normal quantile (Abramowitz and Stegun 26.7.5), good to 0.003.
    """
    if freedom < 1:
        raise ValueError(f"degrees of freedom: at least 1, got {freedom}")
    if freedom <= len(_STUDENT):
        return _STUDENT[freedom - 1]
    first = (Z**3 + Z) / (4 * freedom)
    return Z + first + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)


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


@dataclass(frozen=True, slots=True)
class SeedNoise:
    """What a scale states of other seeds, as standard deviations in one unit.

    accuracy: of one accuracy. heads: of the difference between two accuracies of one network.
    """

    accuracy: float
    heads: float

    @classmethod
    def of(cls, scale: Scale) -> SeedNoise:
        return cls(scale.seed_sd, scale.seed_sd if scale.head_sd is None else scale.head_sd)

    def scaled(self, factor: float) -> SeedNoise:
        return SeedNoise(self.accuracy * factor, self.heads * factor)

    def of_sum(self, networks: Iterable[float], cells: Iterable[float]) -> float:
        """Standard deviation of a sum of accuracies, by the weight of each network and of each cell in it.

        An accuracy is what its network's training gives all its heads, plus what is the head's own; the variances
        of the two add up to ``accuracy`` squared, and two of the latter to ``heads`` squared.
        """
        own = self.heads**2 / 2
        shared = max(0.0, self.accuracy**2 - own)
        return sqrt(shared * sum(weight**2 for weight in networks) + own * sum(weight**2 for weight in cells))


def seed_error(stated: float, per_seed: Sequence[float]) -> Error:
    """How sure a margin is over other seeds, in the unit of ``stated``.

    stated: standard deviation of the margin between seeds, by what the scale states. per_seed: the margin of each
    seed; with two or more, the larger of what the scale states and what they show is taken.
    """
    seeds = max(1, len(per_seed))
    shown = (spread(per_seed) or 0.0) / sqrt(seeds)
    expected = stated / sqrt(seeds)
    return error_from_samples(shown, seeds) if shown > expected else error_from_sigma(expected)


_DUST = 1e-9
"""Binary noise of a difference of decimals: 83.1 - 83.0 must count as 0.1."""


def cell_verdict(difference: float, tolerance: float, half_unit: float, error: Error | None) -> tuple[Verdict, str]:
    """Does our value agree with the printed one?

    difference: ours minus the paper's. half_unit: grace for the paper's own rounding. error: over seeds, where
    they vary by more than one rerun, for which ``tolerance`` allows; the test images are the paper's, so their draw
    does not enter.
    """
    allowed = tolerance + half_unit + _DUST
    half = 0.0 if error is None else error.half
    interval = "" if error is None else f" (95 % interval ±{half:.2f}: its seeds vary more than a rerun is known to)"
    why = f"{difference:+.2f} against ±{tolerance:g} allowed{interval}"
    if abs(difference) + half <= allowed:
        return "replicated", why
    if abs(difference) - half > allowed:
        return "not replicated", why
    return "undecided", why


def margin_verdict(relation: Relation, margin: float, error: Error | None, within: float) -> ClaimVerdict:
    """Does a margin (left minus right) bear out the relation? By its 95 % interval; without one nobody knows."""
    if error is None:
        return "undecided"
    low, high = margin - error.half, margin + error.half
    match relation:
        case "above":
            return "holds" if low > _DUST else "fails" if high <= _DUST else "undecided"
        case "not-below":
            return "holds" if low >= -within - _DUST else "fails" if high < -within - _DUST else "undecided"
        case "about" | "times":
            if low >= -within - _DUST and high <= within + _DUST:
                return "holds"
            return "fails" if low > within + _DUST or high < -within - _DUST else "undecided"
        case _:
            assert_never(relation)


def claim_verdict(mean: ClaimVerdict, single: list[ClaimVerdict]) -> tuple[ClaimVerdict, str]:
    """A claim about several cells: the mean margin decides, unless a single comparison clearly contradicts it."""
    against = single.count("fails")
    if mean == "holds" and against:
        return "undecided", f"holds on the mean, but {against} of {len(single)} comparisons clearly fail"
    return mean, f"{single.count('holds')} of {len(single)} comparisons hold by themselves, {against} fail"
