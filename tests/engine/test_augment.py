"""Crop, RandAugment, colour jitter and erasing, against Pillow, torchvision and timm."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from paper_recipe import recipe
from PIL import Image
from timm.data import auto_augment as timm_ra
from timm.data.random_erasing import RandomErasing
from torch.nn.functional import interpolate
from torchvision import transforms as tv_transforms
from torchvision.transforms import functional as tv

from replicate.engine import augmentation, image_ops, transforms
from replicate.engine import augmentation as jitter
from replicate.engine.transforms import ERASE_DRAWS, erase, erase_box
from replicate.errors import UserError
from replicate.specs import augment
from replicate.specs.augment import Policy

pytestmark = pytest.mark.torch

FILL = (124, 116, 104)  # round(255 * ImageNet's mean)
LEVELS = (0.0, 2.7, 6.1, 8.6, 9.3, 10.0)
POINT = {"AutoContrast", "Equalize", "Invert", "PosterizeIncreasing", "SolarizeIncreasing", "SolarizeAdd"}
POINT |= {"Posterize", "PosterizeOriginal", "Solarize"}
AUTO = ["Posterize", "PosterizeOriginal", "Solarize", "Color", "Contrast", "Brightness", "Sharpness"]
BLACK = {("PosterizeIncreasing", 10.0), ("Posterize", 0.0)}  # 0 bits: see test_posterize_to_no_bits


def pictures(size: int = 32) -> np.ndarray:
    """Noise, a smooth picture, a dark one of few values, a flat one, and a picture with a flat channel."""
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, (3, size, size))
    ramp = np.linspace(0, 255, size)
    smooth = np.stack([np.outer(np.ones(size), ramp), np.outer(ramp, np.ones(size)), np.outer(ramp, ramp) / 255])
    dark = rng.integers(3, 9, (3, size, size))
    flat = np.broadcast_to(np.array([200, 7, 90])[:, None, None], (3, size, size))
    half = noise.copy()
    half[1] = 31
    return np.stack([noise, smooth, dark, flat, half]).astype(np.uint8)


def pil(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))


def timm_apply(name: str, image: np.ndarray, level: float, sign: int) -> np.ndarray:
    op = timm_ra.AugmentOp(
        name, prob=1.0, magnitude=level, hparams={"img_mean": FILL, "interpolation": Image.Resampling.BICUBIC}
    )
    with mock.patch.object(timm_ra, "_randomly_negate", lambda v: sign * v):
        return np.asarray(op(pil(image))).transpose(2, 0, 1)


def ours(name: str, images: np.ndarray, level: float, sign: int) -> np.ndarray:
    n = len(images)
    out = images.copy()
    chosen = np.full(n, augmentation.OPERATIONS.index(name))
    augmentation.apply_layer(out, chosen, np.full(n, level), np.full(n, float(sign)), FILL)
    return out


def test_operations_are_those_of_timm_in_its_order() -> None:
    assert list(augmentation.OPERATIONS[: augmentation.INCREASING]) == timm_ra._RAND_INCREASING_TRANSFORMS
    assert list(augmentation.OPERATIONS[augmentation.INCREASING :]) == AUTO


@pytest.mark.parametrize("name", [*timm_ra._RAND_INCREASING_TRANSFORMS, *AUTO])
def test_each_operation_is_timms(name: str) -> None:
    images = pictures()
    for level in LEVELS:
        if (name, level) in BLACK:
            continue
        for sign in (-1, 1):
            result = ours(name, images, level, sign)
            for picture, image in zip(result, images, strict=True):
                wanted = timm_apply(name, image, level, sign).astype(int)
                error = np.abs(picture.astype(int) - wanted)
                if name in POINT:
                    assert error.max() == 0, (level, sign)
                else:
                    # One level where single precision falls on the other side of a truncation.
                    assert error.max() <= 1, (level, sign)
                    assert (error > 0).mean() < 0.005, (level, sign)


def test_operations_change_the_picture() -> None:
    images = pictures()
    for name in augmentation.OPERATIONS:
        changed = [not np.array_equal(ours(name, images, 9.0, sign), images) for sign in (-1, 1)]
        assert any(changed), name


def test_posterize_to_no_bits_is_black_where_timm_raises() -> None:
    image = pictures()[:1]
    with pytest.raises(ValueError, match="bits must be between"):
        timm_apply("PosterizeIncreasing", image[0], 10.0, 1)
    assert ours("PosterizeIncreasing", image, 10.0, 1).max() == 0


def test_a_mixed_batch_is_each_image_alone() -> None:
    rng = np.random.default_rng(1)
    images = np.concatenate([pictures()] * 8)
    n = len(images)
    chosen = rng.integers(0, len(augmentation.OPERATIONS) + 1, n)
    levels, signs = rng.uniform(5, 10, n), rng.choice([-1.0, 1.0], n)
    together = images.copy()
    augmentation.apply_layer(together, chosen, levels, signs, FILL)
    for i in range(n):
        alone = images[i : i + 1].copy()
        part = slice(i, i + 1)
        augmentation.apply_layer(alone, chosen[part], levels[part], signs[part], FILL)
        np.testing.assert_array_equal(alone[0], together[i])
    untouched = chosen == len(augmentation.OPERATIONS)
    assert untouched.any()
    np.testing.assert_array_equal(together[untouched], images[untouched])


def test_draws_choose_operation_application_magnitude_and_sign() -> None:
    policy = augmentation.parse("rand-m9-mstd0.5-inc1")
    image = pictures()[:1]
    # Layer 1: operation 3 of 15 is Rotate, applied (.2 < .5), magnitude 9 + .5 * 0, sign -1. Layer 2: .9 >= .5.
    draws = np.array([[3.5 / 15, 0.2, 0.5, 0.1, 0.0, 0.9, 0.5, 0.5]])
    result = torch.from_numpy(image.copy())
    policy.apply(result, draws, FILL)
    wanted = timm_apply("Rotate", image[0], 9.0, -1).astype(int)
    assert np.abs(result[0].numpy().astype(int) - wanted).max() <= 1


def test_magnitude_is_normal_and_clipped() -> None:
    policy = augmentation.parse("rand-m9-n1-mstd0.5-inc1")
    seen: list[np.ndarray] = []
    draws = np.random.default_rng(2).random((20000, 4))
    draws[0, 2] = 0.0
    with mock.patch.object(augmentation, "apply_layer", lambda *args: seen.extend(args[1:4])):
        policy.apply(torch.zeros((20000, 3, 1, 1), dtype=torch.uint8), draws, FILL)
    chosen, levels, signs = seen
    chosen = np.where(chosen == augmentation.NONE, 15, chosen)
    # P(N(9, .5) >= 10) = P(Z >= 2) = .02275; its standard error at 20000 is .001.
    assert np.mean(levels == 10.0) == pytest.approx(0.02275, abs=0.004)
    assert np.median(levels) == pytest.approx(9.0, abs=0.02)
    assert levels.min() >= 0
    assert np.mean(signs == 1) == pytest.approx(0.5, abs=0.02)
    counts = np.bincount(chosen, minlength=16) / 20000
    assert counts[15] == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(counts[:15], 1 / 30, atol=0.006)


def test_ours_survives_where_timm_raises() -> None:
    """The trap: timm's policy under Pillow 13 raises about once in 600 images; ours never does."""
    random.seed(0)
    np.random.seed(0)
    theirs = timm_ra.rand_augment_transform("rand-m9-mstd0.5-inc1", {"img_mean": FILL})
    image = pil(pictures(8)[0])

    def many_times() -> None:
        for _ in range(20000):
            theirs(image)

    with pytest.raises(ValueError, match="bits must be between"):
        many_times()
    policy = augmentation.parse("rand-m9-mstd0.5-inc1")
    batch = torch.from_numpy(np.broadcast_to(pictures(8)[0], (5000, 3, 8, 8)).copy())
    policy.apply(batch, np.random.default_rng(0).random((5000, 8)), FILL)
    assert (batch.amax(dim=(1, 2, 3)) == 0).any()  # a black one among them: the trap was met


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("rand-m9-mstd0.5-inc1", augmentation.RandAugment(9, 2, 0.5, 0.5)),
        ("rand-m7-n3-p0.8-inc1", augmentation.RandAugment(7, 3, 0.0, 0.8)),
    ],
)
def test_notation(text: str, policy: augmentation.RandAugment) -> None:
    assert augmentation.parse(text) == policy


@pytest.mark.parametrize(
    "text",
    [
        "rand",
        "rand-m9-mstd0.5",
        "rand-m9-inc0",
        "rand-m9.5-inc1",
        "rand-m11-inc1",
        "rand-m9-m8-inc1",
        "rand-m9-w0-inc1",
        "rand-m9-n0-inc1",
        "rand-m9-p2-inc1",
        "rand-mstd0.5-inc1",
        "rand-m9--inc1",
        "original-m9",
        "v0-mstd",
        "v0r",
    ],
)
def test_other_notation_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"recipe\.auto_augment = "):
        augmentation.parse(text)


# --- AutoAugment


@pytest.mark.parametrize("name", ["original", "v0"])
def test_every_sub_policy_is_timms(name: str) -> None:
    """Every picture meets every sub-policy, each operation applied wherever its probability is not 0."""
    policy = augmentation.parse(name)
    hparams = {"img_mean": FILL, "interpolation": Image.Resampling.BICUBIC}
    assert policy.width == 7
    for number, pair in enumerate(timm_ra.auto_augment_policy(name, hparams)):
        for picture in pictures():
            # Sub-policy; then application, magnitude and sign (+1) of both operations.
            draws = np.array([[(number + 0.5) / 25, 0.001, 0.5, 0.9, 0.001, 0.5, 0.9]])
            result = torch.from_numpy(picture[None].copy())
            policy.apply(result, draws, FILL)
            if (name, number) == ("v0", 22):
                assert result.max() == 0  # Posterize to 0 bits, then Solarize above 256; Pillow 13 raises
                continue
            wanted = pil(picture)
            for op in pair:
                if op.prob > 0:
                    op.prob = 1.0
                    with mock.patch.object(timm_ra, "_randomly_negate", lambda v: v):
                        wanted = op(wanted)
            error = np.abs(result[0].numpy().astype(int) - np.asarray(wanted).transpose(2, 0, 1))
            # A level that is off by one before Equalize, Solarize or AutoContrast may be further off after it.
            assert np.mean(error > 1) < 0.03, (number, pair)


@pytest.mark.parametrize(
    ("draw", "name", "pair"),
    # The first and the last sub-policy of each, from arXiv:1805.09501 (Table 9) and the TPU EfficientNet code.
    [
        (0.0, "original", [("PosterizeOriginal", 0.4, 8.0), ("Rotate", 0.6, 9.0)]),
        (0.999, "original", [("Equalize", 0.8, 8.0), ("Equalize", 0.6, 3.0)]),
        (0.0, "v0", [("Equalize", 0.8, 1.0), ("ShearY", 0.8, 4.0)]),
        (0.999, "v0", [("Color", 0.8, 6.0), ("Rotate", 0.4, 5.0)]),
    ],
)
def test_one_draw_chooses_the_sub_policy(draw: float, name: str, pair: list[tuple[str, float, float]]) -> None:
    policy = augmentation.parse(name)
    for below in (True, False):
        seen: list[tuple[int, float]] = []
        draws = [draw]
        for _, probability, _ in pair:
            draws += [probability - 0.01 if below else probability, 0.5, 0.5]

        def record(images: Any, chosen: Any, levels: Any, *rest: Any, seen: Any = seen) -> None:
            seen.append((chosen[0], levels[0]))

        with mock.patch.object(augmentation, "apply_layer", record):
            policy.apply(torch.zeros((1, 3, 4, 4), dtype=torch.uint8), np.array([draws]), FILL)
        names = [augmentation.OPERATIONS.index(op) if below else augmentation.NONE for op, _, _ in pair]
        assert seen == list(zip(names, [level for _, _, level in pair], strict=True))


def test_auto_augment_magnitudes_are_normal_and_clipped() -> None:
    policy = augmentation.parse("original-mstd0.5")
    seen: list[np.ndarray] = []
    draws = np.random.default_rng(2).random((20000, 7))
    draws[:, 0] = 0.0  # Posterize at 8, then Rotate at 9
    with mock.patch.object(augmentation, "apply_layer", lambda *args: seen.append(args[2])):
        policy.apply(torch.zeros((20000, 3, 1, 1), dtype=torch.uint8), draws, FILL)
    assert np.mean(seen[0]) == pytest.approx(8.0, abs=0.02)
    assert np.std(seen[0]) == pytest.approx(0.5, abs=0.02)
    assert np.mean(seen[1] == 10.0) == pytest.approx(0.02275, abs=0.004)  # P(Z >= 2)


def test_either_notation_is_read() -> None:
    assert augmentation.parse("rand-m9-mstd0.5-inc1") == augmentation.RandAugment(9, 2, 0.5, 0.5)
    assert augmentation.parse("v0").deviation == 0.0
    assert augmentation.parse("v0-mstd0.25").deviation == 0.25


def test_colour_jitter_is_torchvisions() -> None:
    images = pictures()
    for index, order in enumerate([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]):
        draws = np.tile([(index + 0.5) / 6, 0.1, 0.9, 0.3], (len(images), 1))
        result = torch.from_numpy(images.copy())
        jitter.color_jitter(result, 0.4, draws)
        factors = 0.6 + 0.8 * draws[0, 1:]  # uniform in 1 -+ .4
        params = (torch.tensor(order), *factors.tolist(), None)
        with mock.patch.object(tv_transforms.ColorJitter, "get_params", lambda *_, params=params: params):
            theirs = tv_transforms.ColorJitter(0.4, 0.4, 0.4)
            for ours_, image in zip(result, images, strict=True):
                wanted = np.asarray(theirs(pil(image))).transpose(2, 0, 1)
                assert np.abs(ours_.numpy().astype(int) - wanted).max() <= 1


def test_jitter_beyond_one_has_no_negative_factor() -> None:
    images = torch.from_numpy(pictures())
    # Contrast first, at max(0, 1 - 1.5) = 0: flat grey, which brightness and saturation leave flat.
    jitter.color_jitter(images, 1.5, np.tile([2.5 / 6, 0.5, 0.0, 0.5], (5, 1)))
    assert (images == images[:, :, :1, :1]).all()


# --- crops


def test_crop_box_follows_the_drawn_area_and_ratio() -> None:
    draws = [0.5] * transforms.CROP_DRAWS
    # Area .54 of 100 x 100, ratio exp(0) = 1: edge sqrt(5400) = 73.48 -> 73; top and left in 0..27.
    draws[-2:] = [0.0, 0.999]
    assert transforms.random_box(100, 100, (0.08, 1.0), (3 / 4, 4 / 3), draws) == (0, 27, 73, 73)
    draws[-2:] = [0.999, 0.0]
    assert transforms.random_box(100, 100, (0.08, 1.0), (3 / 4, 4 / 3), draws) == (27, 0, 73, 73)


def test_crop_falls_back_to_the_centre() -> None:
    draws = [0.9] * transforms.CROP_DRAWS
    # 400 x 50: area .908 * 20000 never fits a ratio near 1, so width 50 and height round(50 / .75) = 67.
    assert transforms.random_box(400, 50, (0.08, 1.0), (3 / 4, 4 / 3), draws) == (166, 0, 67, 50)
    # 50 x 400: height 50, width round(50 * 4 / 3) = 67.
    assert transforms.random_box(50, 400, (0.08, 1.0), (3 / 4, 4 / 3), draws) == (0, 166, 50, 67)


def test_crop_boxes_are_distributed_as_torchvisions() -> None:
    torch.manual_seed(0)
    image = torch.zeros(3, 60, 80)
    args = ([0.08, 1.0], [3 / 4, 4 / 3])
    theirs = np.array([tv_transforms.RandomResizedCrop.get_params(image, *args) for _ in range(3000)])
    draws = np.random.default_rng(0).random((3000, transforms.CROP_DRAWS)).tolist()
    mine = np.array([transforms.random_box(60, 80, (0.08, 1.0), (3 / 4, 4 / 3), row) for row in draws])
    assert (mine[:, 0] + mine[:, 2]).max() <= 60
    assert (mine[:, 1] + mine[:, 3]).max() <= 80
    # Standard deviations are about 14, so a mean of 3000 has a standard error of .26.
    np.testing.assert_allclose(mine.mean(0), theirs.mean(0), atol=1.5)
    np.testing.assert_allclose(mine.std(0), theirs.std(0), atol=1.0)


def test_crop_is_resized_as_pillow_does() -> None:
    image = np.random.default_rng(3).integers(0, 256, (3, 90, 70), dtype=np.uint8)
    crop = torch.empty(3, 32, 32, dtype=torch.uint8)
    transforms.crop_resized(torch.from_numpy(image), (10, 5, 61, 47), crop)
    result = crop.numpy()
    wanted = tv.resized_crop(pil(image), 10, 5, 61, 47, [32, 32], tv_transforms.InterpolationMode.BICUBIC)
    assert np.abs(result.astype(int) - np.asarray(wanted).transpose(2, 0, 1)).max() <= 1


@pytest.mark.parametrize("box", [(10, 5, 61, 47), (0, 0, 90, 70), (3, 4, 32, 32), (50, 20, 7, 9)])
def test_a_crop_written_to_its_place_has_the_bytes_of_one_of_its_own(box: tuple[int, int, int, int]) -> None:
    image = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (90, 70, 3), dtype=np.uint8)).permute(2, 0, 1)
    batch = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    transforms.crop_resized(image, box, batch[1])
    cut = image[None, :, box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
    assert torch.equal(batch[1], interpolate(cut, (32, 32), mode="bicubic", antialias=True)[0])
    assert not batch[[0, 2]].any()


@pytest.mark.parametrize(("size", "edge"), [(224, 256), (384, 438), (32, 36), (40, 45)])
@pytest.mark.parametrize("shape", [(500, 375), (375, 500), (460, 460)])
def test_evaluation_view_is_torchvisions(size: int, edge: int, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(4).integers(0, 256, (3, *shape), dtype=np.uint8)
    steps = [
        tv_transforms.Resize(edge, tv_transforms.InterpolationMode.BICUBIC),
        tv_transforms.CenterCrop(size),
    ]
    wanted = np.asarray(tv_transforms.Compose(steps)(pil(image))).transpose(2, 0, 1)
    result = transforms.evaluation_view(torch.from_numpy(image), size, 0.875, "bicubic").numpy()
    assert result.shape == (3, size, size)
    # torch's 16-bit weights: two levels at most, even on white noise, and almost everywhere none.
    error = np.abs(result.astype(int) - wanted)
    assert error.max() <= 2
    assert error.mean() < 0.05


# --- erasing


def scripted(values: list[float]) -> mock.Mock:
    """Stands for `random` in timm: the given uniform numbers one after the other."""
    queue = list(values)
    fake = mock.Mock()
    fake.random = lambda: queue.pop(0)
    fake.uniform = lambda low, high: low + (high - low) * queue.pop(0)
    fake.randint = lambda low, high: low + int((high - low + 1) * queue.pop(0))
    return fake


def test_erased_box_is_timms() -> None:
    rng = np.random.default_rng(6)
    for _ in range(200):
        draws = rng.random(ERASE_DRAWS).tolist()
        box = erase_box(20, 28, draws)
        assert box is not None
        top, left, h, w = box
        # timm draws the place right after the attempt that fitted.
        for fitted in range(10):
            sequence = [0.0, *draws[1 : 3 + 2 * fitted], *draws[-2:]]
            image = torch.zeros(3, 20, 28)
            with mock.patch("timm.data.random_erasing.random", scripted(sequence)):
                try:
                    RandomErasing(0.25, mode="pixel", device="cpu")(image)
                except IndexError:
                    continue
            if image.any():
                break
        rows, columns = (image[0] != 0).any(1).nonzero(), (image[0] != 0).any(0).nonzero()
        assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (top, top + h, left, left + w)


def test_erase_by_hand() -> None:
    images = torch.zeros(2, 3, 32, 32)
    draws = np.full((2, ERASE_DRAWS), 0.5)
    draws[0, 0], draws[1, 0] = 0.24, 0.25  # probability .25: the first is erased, the second is not
    draws[:, -2:] = 0.0
    asked: list[tuple[int, tuple[int, int, int]]] = []

    def noise(index: int, shape: tuple[int, int, int]) -> np.ndarray:
        asked.append((index, shape))
        return np.ones(shape, np.float32)

    erase(images, draws, 0.25, noise)
    # Area (.02 + 1/3) / 2 * 1024 = 180.9, aspect 1: edge round(13.45) = 13.
    assert asked == [(0, (3, 13, 13))]
    assert images[0, :, :13, :13].eq(1).all()
    assert images.sum() == 3 * 13 * 13


def test_box_that_never_fits_is_left_alone() -> None:
    draws = [0.0] + [0.999, 0.999] * 10 + [0.5, 0.5]
    # Area .333 * 3 * 300, aspect 3.33: height 32 > 3, ten times.
    assert erase_box(3, 300, draws) is None


def test_flat_areas_stay_flat_under_interpolation() -> None:
    image = np.full((1, 3, 16, 16), 128, np.uint8)
    angles = np.array([math.pi])
    assert set(np.unique(image_ops.rotate(image, angles, (128, 128, 128)))) == {128}
    assert set(np.unique(image_ops.shift_rows(image, np.full((1, 16), 0.3), (128, 128, 128)))) == {128}


class Negative:
    """What carries out the policy of the next test: it inverts every image, and draws nothing."""

    width = 1

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def apply(self, images: Any, draws: Any, fill: Any) -> None:
        images.copy_(255 - images)


def test_a_policy_from_outside_is_read_and_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "_POLICIES", dict(augment._POLICIES))

    @augment.register("negative")
    class NegativePolicy(Policy):
        engine = f"{__name__}:Negative"

        @classmethod
        def read(cls, name: str, sections: Sequence[str]) -> NegativePolicy:
            augment.numbers(sections, ())
            return cls()

        def printed(self) -> str:
            return "negative"

    assert recipe(auto_augment="negative").auto_augment == "negative"
    assert augment.printed("negative") == "negative"
    with pytest.raises(ValueError, match="'m3' is no number"):
        recipe(auto_augment="negative-m3")
    images = torch.full((2, 3, 4, 4), 5, dtype=torch.uint8)
    augmentation.parse("negative").apply(images, np.zeros((2, 1)), (0, 0, 0))
    assert images.unique().tolist() == [250]
    with pytest.raises(TypeError, match="policy 'negative': a new word"):
        augment.register("negative")(NegativePolicy)
