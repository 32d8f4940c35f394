"""Student's t distribution, at degrees of freedom that need not be whole.

Written here because the package renders tables without scipy, which loads in 0.4 s; the tests compare the two.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, inf, lgamma, log, log1p, pi, sqrt
from statistics import NormalDist

_NORMAL = NormalDist()
_TERMS = 300
_SMALL = 1e-300
_AS_GOOD_AS_INFINITE = 1e7
"""Degrees of freedom from which the normal distribution is the same to seven digits."""


def upper_tail(t: float, freedom: float) -> float:
    """P(T > t): the one-sided p-value of ``t`` standard errors.

    Source: https://dlmf.nist.gov/8.17, with x = freedom / (freedom + t²). Raises ValueError for ``freedom`` <= 0.
    """
    if freedom <= 0.0:
        raise ValueError(f"degrees of freedom must be positive, got {freedom}")
    if freedom > _AS_GOOD_AS_INFINITE:
        return _NORMAL.cdf(-t)
    if abs(t) == inf:
        return 0.0 if t > 0 else 1.0
    both = _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)
    return both / 2 if t >= 0 else 1.0 - both / 2


@lru_cache(maxsize=4096)
def quantile(probability: float, freedom: float) -> float:
    """The ``t`` that T stays below with ``probability``, of 0.5 or more.

    Raises ValueError for another probability, or ``freedom`` <= 0.
    """
    if not 0.5 <= probability < 1.0:
        raise ValueError(f"a probability of 0.5 to 1 is needed, got {probability}")
    if freedom > _AS_GOOD_AS_INFINITE:
        return _NORMAL.inv_cdf(probability)
    # The tail is convex and the normal quantile below it, so Newton's steps go up to it and never past it.
    t = z = _NORMAL.inv_cdf(probability)
    if freedom >= 4.0:
        # Two terms of the expansion about it, which save three of five steps (Abramowitz and Stegun 26.7.5); it is
        # so near that a step from above it leads just below.
        t += (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    front = exp(lgamma((freedom + 1) / 2) - lgamma(freedom / 2)) / sqrt(freedom * pi)
    for _ in range(_TERMS):
        step = (upper_tail(t, freedom) - (1.0 - probability)) / (front * (1 + t * t / freedom) ** (-(freedom + 1) / 2))
        t += step
        # At many degrees of freedom the tail itself has no more digits than these.
        if abs(step) <= 1e-8 * t + 1e-8:
            break
    return t


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised: I_x(a, b), by its continued fraction (https://dlmf.nist.gov/8.17#E22), which is quick at small x."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _incomplete_beta(1.0 - x, b, a)
    front = exp(a * log(x) + b * log1p(-x) + lgamma(a + b) - lgamma(a) - lgamma(b)) / a
    # The modified method of Lentz: numerator and denominator of each convergent as ratios to those before.
    upper, lower, value = 1.0, 0.0, 1.0
    for term in range(_TERMS):
        half = term // 2
        if term == 0:
            step = 1.0
        elif term % 2:
            step = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            step = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        lower = 1.0 / ((1.0 + step * lower) or _SMALL)
        upper = (1.0 + step / upper) or _SMALL
        value *= upper * lower
        if abs(upper * lower - 1.0) < 1e-15:
            break
    return front * (value - 1.0)


def satterthwaite(parts: list[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of independent variances, each ``(variance, freedom)``.

    Source: Welch 1947, Satterthwaite 1946.
    """
    total = sum(variance for variance, _ in parts)
    share = sum(variance**2 / freedom for variance, freedom in parts if variance)
    return total**2 / share if share else inf
