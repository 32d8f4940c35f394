"""How sure numbers are: errors, intervals, and the rules that turn them into verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import hypot, inf, sqrt
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from replicate.judge.student import quantile, satterthwaite, upper_tail
from replicate.judge.table import ClaimVerdict, Verdict
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


def pooled(stated: Error | None, shown: Sequence[tuple[float, int]]) -> Error | None:
    """Standard deviation of one training: what is ``stated`` and what is ``shown``, weighted by degrees of freedom.

    shown: sample variances, each with its degrees of freedom. None where nothing is stated and nothing shown. Source:
    the pooled variance of several samples.
    """
    if stated is not None and stated.freedom == inf:
        return stated
    known = [*([(stated.standard**2, stated.freedom)] if stated else []), *shown]
    freedom = sum(of for _, of in known)
    return Error(sqrt(sum(variance * of for variance, of in known) / freedom), freedom) if known else None


def printed_error(decimals: int) -> Error:
    """Of a number rounded to so many digits after the point: a uniform draw from one unit of the last."""
    return Error(10.0**-decimals / sqrt(12))


def image_error(hits: NDArray[np.bool_], scale: float = 100.0) -> float:
    """Standard error of a share over another draw of test images: binomial, from [N] decisions.

    With two more images of each kind, so that one that all or none of the images have is not known for sure.
    Source: Agresti and Coull 1998.
    """
    images = len(hits) + 4
    share = (float(hits.sum()) + 2) / images
    return scale * sqrt(share * (1.0 - share) / images)


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


_DUST = 1e-9
"""Binary noise of a difference of decimals: 83.1 - 83.0 must count as 0.1."""


NO_NOISE = "no seed noise is known"


def cell_verdict(
    difference: float, tolerance: float, decimals: int, noise: Error | None, seeds: int = 1
) -> tuple[Verdict, str]:
    """Does our value agree with the printed one?

    The paper's number is one training too, so two trainings of one recipe differ by what the 95 % prediction interval
    of their difference allows; beyond it the numbers differ. Inside, it is replicated where the mean over
    reruns is known to lie within the tolerance (90 % interval, two one-sided tests), and undecided otherwise. The
    test images are the paper's, so their draw does not enter.

    difference: ours, the mean over ``seeds``, minus the paper's. decimals: of the paper's number. noise:
    standard deviation of one training; `NO_ERROR` where none lies between, None where nobody knows it.

    Source: Spence and Stanley 2016 (prediction intervals of replications), Schuirmann 1987 (two one-sided tests).
    """
    allowed = tolerance + 0.5 * 10.0**-decimals + _DUST
    if noise is None:
        return "undecided", f"{difference:+.2f} against ±{tolerance:g} allowed; {NO_NOISE}"
    if not noise.standard:
        verdict: Verdict = "replicated" if abs(difference) <= allowed else "differs"
        return verdict, f"{difference:+.2f} against ±{tolerance:g} allowed"
    mean = noise.scaled(1.0 / sqrt(seeds))
    predicted = Error(hypot(mean.standard, noise.standard), noise.freedom)
    reruns = combined([predicted, printed_error(decimals)]).half
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


def p_value(relation: Relation, margin: float, error: Error | None, within: float) -> float | None:
    """How often a margin comes out this clear, or clearer, where what the claim says is only just not true.

    One-sided; of what has two sides the larger of both. A claim holds where it is at most 2.5 %: there its interval
    lies on its side. None where nobody knows the error.
    """
    if error is None:
        return None
    match relation:
        case "above":
            return _tail(margin, error)
        case "not-below":
            return _tail(margin + within, error)
        case "about" | "times":
            return max(_tail(within - margin, error), _tail(within + margin, error))
        case _:
            assert_never(relation)


def _tail(distance: float, error: Error) -> float:
    if not error.standard:
        return 0.0 if distance > -_DUST else 1.0
    return upper_tail(distance / error.standard, error.freedom)


def holm(p_values: Sequence[float]) -> list[float]:
    """Each corrected for the number of all, so that at most that share of times any of several is wrong.

    Source: Holm 1979.
    """
    corrected = [0.0] * len(p_values)
    least = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = least
    return corrected


MOST_SEEDS = 1000
"""Nobody trains more."""


def seeds_needed(relation: Relation, margin: float, within: float, error_of: Callable[[int], Error]) -> int | None:
    """How many seeds decide a claim in 80 % of cases, if ``margin`` is the true one; None for more than `MOST_SEEDS`.

    error_of: how sure a margin of so many seeds is. Its interval has to end before the edge of what the claim says in
    that share of draws: t(97.5 %) + t(80 %) standard errors.
    """
    match relation:
        case "above":
            distance = abs(margin)
        case "not-below":
            distance = abs(margin + within)
        case "about" | "times":
            distance = abs(within - abs(margin))
        case _:
            assert_never(relation)

    def enough(seeds: int) -> bool:
        error = error_of(seeds)
        return error.half + quantile(0.8, error.freedom) * error.standard <= distance

    if not enough(MOST_SEEDS):
        return None
    too_few, most = 0, MOST_SEEDS
    while most - too_few > 1:
        middle = (too_few + most) // 2
        too_few, most = (too_few, middle) if enough(middle) else (middle, most)
    return most
