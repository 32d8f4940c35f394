"""Mixup and CutMix, with timm's Mixup as the reference."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
from paper_recipe import recipe
from timm.data import mixup as timm_mixup

from replicate.engine.transforms import Mix, cutmix, draw_mix, is_mixed, mix_images, soft_targets

pytestmark = pytest.mark.torch

LABELS = torch.tensor([0, 3, 3, 1, 2, 0])


def pictures(size: int) -> torch.Tensor:
    return torch.randn(6, 3, size, size, generator=torch.Generator().manual_seed(size))


@pytest.mark.parametrize("lam", [0.03, 0.31, 0.5, 0.97])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixup_is_timms(lam: float, smoothing: float) -> None:
    theirs = timm_mixup.Mixup(0.8, 0.0, label_smoothing=smoothing, num_classes=5)
    with mock.patch("numpy.random.beta", return_value=lam):
        images, targets = theirs(pictures(8), LABELS)
    mine = pictures(8)
    mix_images(mine, Mix(lam))
    assert torch.equal(mine, images)
    assert torch.equal(soft_targets(LABELS, 5, smoothing, Mix(lam)), targets)


@pytest.mark.parametrize("lam", [0.0, 0.03, 0.31, 0.5, 0.97])
@pytest.mark.parametrize("centre", [(0, 0), (7, 12), (14, 3)])
@pytest.mark.parametrize("size", [15, 16])
def test_cutmix_is_timms(lam: float, centre: tuple[int, int], size: int) -> None:
    theirs = timm_mixup.Mixup(0.0, 1.0, label_smoothing=0.1, num_classes=5)
    with (
        mock.patch("numpy.random.beta", return_value=lam),
        mock.patch("numpy.random.randint", side_effect=list(centre)),
    ):
        images, targets = theirs(pictures(size), LABELS)
    mine, drawn = pictures(size), cutmix(lam, size, *centre)
    mix_images(mine, drawn)
    assert torch.equal(mine, images)
    torch.testing.assert_close(soft_targets(LABELS, 5, 0.1, drawn), targets, rtol=0, atol=0)


def test_lam_is_what_stays_visible_of_a_clipped_box() -> None:
    # Edge int(10 * sqrt(1 - .36)) = 8, centred on the corner: rows and columns -4..4 clipped to 0..4.
    assert cutmix(0.36, 10, 0, 0) == Mix(1 - 16 / 100, (0, 4, 0, 4))


def test_targets_by_hand() -> None:
    labels = torch.tensor([0, 1])
    plain = soft_targets(labels, 4, 0.1, None)  # off = .1 / 4, on = 1 - .1 + .025
    torch.testing.assert_close(plain[0], torch.tensor([0.925, 0.025, 0.025, 0.025]))
    mixed = soft_targets(labels, 4, 0.0, Mix(0.7))
    torch.testing.assert_close(mixed, torch.tensor([[0.7, 0.3, 0, 0], [0.3, 0.7, 0, 0]]))


def test_a_group_left_alone_is_left_alone() -> None:
    images = pictures(8)
    mix_images(images, None)
    assert torch.equal(images, pictures(8))


def drawn(count: int = 4000, **change: float) -> list[Mix | None]:
    return [draw_mix(recipe(**change), 32, 0, 0, group) for group in range(count)]


def test_switch_and_beta() -> None:
    mixes = [mix for mix in drawn(mixup=0.8, cutmix=1.0, mix_switch=0.3, mix_prob=1.0) if mix is not None]
    assert len(mixes) == 4000
    assert np.mean([mix.box is not None for mix in mixes]) == pytest.approx(0.3, abs=0.03)
    lams = [mix.lam for mix in mixes if mix.box is None]
    # Beta(.8, .8): mean .5, variance 1 / (4 (2 * .8 + 1)) = .0962.
    assert np.mean(lams) == pytest.approx(0.5, abs=0.025)
    assert np.var(lams) == pytest.approx(0.0962, abs=0.006)


def test_probability_of_mixing() -> None:
    mixes = drawn(mixup=0.8, cutmix=1.0, mix_prob=0.4)
    assert np.mean([mix is not None for mix in mixes]) == pytest.approx(0.4, abs=0.03)


def test_one_of_the_two_switched_off() -> None:
    assert all(mix is not None and mix.box is None for mix in drawn(200, mixup=0.8, cutmix=0.0))
    assert all(mix is not None and mix.box is not None for mix in drawn(200, mixup=0.0, cutmix=1.0))
    assert drawn(20, mixup=0.0, cutmix=0.0) == [None] * 20
    assert not is_mixed(recipe(mix_prob=0.0))


def test_cutmix_centres_reach_every_pixel() -> None:
    boxes = [mix.box for mix in drawn(mixup=0.0, cutmix=1.0) if mix is not None and mix.box is not None]
    covered = np.zeros((32, 32), bool)
    for top, bottom, left, right in boxes:
        covered[top:bottom, left:right] = True
    assert covered.all()


def test_seed_epoch_and_group_key_the_draw() -> None:
    values = [draw_mix(recipe(cutmix=0.0), 32, *key) for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert len({value.lam for value in values if value is not None}) == 4
    assert draw_mix(recipe(), 32, 0, 2, 3) == draw_mix(recipe(), 32, 0, 2, 3)
