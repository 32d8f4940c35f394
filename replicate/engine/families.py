"""Kinds of drawn objects: ten simple shapes, and four families that take the place of transfer data sets.

Each family has something that the ten shapes do not have: colour that decides, petals to count, parts that
are there or not, outlines crossed with fillings. None of it was tuned towards a claim of the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Outline = Callable[[Array, Array], Mask]
"""Whether points (x, y) are inside the object: its circumscribed circle has radius 1, and y points down."""

WHITE = (True, True, True)


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


def _vehicle(roof: str, wheels: int, windows: int, x: Array, y: Array) -> Mask:
    """A body with a roof, wheels under it and windows, which are holes; its own mirror image, as is due to flips."""
    body = box(x, y - 0.1, 0.9, 0.25)
    if roof == "low":
        body |= box(x, y + 0.25, 0.75, 0.12)
    elif roof == "cabin":
        body |= box(x, y + 0.4, 0.35, 0.27)
    elif roof == "whole":
        body |= box(x, y + 0.4, 0.75, 0.27)
    for place in np.linspace(-0.6, 0.6, wheels).tolist():
        body |= _disk(x, y, (place, 0.5), 0.25)
    for place in ((), (0.0,), (-0.4, 0.4))[windows]:
        body &= ~box(x - place, y - 0.1, 0.13, 0.13)
    return body


def _creature(lobes: int, filling: str, flat: bool, x: Array, y: Array) -> Mask:
    """A wavy outline with a filling; ``flat`` ones are half as high as wide."""
    high = y * 2 if flat else y
    wave = 0.8 + 0.2 * np.cos(lobes * np.arctan2(high, x))
    inside = np.asarray(x * x + high * high <= wave**2)
    if filling == "across":
        return np.asarray(inside & (np.mod(y, np.float32(0.4)) <= 0.25))
    if filling == "along":
        return np.asarray(inside & (np.mod(x, np.float32(0.4)) <= 0.25))
    if filling == "hollow":
        return np.asarray(inside & (x * x + high * high >= (0.6 * wave) ** 2))
    return inside


FAMILIES: dict[str, tuple[Kind, ...]] = {
    "shapes": tuple(Kind(contains) for contains in SHAPES.values()),
    "coloured": tuple(Kind(*pair) for pair in product(SHAPES.values(), COLOURS.values())),
    "flowers": tuple(
        Kind(partial(_flower, *chosen)) for chosen in product((3, 4, 5, 6, 7), (False, True), (False, True))
    ),
    "vehicles": tuple(
        Kind(partial(_vehicle, *chosen)) for chosen in product(("none", "low", "cabin", "whole"), (2, 3), (0, 1, 2))
    ),
    "creatures": tuple(
        Kind(partial(_creature, *chosen))
        for chosen in product((2, 3, 4, 5, 6), ("full", "across", "along", "hollow"), (False, True))
    ),
}
"""The kinds of each family (10, 40, 20, 24 and 40), in the order of their labels."""
