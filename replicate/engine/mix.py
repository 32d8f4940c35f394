"""Mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899) with soft, smoothed targets, as timm's Mixup does.

One draw is shared by a *mix group*: the batch of one GPU in the official code (timm's mode 'batch').
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from replicate.engine.draws import generator
from replicate.spec.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Mix:
    """How the samples of a group are mixed with those of the reversed group.

    ``lam`` is the weight of a sample's own label. ``box`` is (top, bottom, left, right) of what CutMix takes
    from the partner, and None for mixup.
    """

    lam: float
    box: tuple[int, int, int, int] | None = None


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
