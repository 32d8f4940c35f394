"""Repeated augmentation in DeiT's order, and the split of an epoch into ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate.engine.batches import deal, epoch_order, rank_positions
from replicate.specs.recipe import epoch_length

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("images", "length"), [(1281167, 1281024), (960, 768), (256, 256), (511, 256), (255, 255), (10, 10)]
)
def test_length_is_rounded_down_to_256(images: int, length: int) -> None:
    assert epoch_length(images) == length


def test_each_image_three_times_in_a_row_and_a_third_of_them() -> None:
    order = epoch_order(960, 3, 0, 0)
    assert order.shape == (768,)
    triples = order.reshape(256, 3)
    assert (triples == triples[:, :1]).all()
    assert len(set(triples[:, 0])) == 256


def test_without_repeats_every_image_at_most_once() -> None:
    order = epoch_order(960, 1, 0, 0)
    assert len(set(order)) == len(order) == 768
    assert sorted(epoch_order(100, 1, 0, 0)) == list(range(100))


def test_the_last_image_may_be_cut() -> None:
    order = epoch_order(256, 3, 0, 0)  # 256 = 85 * 3 + 1
    assert len(set(order)) == 86
    assert (order == order[-1]).sum() == 1


def test_epochs_and_seeds_differ() -> None:
    orders = [epoch_order(512, 3, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert len({order.tobytes() for order in orders}) == 3
    np.testing.assert_array_equal(orders[1], epoch_order(512, 3, 0, 1))
    shown = set(np.concatenate([epoch_order(512, 3, 0, epoch) for epoch in range(20)]))
    assert len(shown) > 500  # (2/3)**20 * 512 = .15 images are expected to be missing


def official(permutation: list[int], repeats: int, world: int, rank: int) -> list[int]:
    """facebookresearch/deit samplers.py, RASampler.__iter__, at the paper's time (repeats were fixed at 3)."""
    images = len(permutation)
    samples = -(-images * repeats // world)
    selected = images // 256 * 256 // world
    indices = [index for index in permutation for _ in range(repeats)]
    indices += indices[: samples * world - len(indices)]
    return indices[rank : samples * world : world][:selected]


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_the_mix_groups_of_a_batch_are_the_official_ranks_batches(world: int) -> None:
    images, per_rank = 700, 16
    batch = world * per_rank
    # All of a permutation, from an order long enough to show it: 700 is the odd count that gets padded.
    permutation = np.random.default_rng(0).permutation(images)
    order = np.repeat(permutation, 3)[:512]
    ranks = [official(permutation.tolist(), 3, world, rank) for rank in range(world)]
    for step in range(512 // batch):
        groups = deal(order[step * batch : (step + 1) * batch], world).reshape(world, per_rank)
        for rank in range(world):
            assert groups[rank].tolist() == ranks[rank][step * per_rank : (step + 1) * per_rank]


def test_deal_by_hand() -> None:
    assert deal(np.array([0, 0, 0, 1, 1, 1]), 3).tolist() == [0, 1, 0, 1, 0, 1]
    assert deal(np.array([0, 0, 0, 1, 1, 1]), 1).tolist() == [0, 0, 0, 1, 1, 1]


@given(st.integers(1, 64), st.integers(1, 64))
def test_ranks_cover_the_batch_once_in_order(world: int, part: int) -> None:
    positions = [p for rank in range(world) for p in rank_positions(world * part, rank, world)]
    assert positions == list(range(world * part))
