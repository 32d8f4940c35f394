"""A generated data set: ten kinds of light shapes on dark backgrounds, for runs that must work offline.

It tests the pipeline; nothing in it was tuned towards a claim of the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replicate.engine.draws import generator, uniforms

Array = NDArray[np.floating[Any]]
Rendered = tuple[NDArray[np.uint8], NDArray[np.int16]]

CENTRAL = 0.875
"""Objects lie inside this central part, which is what evaluation's centre crop keeps (recipes.md)."""
OFFSET = 0.10
SCALE = (0.28, 0.38)
"""Centre and circumradius of the object, relative to the edge of the central part."""
ROTATION = 0.15
NOISE = 0.05
SUPERSAMPLING = 2
CHUNK = 32
"""Images rendered at once: their grids stay in the second-level cache (48 px: 1.2 MB)."""


def _ring(x: Array, y: Array, inner: float) -> NDArray[np.bool_]:
    square = x * x + y * y
    return np.asarray((square <= 1) & (square >= inner * inner))


def _box(x: Array, y: Array, half_width: float, half_height: float) -> NDArray[np.bool_]:
    return np.asarray((np.abs(x) <= half_width) & (np.abs(y) <= half_height))


def _bars(across: Array, along: Array) -> NDArray[np.bool_]:
    """Three bars of width .28, .28 apart, in a square of half-edge .7."""
    inside = _box(across, along, 0.7, 0.7)
    return np.asarray(inside & (np.mod(across + np.float32(0.7), np.float32(0.56)) <= 0.28))


def _plus(x: Array, y: Array) -> NDArray[np.bool_]:
    return _box(x, y, 0.95, 0.25) | _box(x, y, 0.25, 0.95)


# In a frame where the object's circumscribed circle has radius 1 and y points down.
SHAPES: dict[str, Callable[[Array, Array], NDArray[np.bool_]]] = {
    "disk": lambda x, y: _ring(x, y, 0.0),
    "ring": lambda x, y: _ring(x, y, 0.6),
    "square": lambda x, y: _box(x, y, 0.7, 0.7),
    "frame": lambda x, y: _box(x, y, 0.7, 0.7) & ~_box(x, y, 0.42, 0.42),
    "triangle": lambda x, y: (y <= 0.5) & (np.abs(x) * 1.7320508 <= y + 1),
    "plus": _plus,
    "x": lambda x, y: _plus((x + y) * 0.70710678, (x - y) * 0.70710678),
    "crescent": lambda x, y: _ring(x, y, 0.0) & ((x - 0.45) ** 2 + y * y >= 0.64),
    "horizontal bars": lambda x, y: _bars(y, x),
    "vertical bars": lambda x, y: _bars(x, y),
}


def render_split(seed: int, split: str, count: int, size: int) -> Rendered:
    """Images uint8 [count, 3, size, size] and labels int16 [count] of one split.

    Image and label ``i`` are a function of (seed, split, i, size) only: a longer split begins with the
    shorter one.
    Ten consecutive images hold each class once, in a drawn order.
    """
    classes = len(SHAPES)
    blocks = uniforms(seed, f"shapes label {split}", 0, 0, -(-count // classes), classes)
    labels = np.argsort(blocks, axis=1).reshape(-1)[:count].astype(np.int16)
    draws = uniforms(seed, f"shapes {split}", 0, 0, count, 16).astype(np.float32)
    images = np.empty((count, 3, size, size), np.uint8)
    for kind, contains in enumerate(SHAPES.values()):
        (members,) = np.nonzero(labels == kind)
        for begin in range(0, len(members), CHUNK):
            chunk = members[begin : begin + CHUNK]
            noise = np.stack(
                [
                    generator(seed, f"shapes noise {split}", 0, int(i)).standard_normal((3, size, size), np.float32)
                    for i in chunk
                ]
            )
            images[chunk] = _render(draws[chunk], contains, noise, size)
    return images, labels


def _render(
    draws: Array, contains: Callable[[Array, Array], NDArray[np.bool_]], noise: Array, size: int
) -> NDArray[np.uint8]:
    background = (0.05 + 0.25 * draws[:, 0:3])[:, :, None, None]
    light = (0.55 + 0.45 * draws[:, 3:6])[:, :, None, None]
    clutter = (0.15 + 0.35 * draws[:, 6:9])[:, :, None, None]

    fine = size * SUPERSAMPLING
    line = (((np.arange(fine) + 0.5) / fine - 0.5) / CENTRAL).astype(np.float32)
    x, y = line[None, None, :], line[None, :, None]

    offset = (draws[:, 9:11] * 2 - 1) * np.float32(OFFSET)
    radius = SCALE[0] + (SCALE[1] - SCALE[0]) * draws[:, 11]
    angle = (draws[:, 12] * 2 - 1) * np.float32(ROTATION)
    object_ = _coverage(contains(*_frame(x, y, offset, angle, radius)), size)

    place = (draws[:, 13:15] * 2 - 1) * np.float32(0.45)
    turn = draws[:, 15] * np.float32(np.pi)
    bar = _coverage(_box(*_frame(x, y, place, turn, np.ones_like(turn)), 0.25, 0.03), size)

    image = background + bar * (clutter - background)
    image = image + object_ * (light - image) + np.float32(NOISE) * noise
    return np.asarray(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _frame(x: Array, y: Array, centre: Array, angle: Array, radius: Array) -> tuple[Array, Array]:
    """Coordinates of the grid in the frame of the object: two arrays [n, fine, fine]."""
    radius = radius.astype(np.float32)
    cos, sin = (np.cos(angle) / radius)[:, None, None], (np.sin(angle) / radius)[:, None, None]
    dx, dy = x - centre[:, 0, None, None], y - centre[:, 1, None, None]
    return dx * cos + dy * sin, dy * cos - dx * sin


def _coverage(inside: NDArray[np.bool_], size: int) -> Array:
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
