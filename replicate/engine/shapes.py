"""Generated data sets: light objects on dark backgrounds, for runs that must work offline.

They test the pipeline; nothing in them was tuned towards a claim of the paper. Every label and every image
is a function of (seed, split, its number) and the settings only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from replicate.engine.draws import generator, uniforms
from replicate.engine.families import FAMILIES, Array, Kind, Mask, box

Rendered = tuple[NDArray[np.uint8], NDArray[np.int16]]
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
    family: str = "shapes",
    classes: int = 10,
    noise: float = NOISE,
    radius: tuple[float, float] = RADIUS,
    tail: float = 0.0,
) -> Rendered:
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
