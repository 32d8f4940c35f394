"""Student's t against scipy, which the package itself does without."""

from __future__ import annotations

from math import inf

import pytest
from scipy import stats

from replicate.judge import student
from replicate.judge.student import quantile, satterthwaite, upper_tail

FREEDOMS = (1, 2, 3.7, 8, 10, 33.3, 1e4)


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_the_tail_is_that_of_scipy(freedom: float) -> None:
    for t in (-12.0, -1.0, 0.0, 0.1, 1.0, 2.5, 6.0, 50.0):
        assert upper_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_the_quantile_is_that_of_scipy(freedom: float) -> None:
    for probability in (0.5, 0.8, 0.95, 0.975, 0.995):
        assert quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-7, abs=1e-9)


def test_with_infinite_freedom_it_is_the_normal_distribution() -> None:
    assert quantile(0.975, inf) == pytest.approx(1.959964)
    assert upper_tail(1.959964, inf) == pytest.approx(0.025)
    assert (upper_tail(inf, 3), upper_tail(-inf, 3)) == (0.0, 1.0)


def test_what_is_no_probability_or_freedom_is_refused() -> None:
    with pytest.raises(ValueError, match="degrees of freedom must be positive"):
        upper_tail(1.0, 0.0)
    with pytest.raises(ValueError, match="a probability of"):
        quantile(0.3, 3.0)


def test_freedom_of_a_sum_lies_between_the_least_and_the_sum() -> None:
    assert satterthwaite([(1.0, 5.0), (1.0, 5.0)]) == 10.0
    assert satterthwaite([(1.0, 5.0), (0.0, 1.0)]) == 5.0
    assert satterthwaite([(1.0, inf)]) == inf


def test_a_quantile_takes_a_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 5,000 degrees of freedom it took 300, since the tail has fewer digits than were asked for."""
    steps = 0

    def counted(t: float, freedom: float) -> float:
        nonlocal steps
        steps += 1
        return upper_tail(t, freedom)

    monkeypatch.setattr(student, "upper_tail", counted)
    for freedom in (1.0, 8.0, 500.0, 5e3, 1e5, 5e6):
        for probability in (0.8, 0.95, 0.975):
            student.quantile.__wrapped__(probability, freedom)
    assert steps < 18 * 10
