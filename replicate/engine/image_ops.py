"""Pillow's image operations on batches of uint8 images [n, 3, H, W], each with an argument of its own.

Arithmetic follows Pillow's C code (Point.c, Blend.c, Filter.c, Geometry.c) down to its truncations, since
RandAugment's recipe was tuned on it. torchvision's tensor kernels differ, most in geometry: grid_sample
takes another cubic and no fill colour per channel. Arrays are numpy's: on the two or three images of a
batch that draw the same operation, its calls cost a third of torch's.

*Tables* are uint8 [n, 3 or 1, 256]: the new value of every old one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

LEVELS = 256
RAMP = np.arange(LEVELS)
FLOAT_RAMP = RAMP.astype(np.float32)
BLOCK = 224 * 224
"""Pixels of a channel that a geometric operation works on at a time: beyond, its arrays leave the cache."""
Geometry = Callable[[Images, Floats, Sequence[int]], Images]
TAPS = np.arange(-1, 3)
"""The four neighbours of a cubic, relative to the pixel at or before the point."""


def lookup(images: Images, tables: Images) -> Images:
    """Replace every value by its entry in ``tables``."""
    n, channels = images.shape[:2]
    tables = np.broadcast_to(tables, (n, channels, LEVELS))
    return np.take(tables.reshape(-1), _offset(images)).reshape(images.shape)


def invert_tables(n: int) -> Images:
    return np.broadcast_to((LEVELS - 1 - RAMP).astype(np.uint8), (n, 1, LEVELS))


def posterize_tables(bits: Ints) -> Images:
    """Keep ``bits`` (0 to 8, [n]) of every value.

    0 bits make a black image, as in the Pillow of the paper's time; Pillow 13 raises ValueError instead.
    """
    mask = LEVELS - (1 << (8 - bits))
    return (RAMP & mask[:, None, None]).astype(np.uint8)


def solarize_tables(threshold: Ints) -> Images:
    """Invert the values from ``threshold`` (0 to 256, [n]) on."""
    return np.where(threshold[:, None, None] > RAMP, RAMP, LEVELS - 1 - RAMP).astype(np.uint8)


def solarize_add_tables(add: Ints) -> Images:
    """Add ``add`` ([n]) to the values below 128."""
    raised = np.minimum(RAMP + add[:, None, None], LEVELS - 1)
    return np.where(RAMP < LEVELS // 2, raised, RAMP).astype(np.uint8)


def autocontrast_tables(images: Images) -> Images:
    """Stretch every channel to 0..255; a channel of one value stays."""
    flat = images.reshape(*images.shape[:2], -1)
    low = flat.min(axis=2, keepdims=True).astype(np.float64)
    high = flat.max(axis=2, keepdims=True).astype(np.float64)
    scale = 255.0 / np.maximum(high - low, 1)
    # Values outside low..high do not occur, but their entries must not wrap.
    stretched = np.minimum(np.maximum(RAMP * scale + -low * scale, 0), LEVELS - 1)
    return np.where(high > low, stretched, RAMP).astype(np.uint8)


def equalize_tables(images: Images) -> Images:
    """Make the histogram of every channel flat."""
    n, channels, height, width = images.shape
    histogram = np.bincount(_offset(images).reshape(-1), minlength=n * channels * LEVELS).reshape(n, channels, LEVELS)
    total = histogram.cumsum(axis=2)
    before = total - histogram
    # What is before the brightest value: the largest count below the total.
    darker = np.where(before < height * width, before, 0).max(axis=2, keepdims=True)
    step = darker // (LEVELS - 1)
    flat = np.minimum((before + step // 2) // np.maximum(step, 1), LEVELS - 1)
    return np.where(step > 0, flat, RAMP).astype(np.uint8)


def brightness_tables(factor: Floats) -> Images:
    """Blend with black; a ``factor`` ([n]) of 1 leaves the image as it is, here and below."""
    return _blend(np.zeros(1, np.float32), FLOAT_RAMP, factor[:, None, None])


def contrast_tables(images: Images, factor: Floats) -> Images:
    """Blend with the mean grey."""
    mean = np.floor(grey(images).reshape(len(images), -1).mean(axis=1) + 0.5).astype(np.float32)
    return _blend(mean[:, None, None], FLOAT_RAMP, factor[:, None, None])


def color(images: Images, factor: Floats) -> Images:
    """Blend with the grey image."""
    return _blend(grey(images).astype(np.float32), images.astype(np.float32), factor[:, None, None, None])


def sharpness(images: Images, factor: Floats) -> Images:
    """Blend with the smoothed image."""
    wide = images.astype(np.int32)
    rows = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * wide[:, :, 1:-1, 1:-1]
    # Pillow's SMOOTH: ones, 5 in the middle, divided by 13 and rounded; the border is copied.
    smooth = images.astype(np.float32)
    smooth[:, :, 1:-1, 1:-1] = (2 * total + 13) // 26
    return _blend(smooth, images.astype(np.float32), factor[:, None, None, None])


def grey(images: Images) -> NDArray[np.int32]:
    """Luma of ITU-R 601-2 as Pillow rounds it: int32 [n, 1, H, W]."""
    wide = images.astype(np.int32)
    luma = wide[:, 0:1] * 19595 + wide[:, 1:2] * 38470 + wide[:, 2:3] * 7471 + 0x8000
    return np.asarray(luma >> 16, np.int32)


def shift_rows(images: Images, shift: Floats, fill: Sequence[int]) -> Images:
    """Sample every row of pixels ``shift`` (float64 [n, H]) further right, bicubically.

    Shears and translations along x are this; along y, the same on the transposed image.
    Points outside the image take the colour ``fill``.
    """
    return _in_blocks(_shift_rows, images, shift, fill)


def rotate(images: Images, degrees: Floats, fill: Sequence[int]) -> Images:
    """Rotate counter-clockwise about the centre by ``degrees`` (float64 [n]), bicubically."""
    return _in_blocks(_rotate, images, degrees, fill)


def _in_blocks(operation: Geometry, images: Images, by: Floats, fill: Sequence[int]) -> Images:
    """``operation`` on as many images at a time as stay in a processor's cache (docs/benchmarks.md, "Input")."""
    count = max(1, BLOCK // (images.shape[2] * images.shape[3]))
    blocks = [slice(begin, begin + count) for begin in range(0, len(images), count)]
    return np.concatenate([operation(images[block], by[block], fill) for block in blocks])


def _shift_rows(images: Images, shift: Floats, fill: Sequence[int]) -> Images:
    n, _, height, width = images.shape
    first, right = _split(shift[:, :, None] + 0.5)
    # One fraction a row, so a row's taps are one stretch of it, read at four offsets.
    stretch = np.clip(first + np.arange(-1, width + 2), 0, width - 1)
    start = (np.arange(n * height) * width).reshape(n, height, 1)
    pixels = _values(_planes(images), start + stretch)
    x = np.arange(width) + 0.5 + shift[:, :, None]
    return _finish(_cubic([pixels[..., tap : tap + width] for tap in range(4)], right), (x >= 0) & (x < width), fill)


def _rotate(images: Images, degrees: Floats, fill: Sequence[int]) -> Images:
    n, _, height, width = images.shape
    angle = -np.radians(degrees)[:, None, None]
    cos, sin = np.cos(angle), np.sin(angle)
    across = np.arange(width)[None, None, :] + 0.5 - width / 2
    down = np.arange(height)[None, :, None] + 0.5 - height / 2
    x = cos * across + sin * down + width / 2
    y = cos * down - sin * across + height / 2
    (column, right), (row, below) = _split(x), _split(y)
    start = (np.arange(n) * height)[:, None, None]
    rows, columns = (start + _neighbours(row, height)) * width, _neighbours(column, width)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    planes = _planes(images)
    lines = [_cubic([_values(planes, row + column) for column in columns], right) for row in rows]
    return _finish(_cubic(lines, below), inside, fill)


def _offset(images: Images) -> NDArray[np.intp]:
    """Values plus 256 for every channel before theirs: [n * channels, H * W]."""
    planes = images.shape[0] * images.shape[1]
    index: NDArray[np.intp] = images.reshape(planes, -1).astype(np.intp)
    index += (np.arange(planes) * LEVELS)[:, None]
    return index


def _blend(degenerate: Floats, image: Floats, factor: Floats) -> Images:
    """Image.blend: single precision, truncated, clipped where the factor extrapolates."""
    mixed = factor.astype(np.float32) * (image - degenerate)
    mixed += degenerate
    np.maximum(mixed, 0, out=mixed)
    np.minimum(mixed, LEVELS - 1, out=mixed)
    return mixed.astype(np.uint8)


def _split(position: Floats) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The pixel whose centre is at or before ``position`` (pixel i covers [i, i + 1)), and the rest."""
    position = position - 0.5
    whole = np.floor(position)
    return whole.astype(np.intp), (position - whole).astype(np.float32)


def _neighbours(pixel: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """The four pixels along one axis, kept inside the image: [4, ...]."""
    near: NDArray[np.intp] = pixel + TAPS.reshape(4, *[1] * pixel.ndim)
    np.maximum(near, 0, out=near)
    return np.minimum(near, size - 1, out=near)


def _planes(images: Images) -> NDArray[np.float32]:
    """The n images by channel, each one row: float32 [3, n * H * W]."""
    return images.swapaxes(0, 1).reshape(images.shape[1], -1).astype(np.float32)


def _values(planes: NDArray[np.float32], index: NDArray[np.intp]) -> NDArray[np.float32]:
    """Pixels at flat positions in `_planes`, none of which is outside: float32 [3, *index.shape]."""
    # "clip" spares numpy a copy of the result, which "raise" would make.
    return planes.take(index, axis=1, mode="clip")


def _cubic(taps: Sequence[NDArray[np.float32]] | NDArray[np.float32], d: NDArray[np.float32]) -> NDArray[np.float32]:
    """Geometry.c's BICUBIC (a = -1), in its order of operations: flat areas come out exactly flat."""
    v1, v2, v3, v4 = taps
    left, right = v1 - v2, v3 - v4
    value: NDArray[np.float32] = (-left - right) * d
    value += 2 * left + right
    value *= d
    value += v3 - v1
    value *= d
    value += v2
    return value


def _finish(values: NDArray[np.float32], inside: NDArray[np.bool_], fill: Sequence[int]) -> Images:
    """Clip and truncate [3, n, H, W] as Geometry.c does, and fill what is outside: uint8 [n, 3, H, W]."""
    np.maximum(values, 0, out=values)
    np.minimum(values, LEVELS - 1, out=values)
    whole = values.astype(np.uint8)
    for plane, colour in zip(whole, fill, strict=True):
        plane[~inside] = colour
    return whole.swapaxes(0, 1)
