"""Keyed randomness: a row depends on (seed, stream, epoch, row), on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from replicate.engine.keyed_random import generator, torch_seed, uniforms

pytestmark = pytest.mark.torch


@given(
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 1500),
    start=st.integers(0, 2**31),
    length=st.integers(1, 40),
    cut=st.integers(0, 40),
    width=st.integers(1, 9),
)
def test_any_split_gives_the_same_rows(seed: int, epoch: int, start: int, length: int, cut: int, width: int) -> None:
    cut = min(cut, length)
    whole = uniforms(seed, "crop", epoch, start, start + length, width)
    left = uniforms(seed, "crop", epoch, start, start + cut, width)
    right = uniforms(seed, "crop", epoch, start + cut, start + length, width)
    assert whole.shape == (length, width)
    np.testing.assert_array_equal(whole, np.concatenate([left, right]))


def test_seed_stream_epoch_and_row_all_matter() -> None:
    base = uniforms(0, "crop", 0, 0, 2, 4)
    others = [uniforms(1, "crop", 0, 0, 2, 4), uniforms(0, "flip", 0, 0, 2, 4), uniforms(0, "crop", 1, 0, 2, 4)]
    values = np.concatenate([base, *others]).ravel()
    assert len(np.unique(values)) == values.size


def test_parts_of_the_key_do_not_run_together() -> None:
    assert not np.array_equal(uniforms(1, "a", 11, 0, 1, 4), uniforms(1, "a1", 1, 0, 1, 4))
    assert not np.array_equal(uniforms(1, "a", 11, 0, 1, 4), uniforms(11, "a", 1, 0, 1, 4))


def test_draws_are_uniform() -> None:
    values = uniforms(3, "crop", 7, 0, 20000, 5)
    # Means of 20000 have a standard error of .002; neighbours within a row are independent.
    np.testing.assert_allclose(values.mean(0), 0.5, atol=0.01)
    np.testing.assert_allclose(values.var(0), 1 / 12, atol=0.003)
    assert np.abs(np.corrcoef(values.T) - np.eye(5)).max() < 0.04


def test_the_numbers_never_change() -> None:
    """Golden: another number here silently makes every stored result irreproducible."""
    np.testing.assert_array_equal(uniforms(0, "golden", 3, 5, 6, 2), [[0.2819676141771229, 0.6871317767610288]])
    assert generator(0, "golden", 3, 5).random() == 0.7939848217949081
    assert torch_seed(0, "golden", 3, 5) == 4208417597304072789


def test_generators_of_two_rows_differ_and_repeat() -> None:
    first, again, second = (generator(1, "noise", 0, row).standard_normal(1000) for row in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert not np.isin(first, second).any()


@given(st.integers(0, 2**62), st.integers(0, 10**6), st.integers(0, 10**6))
def test_torch_accepts_every_seed(seed: int, epoch: int, step: int) -> None:
    value = torch_seed(seed, "drop path", epoch, step)
    assert 0 <= value < 2**63
    torch.Generator().manual_seed(value)


def test_torch_seeds_differ_by_step_and_epoch() -> None:
    seeds = {torch_seed(0, "drop path", epoch, step) for epoch in range(30) for step in range(30)}
    assert len(seeds) == 900
