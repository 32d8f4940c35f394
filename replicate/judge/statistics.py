"""How sure numbers are: errors, intervals, and the rules that turn them into verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot, inf, sqrt
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from replicate.judge.student import quantile, satterthwaite
from replicate.judge.table import ClaimVerdict, Verdict
from replicate.specs.scale import Scale
from replicate.specs.table import Relation, Scope
from replicate.text import plural


@dataclass(frozen=True, slots=True)
class Error:
    """How sure a number is: one ``standard`` error, and the degrees of ``freedom`` that it was measured with.

    Infinite freedom: it is known, or measured on very many values, such as the images of a test set.
    """

    standard: float
    freedom: float = inf

    @property
    def half(self) -> float:
        """Half of the 95 % interval."""
        return self.half_of(0.95)

    def half_of(self, coverage: float) -> float:
        """Half of the interval that covers the true value with probability ``coverage``."""
        return quantile((1.0 + coverage) / 2, self.freedom) * self.standard if self.standard else 0.0

    def scaled(self, factor: float) -> Error:
        return Error(self.standard * abs(factor), self.freedom)


NO_ERROR = Error(0.0)
"""Of a fact."""


def combined(errors: Sequence[Error]) -> Error:
    """Of a sum of independent numbers; its degrees of freedom by Welch and Satterthwaite."""
    variances = [(error.standard**2, error.freedom) for error in errors]
    return Error(hypot(*(error.standard for error in errors)), satterthwaite(variances))


def pooled(stated: Error | None, values: Sequence[float]) -> Error | None:
    """Standard deviation of one of ``values``: what is ``stated`` and what they show, weighted by degrees of freedom.

    None where nothing is stated and fewer than two values show nothing. Source: the pooled variance of two samples.
    """
    shown = spread(values)
    if shown is None:
        return stated
    freedom = len(values) - 1
    if stated is None:
        return Error(shown, freedom)
    if stated.freedom == inf:
        return stated
    both = stated.freedom + freedom
    return Error(sqrt((stated.freedom * stated.standard**2 + freedom * shown**2) / both), both)


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
    """What a scale states of other seeds, as standard deviations in one unit, with their degrees of freedom.

    accuracy: of one accuracy. heads: of the difference between two accuracies of one network.
    """

    accuracy: Error
    heads: Error

    @classmethod
    def of(cls, scale: Scale) -> SeedNoise:
        accuracy = Error(scale.seed_sd, scale.seed_sd_freedom)
        return cls(accuracy, accuracy if scale.head_sd is None else Error(scale.head_sd, scale.head_sd_freedom))

    def scaled(self, factor: float) -> SeedNoise:
        return SeedNoise(self.accuracy.scaled(factor), self.heads.scaled(factor))

    def of_sum(self, networks: Iterable[float], cells: Iterable[float]) -> Error:
        """Of a sum of accuracies, by the weight of each network and of each cell in it.

        An accuracy is what its network's training gives all its heads, plus what is the head's own; the variances
        of the two add up to ``accuracy`` squared, and two of the latter to ``heads`` squared.
        """
        own = self.heads.standard**2 / 2
        shared = max(0.0, self.accuracy.standard**2 - own)
        parts = [
            (shared * sum(weight**2 for weight in networks), self.accuracy.freedom),
            (own * sum(weight**2 for weight in cells), self.heads.freedom),
        ]
        return Error(sqrt(sum(variance for variance, _ in parts)), satterthwaite(parts))


def seed_error(stated: Error | None, per_seed: Sequence[float]) -> Error | None:
    """How sure the mean of ``per_seed`` margins is over other seeds, in the unit of ``stated``.

    stated: standard deviation of the margin between seeds, by what the scale states; None where it states nothing.
    """
    of_one_seed = pooled(stated, per_seed)
    return None if of_one_seed is None else of_one_seed.scaled(1.0 / sqrt(max(1, len(per_seed))))


_DUST = 1e-9
"""Binary noise of a difference of decimals: 83.1 - 83.0 must count as 0.1."""


NO_NOISE = "no seed noise is known"


def cell_verdict(
    difference: float, tolerance: float, half_unit: float, noise: Error | None, seeds: int = 1
) -> tuple[Verdict, str]:
    """Does our value agree with the printed one?

    The paper's number is one training too, so two trainings of one recipe differ by what the 95 % prediction interval
    of their difference allows; beyond it the numbers differ. Inside, it is replicated where the mean over
    reruns is known to lie within the tolerance (90 % interval, two one-sided tests), and undecided otherwise. The
    test images are the paper's, so their draw does not enter.

    difference: ours, the mean over ``seeds``, minus the paper's. half_unit: half of the paper's last digit. noise:
    standard deviation of one training; `NO_ERROR` where none lies between, None where nobody knows it.

    Source: Spence and Stanley 2016 (prediction intervals of replications), Schuirmann 1987 (two one-sided tests).
    """
    allowed = tolerance + half_unit + _DUST
    if noise is None:
        return "undecided", f"{difference:+.2f} against ±{tolerance:g} allowed; {NO_NOISE}"
    if not noise.standard:
        verdict: Verdict = "replicated" if abs(difference) <= allowed else "differs"
        return verdict, f"{difference:+.2f} against ±{tolerance:g} allowed"
    # The standard deviation of a uniform draw from one printed digit.
    rounding = Error(2 * half_unit / sqrt(12))
    mean = noise.scaled(1.0 / sqrt(seeds))
    predicted = Error(hypot(mean.standard, noise.standard), noise.freedom)
    reruns = combined([predicted, rounding]).half
    why = f"{difference:+.2f} against ±{tolerance:g} allowed; two trainings differ by up to ±{reruns:.2f} (95 %)"
    if abs(difference) + mean.half_of(0.90) <= allowed:
        return "replicated", why
    if abs(difference) > reruns + _DUST:
        return "differs", why
    return "undecided", f"{why}, so it may be the same, and {plural(seeds, 'seed')} cannot show it to ±{tolerance:g}"


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


def claim_verdict(
    scope: Scope, mean: ClaimVerdict, single: Sequence[ClaimVerdict], note: str = ""
) -> tuple[ClaimVerdict, str]:
    """A claim about several cells, and why: on average the mean margin decides, of each the weakest comparison.

    Every one of them has to hold by its own 95 % interval, which errs less often than a single one does, so nothing
    is corrected (Berger 1982, intersection-union test); one that fails is enough against all.
    """
    reason = f"{single.count('holds')} of {len(single)} comparisons hold by themselves, {single.count('fails')} fail"
    match scope:
        case "average":
            verdict = mean
        case "every":
            verdict = "undecided"
            if "fails" in single:
                verdict = "fails"
            elif set(single) == {"holds"}:
                verdict = "holds"
        case _:
            assert_never(scope)
    return verdict, f"{reason}; {note}" if note else reason
