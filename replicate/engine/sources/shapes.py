"""Kinds of drawn objects: ten simple shapes, and four families that take the place of transfer data sets.

Each family has something that the ten shapes do not have: colour that decides, petals to count, parts that
are there or not, outlines crossed with fillings. None of it was tuned towards a claim of the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Literal, assert_never, get_args

import numpy as np
from numpy.typing import NDArray

from replicate.engine.data import Arrays, ArraySource
from replicate.engine.keyed_random import generator, uniforms
from replicate.errors import UserError
from replicate.specs.sources.shapes import Family, ShapesData

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Outline = Callable[[Array, Array], Mask]
"""Whether points (x, y) are inside the object: its circumscribed circle has radius 1, and y points down."""

Roof = Literal["none", "low", "cabin", "whole"]
Filling = Literal["full", "across", "along", "hollow"]

WHITE = (True, True, True)

Labels = NDArray[np.int16]

CENTRAL = 0.875
"""Objects lie inside this central part, which is what evaluation's centre crop keeps (recipes.md)."""
OFFSET = 0.10
"""Largest offset of the object's centre along an axis, relative to the edge of the central part."""
RADIUS = (0.28, 0.38)
"""Smallest and largest circumradius of the object, likewise."""
ROTATION = 0.15
NOISE = 0.05
SUPERSAMPLING = 2
CHUNK = 32
"""Images rendered at once: their grids stay in the second-level cache (48 px: 1.2 MB)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One class. ``channels``: the colour channels that are bright; the others stay dark."""

    contains: Outline
    channels: tuple[bool, bool, bool] = WHITE


def ring(x: Array, y: Array, inner: float) -> Mask:
    square = x * x + y * y
    return np.asarray((square <= 1) & (square >= inner * inner))


def box(x: Array, y: Array, half_width: float, half_height: float) -> Mask:
    return np.asarray((np.abs(x) <= half_width) & (np.abs(y) <= half_height))


def _disk(x: Array, y: Array, at: tuple[float, float], radius: float) -> Mask:
    return np.asarray((x - at[0]) ** 2 + (y - at[1]) ** 2 <= radius * radius)


def _bars(across: Array, along: Array) -> Mask:
    """Three bars of width .28, .28 apart, in a square of half-edge .7."""
    inside = box(across, along, 0.7, 0.7)
    return np.asarray(inside & (np.mod(across + np.float32(0.7), np.float32(0.56)) <= 0.28))


def _plus(x: Array, y: Array) -> Mask:
    return box(x, y, 0.95, 0.25) | box(x, y, 0.25, 0.95)


SHAPES: dict[str, Outline] = {
    "disk": lambda x, y: ring(x, y, 0.0),
    "ring": lambda x, y: ring(x, y, 0.6),
    "square": lambda x, y: box(x, y, 0.7, 0.7),
    "frame": lambda x, y: box(x, y, 0.7, 0.7) & ~box(x, y, 0.42, 0.42),
    "triangle": lambda x, y: (y <= 0.5) & (np.abs(x) * 1.7320508 <= y + 1),
    "plus": _plus,
    "x": lambda x, y: _plus((x + y) * 0.70710678, (x - y) * 0.70710678),
    "crescent": lambda x, y: ring(x, y, 0.0) & ((x - 0.45) ** 2 + y * y >= 0.64),
    "horizontal bars": lambda x, y: _bars(y, x),
    "vertical bars": lambda x, y: _bars(x, y),
}

COLOURS = {
    "red": (True, False, False),
    "green": (False, True, False),
    "blue": (False, False, True),
    "yellow": (True, True, False),
}


def _flower(petals: int, thin: bool, eye: bool, x: Array, y: Array) -> Mask:
    """A rose of so many petals; ``eye`` is a hole in its middle."""
    lobe = 0.5 + 0.5 * np.cos(petals * np.arctan2(y, x))
    square = x * x + y * y
    flower = square <= (0.3 + 0.7 * (lobe**3 if thin else lobe)) ** 2
    return np.asarray(flower & (square >= 0.07)) if eye else flower


def _vehicle(roof: Roof, wheels: int, windows: int, x: Array, y: Array) -> Mask:
    """A body with a roof, wheels under it and windows, which are holes; its own mirror image, as is due to flips."""
    body = box(x, y - 0.1, 0.9, 0.25)
    match roof:
        case "none":
            pass
        case "low":
            body |= box(x, y + 0.25, 0.75, 0.12)
        case "cabin":
            body |= box(x, y + 0.4, 0.35, 0.27)
        case "whole":
            body |= box(x, y + 0.4, 0.75, 0.27)
        case _:
            assert_never(roof)
    for place in np.linspace(-0.6, 0.6, wheels).tolist():
        body |= _disk(x, y, (place, 0.5), 0.25)
    for place in ((), (0.0,), (-0.4, 0.4))[windows]:
        body &= ~box(x - place, y - 0.1, 0.13, 0.13)
    return body


def _creature(lobes: int, filling: Filling, flat: bool, x: Array, y: Array) -> Mask:
    """A wavy outline with a filling; ``flat`` ones are half as high as wide."""
    high = y * 2 if flat else y
    wave = 0.8 + 0.2 * np.cos(lobes * np.arctan2(high, x))
    inside = np.asarray(x * x + high * high <= wave**2)
    match filling:
        case "full":
            return inside
        case "across":
            return np.asarray(inside & (np.mod(y, np.float32(0.4)) <= 0.25))
        case "along":
            return np.asarray(inside & (np.mod(x, np.float32(0.4)) <= 0.25))
        case "hollow":
            return np.asarray(inside & (x * x + high * high >= (0.6 * wave) ** 2))
        case _:
            assert_never(filling)


FAMILIES: dict[Family, tuple[Kind, ...]] = {
    "shapes": tuple(Kind(contains) for contains in SHAPES.values()),
    "coloured": tuple(Kind(*pair) for pair in product(SHAPES.values(), COLOURS.values())),
    "flowers": tuple(
        Kind(partial(_flower, *chosen)) for chosen in product((3, 4, 5, 6, 7), (False, True), (False, True))
    ),
    "vehicles": tuple(Kind(partial(_vehicle, *chosen)) for chosen in product(get_args(Roof), (2, 3), (0, 1, 2))),
    "creatures": tuple(
        Kind(partial(_creature, *chosen)) for chosen in product((2, 3, 4, 5, 6), get_args(Filling), (False, True))
    ),
}
"""The kinds of each family (10, 40, 20, 24 and 40), in the order of their labels."""


def true_labels(seed: int, split: str, count: int, classes: int = 10, tail: float = 0.0) -> Labels:
    """What is really drawn in each image: int16 [count].

    Without a ``tail``, ``classes`` consecutive images hold each class once, in a drawn order. With one, the
    first ``classes`` images do, and of the others class k is drawn with weight (k + 1) ** -tail, as the classes
    of iNaturalist are long-tailed.
    """
    if tail == 0:
        blocks = uniforms(seed, f"shapes label {split}", 0, 0, -(-count // classes), classes)
        return np.argsort(blocks, axis=1).reshape(-1)[:count].astype(np.int16)
    weights = np.arange(1.0, classes + 1) ** -tail
    drawn = uniforms(seed, f"shapes tail {split}", 0, 0, count, 1)[:, 0]
    labels = np.searchsorted(np.cumsum(weights)[:-1] / weights.sum(), drawn, side="right")
    first = uniforms(seed, f"shapes label {split}", 0, 0, 1, classes)
    labels[:classes] = np.argsort(first[0])[:count]
    return labels.astype(np.int16)


def given_labels(true: Labels, seed: int, share: float, classes: int) -> Labels:
    """The labels a test set comes with: a keyed ``share`` of them wrong, every wrong class as likely.

    The role of the mistakes among ImageNet's validation labels (Beyer et al., arXiv:2006.07159).
    """
    draws = uniforms(seed, "shapes label noise", 0, 0, len(true), 2)
    other = (true + 1 + (draws[:, 1] * (classes - 1)).astype(np.int16)) % classes
    return np.where(draws[:, 0] < share, other, true).astype(np.int16)


def render_split(
    seed: int,
    split: str,
    count: int,
    size: int,
    *,
    family: Family = "shapes",
    classes: int = 10,
    noise: float = NOISE,
    radius: tuple[float, float] = RADIUS,
    tail: float = 0.0,
) -> Arrays:
    """Images uint8 [count, 3, size, size] and true labels int16 [count] of one split.

    A longer split begins with the shorter one. noise: standard deviation of each pixel, 1 being white.
    """
    labels = true_labels(seed, split, count, classes, tail)
    draws = uniforms(seed, f"shapes {split}", 0, 0, count, 16).astype(np.float32)
    images = np.empty((count, 3, size, size), np.uint8)
    for number, kind in enumerate(FAMILIES[family][:classes]):
        (members,) = np.nonzero(labels == number)
        for begin in range(0, len(members), CHUNK):
            chunk = members[begin : begin + CHUNK]
            grain = np.stack(
                [
                    generator(seed, f"shapes noise {split}", 0, int(i)).standard_normal((3, size, size), np.float32)
                    for i in chunk
                ]
            )
            images[chunk] = _render(draws[chunk], kind, np.float32(noise) * grain, radius, size)
    return images, labels


def _render(draws: Array, kind: Kind, grain: Array, radii: tuple[float, float], size: int) -> NDArray[np.uint8]:
    background = (0.05 + 0.25 * draws[:, 0:3])[:, :, None, None]
    light = np.where(kind.channels, 0.55 + 0.45 * draws[:, 3:6], 0.05 + 0.25 * draws[:, 3:6])
    light = light.astype(np.float32)[:, :, None, None]
    clutter = (0.15 + 0.35 * draws[:, 6:9])[:, :, None, None]

    fine = size * SUPERSAMPLING
    line = (((np.arange(fine) + 0.5) / fine - 0.5) / CENTRAL).astype(np.float32)
    x, y = line[None, None, :], line[None, :, None]

    offset = (draws[:, 9:11] * 2 - 1) * np.float32(OFFSET)
    radius = radii[0] + (radii[1] - radii[0]) * draws[:, 11]
    angle = (draws[:, 12] * 2 - 1) * np.float32(ROTATION)
    object_ = _coverage(kind.contains(*_frame(x, y, offset, angle, radius)), size)

    place = (draws[:, 13:15] * 2 - 1) * np.float32(0.45)
    turn = draws[:, 15] * np.float32(np.pi)
    bar = _coverage(box(*_frame(x, y, place, turn, np.ones_like(turn)), 0.25, 0.03), size)

    image = background + bar * (clutter - background)
    image = image + object_ * (light - image) + grain
    return np.asarray(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _frame(x: Array, y: Array, centre: Array, angle: Array, radius: Array) -> tuple[Array, Array]:
    """Coordinates of the grid in the frame of the object: two arrays [n, fine, fine]."""
    radius = radius.astype(np.float32)
    cos, sin = (np.cos(angle) / radius)[:, None, None], (np.sin(angle) / radius)[:, None, None]
    dx, dy = x - centre[:, 0, None, None], y - centre[:, 1, None, None]
    return dx * cos + dy * sin, dy * cos - dx * sin


def _coverage(inside: Mask, size: int) -> Array:
    """Share of each pixel that is inside: float32 [n, 1, size, size]."""
    s = SUPERSAMPLING
    samples = inside.view(np.uint8)
    rows = samples[:, 0::s].copy()
    for line in range(1, s):
        rows += samples[:, line::s]
    total = rows[:, :, 0::s].astype(np.float32)
    for column in range(1, s):
        total += rows[:, :, column::s]
    return (total / np.float32(s * s))[:, None]


class Shapes(ArraySource[ShapesData]):
    """Only test labels are wrong, and only training images are long-tailed."""

    def arrays(self, data: ShapesData) -> Iterator[Arrays]:
        if data.classes > (most := len(FAMILIES[data.family])):
            raise UserError(
                f"data.classes exceeds {most}, the classes of '{data.family}': {data.classes}\n  ask for fewer"
            )
        yield self._split(data, "train", data.train, data.tail)
        images, labels = self._split(data, "test", data.test, 0.0)
        yield images, given_labels(labels, data.seed, data.label_noise, data.classes)

    def true_labels(self, data: ShapesData) -> Labels:
        return true_labels(data.seed, "test", data.test, data.classes)

    def _split(self, data: ShapesData, part: str, count: int, tail: float) -> Arrays:
        return render_split(
            data.seed,
            part,
            count,
            data.size,
            family=data.family,
            classes=data.classes,
            noise=data.noise,
            radius=data.radius,
            tail=tail,
        )
