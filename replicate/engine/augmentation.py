"""RandAugment, AutoAugment and colour jitter, from keyed draws, as timm has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pkgutil import resolve_name
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data.auto_augment import auto_augment_policy
from torch import Tensor

from replicate.engine import device_ops, image_ops
from replicate.errors import UserError
from replicate.specs.augment import MAX_LEVEL, AutoPolicy, RandPolicy, policy_of

Images: TypeAlias = NDArray[np.uint8]
Members: TypeAlias = NDArray[np.intp]
"""Indices of images in a batch."""
Column: TypeAlias = NDArray[np.float64]
"""One number an image: levels from 0 to 10, or signs of -1 or 1."""

RAND_DRAWS = 4
"""Uniform draws per layer and image: operation, application, magnitude, sign."""
AUTO_LAYERS = 2
"""Operations of every sub-policy."""
AUTO_DRAWS = 3
"""Uniform draws per layer and image: application, magnitude, sign."""
JITTER_DRAWS = 4
"""Uniform draws per image: the order, then one factor for each adjustment."""
BRIGHTNESS, CONTRAST, SATURATION = range(3)
ORDERS = np.array(list(permutations(range(3))))


class Augmentation(Protocol):
    """What a policy of `replicate.specs.augment` is carried out by."""

    @property
    def width(self) -> int:
        """Uniform draws per image."""
        ...

    def apply(self, images: Tensor, draws: Column, fill: Sequence[int]) -> None:
        """Augment uint8 [B, 3, S, S] in place by ``draws`` [B, width]; the images may be in a GPU's memory.

        ``fill`` is the colour that geometric operations put outside the image.
        """
        ...


def parse(text: str) -> Augmentation:
    """The augmentation of a notation. Raises UserError for what is none."""
    try:
        policy = policy_of(text)
    except ValueError as error:
        raise UserError(f"recipe.auto_augment = '{text}': {error}") from None
    augmentation: Augmentation = resolve_name(policy.engine)(policy)
    return augmentation


@dataclass(frozen=True, slots=True)
class RandAugment:
    """``layers`` operations an image, each applied with ``probability`` at normal(magnitude, deviation)."""

    magnitude: int
    layers: int = 2
    deviation: float = 0.0
    probability: float = 0.5

    @classmethod
    def of(cls, policy: RandPolicy) -> RandAugment:
        return cls(policy.magnitude, policy.layers, policy.deviation, policy.probability)

    @property
    def width(self) -> int:
        """Uniform draws per image."""
        return RAND_DRAWS * self.layers

    def apply(self, images: Tensor, draws: Column, fill: Sequence[int]) -> None:
        """As of `Augmentation`. Operations are drawn with replacement."""
        table = draws.reshape(len(images), self.layers, RAND_DRAWS)
        levels = noisy_levels(np.float64(self.magnitude), self.deviation, table[:, :, 2])
        signs = signs_of(table[:, :, 3])
        chosen = (table[:, :, 0] * INCREASING).astype(np.int64)
        chosen[table[:, :, 1] >= self.probability] = NONE
        for layer in range(self.layers):
            _apply(images, chosen[:, layer], levels[:, layer], signs[:, layer], fill)


@dataclass(frozen=True, slots=True)
class AutoAugment:
    """25 sub-policies of two operations, each (operation, probability, magnitude); an image draws one of them.

    ``operations`` int64, ``probabilities`` and ``magnitudes`` float64, all [25, 2]. ``deviation`` adds normal
    noise to the magnitudes, timm's own addition (``mstd``).
    """

    operations: NDArray[np.int64]
    probabilities: Column
    magnitudes: Column
    deviation: float = 0.0

    @classmethod
    def of(cls, policy: AutoPolicy) -> AutoAugment:
        """The sub-policies are timm's own tables."""
        entries = auto_augment_policy(policy.name)  # type: ignore[no-untyped-call]
        return cls(
            np.array([[OPERATIONS.index(op.name) for op in pair] for pair in entries]),
            np.array([[op.prob for op in pair] for pair in entries]),
            np.array([[float(op.magnitude) for op in pair] for pair in entries]),
            policy.deviation,
        )

    @property
    def width(self) -> int:
        """Uniform draws per image: the sub-policy, then those of its layers."""
        return 1 + AUTO_DRAWS * AUTO_LAYERS

    def apply(self, images: Tensor, draws: Column, fill: Sequence[int]) -> None:
        drawn = (draws[:, 0] * len(self.operations)).astype(np.int64)
        table = draws[:, 1:].reshape(len(images), AUTO_LAYERS, AUTO_DRAWS)
        levels = noisy_levels(self.magnitudes[drawn], self.deviation, table[:, :, 1])
        signs = signs_of(table[:, :, 2])
        chosen = np.where(table[:, :, 0] < self.probabilities[drawn], self.operations[drawn], NONE).astype(np.int64)
        for layer in range(AUTO_LAYERS):
            _apply(images, chosen[:, layer], levels[:, layer], signs[:, layer], fill)


def noisy_levels(magnitude: Column | np.float64, deviation: float, draws: Column) -> Column:
    """Normal levels about ``magnitude``, one for each of the uniform ``draws``, kept within 0 to 10."""
    # The inverse normal distribution: one uniform draw, one magnitude. It takes a draw of 0 to -inf.
    normal: Column = torch.special.ndtri(torch.from_numpy(draws.copy())).clamp(-9, 9).numpy()
    return np.clip(magnitude + deviation * normal, 0, MAX_LEVEL)


def signs_of(draws: Column) -> Column:
    return np.where(draws < 0.5, -1.0, 1.0)


def _apply(images: Tensor, chosen: NDArray[np.int64], levels: Column, signs: Column, fill: Sequence[int]) -> None:
    if on_device(images):
        apply_layer_on_device(images, chosen, levels, signs, fill)
    else:
        apply_layer(images.numpy(), chosen, levels, signs, fill)


def on_device(images: Tensor) -> bool:
    """Whether torch's kernels are to augment ``images``: on a processor numpy's take a third of the time."""
    return images.device.type != "cpu"


def apply_layer(images: Images, chosen: NDArray[np.int64], levels: Column, signs: Column, fill: Sequence[int]) -> None:
    """Apply to each image [B, 3, S, S] the operation that ``chosen`` [B] indexes, in place.

    `NONE` chooses none.
    """
    tables: list[tuple[Members, Images]] = []
    shifts: list[tuple[Members, Images, Column, list[bool]]] = []
    for name, group in _groups(chosen):
        members, level, sign = images[group], levels[group], signs[group]
        if name in TABLES:
            table = TABLES[name](image_ops, members, level, sign)
            tables.append((group, np.broadcast_to(table, (len(group), 3, image_ops.LEVELS))))
        elif name in SHIFTS:
            along_y = name in ALONG_Y
            upright = members.swapaxes(2, 3) if along_y else members
            shifts.append((group, upright, SHIFTS[name](level, sign, images.shape[3]), [along_y] * len(group)))
        else:
            images[group] = OTHERS[name](image_ops, members, level, sign, fill)
    # Tables are looked up together, and shifts done together: two passes instead of twelve.
    if tables:
        group = np.concatenate([entry[0] for entry in tables])
        images[group] = image_ops.lookup(images[group], np.concatenate([entry[1] for entry in tables]))
    if shifts:
        group, upright, shift, along = (np.concatenate(part) for part in zip(*shifts, strict=True))
        moved = image_ops.shift_rows(upright, shift, fill)
        images[group[~along]] = moved[~along]
        images[group[along]] = moved[along].swapaxes(2, 3)


def apply_layer_on_device(
    images: Tensor, chosen: NDArray[np.int64], levels: Column, signs: Column, fill: Sequence[int]
) -> None:
    """`apply_layer` on images in a GPU's memory."""
    tables: list[tuple[Members, Tensor]] = []
    shifts: list[tuple[Members, Tensor, Column, list[bool]]] = []
    for name, group in _groups(chosen):
        members, level, sign = images[sent(group, images)], levels[group], signs[group]
        if name in TABLES:
            table = TABLES[name](device_ops, members, level, sign)
            if isinstance(table, np.ndarray):
                table = sent(table, images)
            tables.append((group, table.expand(len(group), 3, image_ops.LEVELS)))
        elif name in SHIFTS:
            along_y = name in ALONG_Y
            upright = members.transpose(2, 3) if along_y else members
            shifts.append((group, upright, SHIFTS[name](level, sign, images.shape[3]), [along_y] * len(group)))
        else:
            images[sent(group, images)] = OTHERS[name](device_ops, members, level, sign, fill)
    if tables:
        looked_up = sent(np.concatenate([entry[0] for entry in tables]), images)
        images[looked_up] = device_ops.lookup(images[looked_up], torch.cat([entry[1] for entry in tables]))
    if shifts:
        moved = device_ops.shift_rows(
            torch.cat([entry[1] for entry in shifts]), np.concatenate([entry[2] for entry in shifts]), fill
        )
        groups, along = (np.concatenate([entry[part] for entry in shifts]) for part in (0, 3))
        for turned in (False, True):
            rows = np.flatnonzero(along == turned)
            upright = moved[sent(rows, images)]
            images[sent(groups[rows], images)] = upright.transpose(2, 3) if turned else upright


def _groups(chosen: NDArray[np.int64]) -> Iterator[tuple[str, Members]]:
    """The name of each operation that is chosen, and which images choose it."""
    order = np.argsort(chosen, kind="stable")
    bounds = np.searchsorted(chosen[order], np.arange(len(OPERATIONS) + 1)).tolist()
    for name, begin, end in zip(OPERATIONS, bounds, bounds[1:], strict=False):
        if begin < end:
            yield name, order[begin:end]


def sent(array: NDArray[Any], images: Tensor) -> Tensor:
    """``array`` where ``images`` are."""
    return device_ops.onto(torch.from_numpy(np.require(array, requirements=["C", "W"])), images.device)


def _whole(level: Column, most: int) -> NDArray[np.int64]:
    """Rounded down after division by 10, in timm's order of operations."""
    return (level / MAX_LEVEL * most).astype(np.int64)


def _factor(level: Column, sign: Column) -> Column:
    """1 is no change; away from it, towards 0.1 or 1.9, is stronger."""
    return np.maximum(1.0 + sign * (level / MAX_LEVEL * 0.9), 0.1)


def _blend(level: Column) -> Column:
    """0.1 to 1.9, with no change in the middle."""
    return level / MAX_LEVEL * 1.8 + 0.1


def _shear(level: Column, sign: Column, size: int) -> Column:
    return (sign * (level / MAX_LEVEL * 0.3))[:, None] * (np.arange(size) + 0.5)


def _translate(level: Column, sign: Column, size: int) -> Column:
    return np.repeat((sign * (level / MAX_LEVEL * 0.45) * size)[:, None], size, axis=1)


OPERATIONS = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "PosterizeIncreasing",
    "SolarizeIncreasing",
    "SolarizeAdd",
    "ColorIncreasing",
    "ContrastIncreasing",
    "BrightnessIncreasing",
    "SharpnessIncreasing",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
    "Posterize",
    "PosterizeOriginal",
    "Solarize",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
)
"""timm's _RAND_INCREASING_TRANSFORMS, in its order, then what only AutoAugment's policies name."""
INCREASING = 15
"""RandAugment draws from the first so many."""
NONE = len(OPERATIONS)

TABLES: dict[str, Callable[[Any, Any, Column, Column], Any]] = {
    "AutoContrast": lambda ops, images, level, sign: ops.autocontrast_tables(images),
    "Equalize": lambda ops, images, level, sign: ops.equalize_tables(images),
    "Invert": lambda ops, images, level, sign: image_ops.invert_tables(len(images)),
    "PosterizeIncreasing": lambda ops, images, level, sign: image_ops.posterize_tables(4 - _whole(level, 4)),
    "SolarizeIncreasing": lambda ops, images, level, sign: image_ops.solarize_tables(256 - _whole(level, 256)),
    "Posterize": lambda ops, images, level, sign: image_ops.posterize_tables(_whole(level, 4)),
    "PosterizeOriginal": lambda ops, images, level, sign: image_ops.posterize_tables(_whole(level, 4) + 4),
    "Solarize": lambda ops, images, level, sign: image_ops.solarize_tables(_whole(level, 256)),
    "SolarizeAdd": lambda ops, images, level, sign: image_ops.solarize_add_tables(_whole(level, 110)),
    "ContrastIncreasing": lambda ops, images, level, sign: ops.contrast_tables(images, _factor(level, sign)),
    "BrightnessIncreasing": lambda ops, images, level, sign: image_ops.brightness_tables(_factor(level, sign)),
    "Contrast": lambda ops, images, level, sign: ops.contrast_tables(images, _blend(level)),
    "Brightness": lambda ops, images, level, sign: image_ops.brightness_tables(_blend(level)),
}
"""The new value of every old one: (ops, images, levels, signs) -> uint8 [n, 1 or 3, 256].

``ops`` is `image_ops` for arrays and `device_ops` for tensors in a GPU's memory; tables that do not depend on the
images are arrays in either case.
"""

SHIFTS: dict[str, Callable[[Column, Column, int], Column]] = {
    "ShearX": _shear,
    "ShearY": _shear,
    "TranslateXRel": _translate,
    "TranslateYRel": _translate,
}
"""How far to the right each row is sampled: (levels, signs, size) -> pixels, float64 [n, size]."""
ALONG_Y = ("ShearY", "TranslateYRel")

OTHERS: dict[str, Callable[[Any, Any, Column, Column, Sequence[int]], Any]] = {
    "Rotate": lambda ops, images, level, sign, fill: ops.rotate(images, sign * (level / MAX_LEVEL * 30), fill),
    "ColorIncreasing": lambda ops, images, level, sign, fill: ops.color(images, _factor(level, sign)),
    "SharpnessIncreasing": lambda ops, images, level, sign, fill: ops.sharpness(images, _factor(level, sign)),
    "Color": lambda ops, images, level, sign, fill: ops.color(images, _blend(level)),
    "Sharpness": lambda ops, images, level, sign, fill: ops.sharpness(images, _blend(level)),
}


def color_jitter(images: Tensor, strength: float, draws: NDArray[np.float64]) -> None:
    """Jitter uint8 [B, 3, S, S] in place by ``draws`` [B, JITTER_DRAWS].

    Each factor is uniform in ``max(0, 1 - strength)`` to ``1 + strength``; the order differs by image.
    """
    low, high = max(0.0, 1.0 - strength), 1.0 + strength
    factors = low + (high - low) * draws[:, 1:]
    orders = ORDERS[(draws[:, 0] * len(ORDERS)).astype(np.int64)]
    kernels = on_device(images)
    pixels, ops = (images, device_ops) if kernels else (images.numpy(), image_ops)
    for place in range(3):
        for kind in (BRIGHTNESS, CONTRAST, SATURATION):
            (group,) = np.nonzero(orders[:, place] == kind)
            if len(group):
                where = sent(group, images) if kernels else group
                pixels[where] = _adjust(ops, pixels[where], kind, factors[group, kind])


def _adjust(ops: Any, images: Any, kind: int, factor: NDArray[np.float64]) -> Any:
    if kind == SATURATION:
        return ops.color(images, factor)
    if kind == CONTRAST:
        return ops.lookup(images, ops.contrast_tables(images, factor))
    tables = image_ops.brightness_tables(factor)
    return ops.lookup(images, tables if ops is image_ops else sent(tables, images))
