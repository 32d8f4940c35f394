"""Cropping, erasing and mixing of images, from keyed draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from replicate.engine.keyed_random import generator
from replicate.specs.recipe import Interpolation, Recipe

CROP_ATTEMPTS = 10
CROP_DRAWS = 2 * CROP_ATTEMPTS + 2
"""Uniform draws that one random crop takes."""

Box = tuple[int, int, int, int]
"""Top, left, height, width, in pixels."""

MIN_AREA, MAX_AREA = 0.02, 1 / 3
MIN_ASPECT = 0.3
ERASE_ATTEMPTS = 10
ERASE_DRAWS = 1 + 2 * ERASE_ATTEMPTS + 2
"""Uniform draws per image."""

Noise = Callable[[int, tuple[int, int, int]], NDArray[np.float32]]
"""(index in the batch, shape) -> standard normal numbers."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How the samples of a group are mixed with those of the reversed group.

    ``lam`` is the weight of a sample's own label. ``box`` is (top, bottom, left, right) of what CutMix takes
    from the partner, and None for mixup.
    """

    lam: float
    box: tuple[int, int, int, int] | None = None


def random_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], draws: Sequence[float]
) -> Box:
    """The box of torchvision's RandomResizedCrop, from ``CROP_DRAWS`` uniform draws.

    The area is uniform in ``scale`` (relative to the image), the aspect ratio log-uniform in ``ratio``. After
    ten boxes that do not fit, the largest central one within ``ratio`` is taken.
    """
    area = height * width
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for attempt in range(CROP_ATTEMPTS):
        target = area * (scale[0] + (scale[1] - scale[0]) * draws[2 * attempt])
        aspect = math.exp(low + (high - low) * draws[2 * attempt + 1])
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int((height - h + 1) * draws[-2]), int((width - w + 1) * draws[-1]), h, w
    w, h = width, height
    if width / height < ratio[0]:
        h = round(w / ratio[0])
    elif width / height > ratio[1]:
        w = round(h * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w


def crop_resized(image: Tensor, box: Box, crop: Tensor) -> None:
    """Cut ``box`` out of uint8 [3, H, W] and resize it into ``crop`` [3, S, S]: crop first, as Pillow does."""
    top, left, height, width = box
    edge = crop.shape[1]
    crop.copy_(_resize(image[:, top : top + height, left : left + width], edge, edge, "bicubic"))


def evaluation_view(image: Tensor, size: int, crop: float, interpolation: Interpolation) -> Tensor:
    """Resize the shorter edge to ``int(size / crop)`` and cut out the centre: uint8 [3, size, size].

    256 for 224 and 438 for 384 at the paper's crop of 0.875 (recipes.md, "Evaluation").
    """
    height, width = image.shape[1:]
    edge = int(size / crop)
    # torchvision's Resize: the longer edge rounded down; its CenterCrop: half pixels rounded half-even.
    if height <= width:
        height, width = edge, int(edge * width / height)
    else:
        height, width = int(edge * height / width), edge
    resized = _resize(image, height, width, interpolation)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return resized[:, top : top + size, left : left + size]


def _resize(image: Tensor, height: int, width: int, mode: Interpolation) -> Tensor:
    if image.shape[1:] == (height, width):
        return image
    return interpolate(image[None], (height, width), mode=mode, antialias=True)[0]


@dataclass(frozen=True, slots=True)
class Erasure:
    """What overwrites ``box`` of image ``index`` of a batch: float32 [3, height, width]."""

    index: int
    box: Box
    noise: Tensor

    def overwrite(self, images: Tensor) -> None:
        """Put it into ``images`` float32 [B, 3, H, W], on whichever device they are."""
        top, left, height, width = self.box
        patch = self.noise.to(images.device, non_blocking=True)
        images[self.index, :, top : top + height, left : left + width] = patch


def erasures(shape: Sequence[int], draws: NDArray[np.float64], probability: float, noise: Noise) -> Iterator[Erasure]:
    """What is erased of a batch of images of ``shape`` (3, H, W); ``draws`` is [B, ERASE_DRAWS].

    An image for which ten boxes do not fit is left alone, as in timm.
    """
    channels, height, width = shape
    for index in np.flatnonzero(draws[:, 0] < probability).tolist():
        box = erase_box(height, width, draws[index].tolist())
        if box is not None:
            yield Erasure(index, box, torch.from_numpy(noise(index, (channels, box[2], box[3]))))


def erase(images: Tensor, draws: NDArray[np.float64], probability: float, noise: Noise) -> None:
    """Overwrite one box of some of the normalised images float32 [B, 3, H, W] by noise, in place: see `erasures`."""
    for one in erasures(images.shape[1:], draws, probability, noise):
        one.overwrite(images)


def erase_box(height: int, width: int, draws: list[float]) -> tuple[int, int, int, int] | None:
    """Top, left, height and width of the box, or None; timm's RandomErasing._erase from ``ERASE_DRAWS`` draws.

    The area is uniform in 2 % to a third of the image, the aspect ratio log-uniform in 0.3 to 1/0.3; the box
    is strictly smaller than the image in both directions.
    """
    log_aspect = math.log(MIN_ASPECT)
    for attempt in range(ERASE_ATTEMPTS):
        area = (MIN_AREA + (MAX_AREA - MIN_AREA) * draws[1 + 2 * attempt]) * height * width
        aspect = math.exp(log_aspect * (1 - 2 * draws[2 + 2 * attempt]))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            return int((height - h + 1) * draws[-2]), int((width - w + 1) * draws[-1]), h, w
    return None


def is_mixed(recipe: Recipe) -> bool:
    """Whether images of a batch are ever mixed with each other."""
    return recipe.mix_prob > 0 and (recipe.mixup > 0 or recipe.cutmix > 0)


def draw_mix(recipe: Recipe, size: int, seed: int, epoch: int, group: int) -> Mix | None:
    """The mix of one group of an epoch, for square images of ``size``; None leaves the group as it is."""
    if not is_mixed(recipe):
        return None
    rng = generator(seed, "mix", epoch, group)
    apply, switch, row, column = rng.random(4).tolist()
    if apply >= recipe.mix_prob:
        return None
    cut = recipe.cutmix > 0 and (recipe.mixup == 0 or switch < recipe.mix_switch)
    alpha = recipe.cutmix if cut else recipe.mixup
    lam = float(rng.beta(alpha, alpha))
    if lam == 1.0:
        return None
    return cutmix(lam, size, int(row * size), int(column * size)) if cut else Mix(lam)


def cutmix(lam: float, size: int, row: int, column: int) -> Mix:
    """The box of share ``1 - lam`` centred on (row, column) and clipped; lam becomes what is left visible."""
    edge = int(size * math.sqrt(1.0 - lam))
    top, bottom = (int(np.clip(row + d, 0, size)) for d in (-(edge // 2), (edge + 1) // 2))
    left, right = (int(np.clip(column + d, 0, size)) for d in (-(edge // 2), (edge + 1) // 2))
    visible = 1.0 - (bottom - top) * (right - left) / float(size * size)
    return Mix(visible, (top, bottom, left, right))


def mix_images(images: Tensor, mix: Mix | None) -> None:
    """Mix a group of images float32 [G, 3, H, W] with its reverse, in place."""
    if mix is None:
        return
    if mix.box is None:
        reverse = images.flip(0).mul_(1.0 - mix.lam)
        images.mul_(mix.lam).add_(reverse)
    else:
        top, bottom, left, right = mix.box
        images[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right].flip(0)


def soft_targets(labels: Tensor, classes: int, smoothing: float, mix: Mix | None) -> Tensor:
    """Targets float32 [G, classes] of labels int64 [G]: smoothed (eps / K off, 1 - eps + eps / K on), mixed.

    The smoothing is timm's: of eps, the true class keeps its share.
    """
    off = smoothing / classes
    own = torch.full((len(labels), classes), off).scatter_(1, labels[:, None], 1.0 - smoothing + off)
    return own if mix is None else own * mix.lam + own.flip(0) * (1.0 - mix.lam)
