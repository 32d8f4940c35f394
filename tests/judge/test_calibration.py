"""How often the rules err, by simulation through the functions that judge real numbers: seeds fixed, a few seconds."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from replicate.judge.noise import SeedNoise, of_sum
from replicate.judge.statistics import Error, cell_verdict, margin_verdict, pooled
from replicate.judge.values import CellValue, Design

TRIALS = 3000
SD = 0.2
SEEDS = (1, 2, 3, 5, 10)
FREEDOM = 8
"""Of the stated noise: nine trainings."""


def stated(rng: np.random.Generator, truth: float, factor: float = 1.0) -> Error:
    """What nine trainings say of a noise of ``truth``; ``factor`` is how wrong the statement is."""
    return Error(factor * truth * sqrt(rng.chisquare(FREEDOM) / FREEDOM), FREEDOM)


def shown(values: NDArray[np.float64]) -> list[tuple[float, int]]:
    """What several seeds of one network show."""
    return [(float(values.var(ddof=1)), len(values) - 1)] if len(values) > 1 else []


def verdicts(
    seeds: int, miss: float, *, sd: float = 0.2, tolerance: float = 0.3, factor: float = 1.0
) -> dict[str, float]:
    """Shares of the verdicts on a number whose recipe is ``miss`` away from the paper's, which is one training too."""
    rng = np.random.default_rng([seeds, round(-1000 * miss), round(100 * factor)])
    counts = dict.fromkeys(("replicated", "undecided", "differs"), 0)
    for _ in range(TRIALS):
        printed = round(rng.normal(80.0, SD), 1)
        ours = rng.normal(80.0 + miss, SD, seeds)
        noise = pooled(stated(rng, SD, factor), shown(ours))
        counts[cell_verdict(float(ours.mean()) - printed, 0.3, 1, noise, seeds)[0]] += 1
    return {verdict: count / TRIALS for verdict, count in counts.items()}


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_perfect_replication_is_rarely_called_different(seeds: int) -> None:
    assert verdicts(seeds, 0.0)["differs"] <= 0.06


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_miss_of_six_standard_deviations_is_caught(seeds: int) -> None:
    assert verdicts(seeds, -6 * SD)["differs"] >= 0.95


@pytest.mark.parametrize(("miss", "right"), [(0.0, "replicated"), (-1.2, "differs")])
def test_the_chance_of_the_right_word_does_not_fall_as_seeds_grow(miss: float, right: str) -> None:
    shares = [verdicts(seeds, miss)[right] for seeds in SEEDS]
    # Two standard errors of a simulated share.
    assert all(later >= before - 0.016 for before, later in pairwise(shares)), shares


def margins(seeds: int, truth: float, factor: float = 1.0) -> tuple[float, float]:
    """Of a margin of ``truth`` between two networks: coverage of its interval, and share of "above" that holds."""
    rng = np.random.default_rng([seeds, round(1000 * truth), round(100 * factor), 7])
    covered = held = 0
    for _ in range(TRIALS):
        per_seed = rng.normal(truth, sqrt(2), seeds)
        noise = pooled(stated(rng, sqrt(2), factor), shown(per_seed))
        assert noise is not None
        error = noise.scaled(1 / sqrt(seeds))
        mean = float(per_seed.mean())
        covered += abs(mean - truth) <= error.half
        held += margin_verdict("above", mean, error, 0.0) == "holds"
    return covered / TRIALS, held / TRIALS


@pytest.mark.parametrize("seeds", SEEDS)
def test_intervals_cover_what_they_say_and_null_claims_seldom_hold(seeds: int) -> None:
    covered, held = margins(seeds, 0.0)
    assert 0.93 <= covered <= 0.97
    assert held <= 0.03


@pytest.mark.parametrize("seeds", [2, 3])
def test_seeds_of_a_table_are_enough_where_nothing_is_stated(seeds: int) -> None:
    """Eight networks of a design: their seeds alone give intervals of a margin that cover what they say."""
    rng = np.random.default_rng(seeds)
    covered = 0
    for _ in range(500):
        accuracies = rng.normal(80.0, SD, (8, seeds))
        values = [number(f"network-{index}", own) for index, own in enumerate(accuracies)]
        noise = SeedNoise((), values)
        pairs = [(values[0], 1.0, seed) for seed in range(seeds)] + [(values[1], -1.0, seed) for seed in range(seeds)]
        parts = [noise.part(weight / seeds, value, seed, value.networks[seed]) for value, weight, seed in pairs]
        error = of_sum([part for part in parts if part is not None])
        assert error.freedom == pytest.approx(8 * (seeds - 1))
        covered += abs(accuracies[0].mean() - accuracies[1].mean()) <= error.half
    assert 0.93 <= covered / 500 <= 0.97


def number(network: str, accuracies: NDArray[np.float64]) -> CellValue:
    """An accuracy of a network by seed; which images it gets right does not matter here."""
    seeds = range(len(accuracies))
    return CellValue(
        {seed: Fraction(float(accuracies[seed])) for seed in seeds},
        {seed: np.ones(2, dtype=bool) for seed in seeds},
        100,
        {seed: (f"{network}-s{seed}",) for seed in seeds},
        design=Design("top1", "deit-s", 224, "imagenet", ""),
    )


def test_a_wrong_statement_of_the_noise_is_corrected_by_seeds() -> None:
    """Half the truth: one seed errs often, ten less. Twice the truth: no false alarm. The table is in the docs."""
    half = [margins(seeds, 0.0, 0.5)[0] for seeds in (1, 10)]
    assert half[0] < 0.85 < half[1]
    twice = [margins(seeds, 0.0, 2.0)[0] for seeds in (1, 10)]
    assert min(twice) > 0.95


def table() -> str:
    """The table of docs/statistics.md: ``python tests/judge/test_calibration.py`` prints it."""
    rows = [
        "| seeds | stated noise | different, perfect | different, six sd off | covered | null claims hold |",
        "|--|--|--|--|--|--|",
    ]
    for factor, name in ((1.0, "right"), (0.5, "half the truth"), (2.0, "twice the truth")):
        for seeds in SEEDS:
            perfect = verdicts(seeds, 0.0, factor=factor)["differs"]
            missed = verdicts(seeds, -1.2, factor=factor)["differs"]
            covered, held = margins(seeds, 0.0, factor)
            rows.append(f"| {seeds} | {name} | {perfect:.1%} | {missed:.1%} | {covered:.1%} | {held:.1%} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
