"""`replicate.engine.image_ops` on a GPU: the same operations on batches of uint8 images [n, 3, H, W] in its memory.

Every operation does the same arithmetic in the same order as its namesake there, so that the two agree to the last bit
in all but the geometric ones, and these within one level (tests/engine/test_device_ops.py). What is one number an image
(levels, factors, angles) is worked out by numpy on the processor and sent here.

*Tables* are uint8 [n, 3 or 1, 256]: the new value of every old one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from replicate.engine.image_ops import LEVELS, TAPS, Floats


def onto(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` on ``device``. Of pinned memory a GPU takes its copy while the processor goes on.

    From other memory it would wait until the GPU has done all that it was given before.
    """
    if device.type == "cuda" and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def lookup(images: Tensor, tables: Tensor) -> Tensor:
    """Replace every value by its entry in ``tables``."""
    n, channels = images.shape[:2]
    values = images.reshape(n, channels, -1).long()
    return tables.expand(n, channels, LEVELS).gather(2, values).reshape(images.shape)


def autocontrast_tables(images: Tensor) -> Tensor:
    """Stretch every channel to 0..255; a channel of one value stays."""
    flat = images.flatten(2)
    low, high = flat.amin(2, keepdim=True).double(), flat.amax(2, keepdim=True).double()
    scale, ramp = 255.0 / (high - low).clamp(min=1), _ramp(images, torch.float64)
    stretched = (ramp * scale + -low * scale).clamp(0, LEVELS - 1)
    return torch.where(high > low, stretched, ramp).to(torch.uint8)


def equalize_tables(images: Tensor) -> Tensor:
    """Make the histogram of every channel flat."""
    n, channels, height, width = images.shape
    values = images.flatten(2).long()
    # Sums of whole numbers: their order does not matter.
    histogram = torch.zeros((n, channels, LEVELS), dtype=torch.int64, device=images.device)
    histogram.scatter_add_(2, values, torch.ones_like(values))
    total = histogram.cumsum(2)
    before = total - histogram
    darker = torch.where(before < height * width, before, 0).amax(2, keepdim=True)
    step = darker // (LEVELS - 1)
    flat = ((before + step // 2) // step.clamp(min=1)).clamp(max=LEVELS - 1)
    return torch.where(step > 0, flat, _ramp(images, torch.int64)).to(torch.uint8)


def contrast_tables(images: Tensor, factor: Floats) -> Tensor:
    """Blend with the mean grey."""
    luma = grey(images).flatten(1)
    mean = (luma.sum(1, dtype=torch.int64).double() / luma.shape[1] + 0.5).floor().float()
    return _blend(mean[:, None, None], _ramp(images, torch.float32), _column(factor, images))


def color(images: Tensor, factor: Floats) -> Tensor:
    """Blend with the grey image."""
    return _blend(grey(images).float(), images.float(), _column(factor, images)[..., None])


def sharpness(images: Tensor, factor: Floats) -> Tensor:
    """Blend with the smoothed image."""
    wide = images.int()
    rows = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * wide[:, :, 1:-1, 1:-1]
    smooth = images.float()
    smooth[:, :, 1:-1, 1:-1] = ((2 * total + 13) // 26).float()
    return _blend(smooth, images.float(), _column(factor, images)[..., None])


def grey(images: Tensor) -> Tensor:
    """Luma of ITU-R 601-2 as Pillow rounds it: int32 [n, 1, H, W]."""
    wide = images.int()
    return (wide[:, 0:1] * 19595 + wide[:, 1:2] * 38470 + wide[:, 2:3] * 7471 + 0x8000) >> 16


def shift_rows(images: Tensor, shift: Floats, fill: Sequence[int]) -> Tensor:
    """Sample every row of pixels ``shift`` (float64 [n, H]) further right, bicubically.

    Points outside the image take the colour ``fill``.
    """
    width = images.shape[3]
    across = onto(torch.from_numpy(np.ascontiguousarray(shift)), images.device)[:, :, None]
    first, right = _split(across + 0.5)
    columns = torch.arange(width, device=images.device)
    x = columns + 0.5 + across
    taps = [_values(images, (first + columns + tap).clamp(0, width - 1)) for tap in TAPS.tolist()]
    return _finish(_cubic(taps, right[:, None]), (x >= 0) & (x < width), fill)


def rotate(images: Tensor, degrees: Floats, fill: Sequence[int]) -> Tensor:
    """Rotate counter-clockwise about the centre by ``degrees`` (float64 [n]), bicubically."""
    height, width = images.shape[2:]
    angle = -np.radians(degrees)[:, None, None]
    cos, sin = (onto(torch.from_numpy(part), images.device) for part in (np.cos(angle), np.sin(angle)))
    across = torch.arange(width, device=images.device)[None, None, :] + 0.5 - width / 2
    down = torch.arange(height, device=images.device)[None, :, None] + 0.5 - height / 2
    x = cos * across + sin * down + width / 2
    y = cos * down - sin * across + height / 2
    (column, right), (row, below) = _split(x), _split(y)
    columns = [(column + tap).clamp(0, width - 1) for tap in TAPS.tolist()]
    flat, lines = images.flatten(2), []
    for tap in TAPS.tolist():
        start = (row + tap).clamp(0, height - 1) * width
        lines.append(_cubic([_taken(flat, start + column) for column in columns], right[:, None]))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return _finish(_cubic(lines, below[:, None]), inside, fill)


def _values(images: Tensor, columns: Tensor) -> Tensor:
    """Pixels of each row at ``columns`` [n, H, W] of it: float32 [n, 3, H, W]."""
    return images.gather(3, columns[:, None].expand(-1, images.shape[1], -1, -1)).float()


def _taken(flat: Tensor, index: Tensor) -> Tensor:
    """Pixels of uint8 [n, 3, H * W] at ``index`` [n, H, W]: float32 [n, 3, H, W]."""
    n, channels = flat.shape[:2]
    found = flat.gather(2, index.reshape(n, 1, -1).expand(n, channels, -1))
    return found.float().reshape(n, channels, *index.shape[1:])


def _ramp(images: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.arange(LEVELS, dtype=dtype, device=images.device)


def _column(factor: Floats, images: Tensor) -> Tensor:
    return onto(torch.from_numpy(factor.astype(np.float32)), images.device)[:, None, None]


def _blend(degenerate: Tensor, image: Tensor, factor: Tensor) -> Tensor:
    return (factor * (image - degenerate)).add_(degenerate).clamp_(0, LEVELS - 1).to(torch.uint8)


def _split(position: Tensor) -> tuple[Tensor, Tensor]:
    """The pixel whose centre is at or before ``position`` (pixel i covers [i, i + 1)), and the rest."""
    position = position - 0.5
    whole = position.floor()
    return whole.long(), (position - whole).float()


def _cubic(taps: Sequence[Tensor], d: Tensor) -> Tensor:
    v1, v2, v3, v4 = taps
    left, right = v1 - v2, v3 - v4
    return ((-left - right).mul_(d) + (2 * left + right)).mul_(d).add_(v3 - v1).mul_(d).add_(v2)


def _finish(values: Tensor, inside: Tensor, fill: Sequence[int]) -> Tensor:
    """Clip and truncate float32 [n, 3, H, W], and fill what is outside: uint8."""
    whole = values.clamp_(0, LEVELS - 1).to(torch.uint8)
    colour = onto(torch.tensor(fill, dtype=torch.uint8), values.device)[:, None, None]
    return torch.where(inside[:, None], whole, colour)
