"""Crops: RandomResizedCrop for training, resize and centre crop for evaluation, both on uint8 images.

Resizing is antialiased bicubic (or bilinear). torch does it on uint8 as Pillow does, with coarser weights:
at most two levels apart, even on white noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import interpolate

ATTEMPTS = 10
WIDTH = 2 * ATTEMPTS + 2
"""Uniform draws that one random crop takes."""

Box = tuple[int, int, int, int]
"""Top, left, height, width, in pixels."""


def random_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], draws: Sequence[float]
) -> Box:
    """The box of torchvision's RandomResizedCrop, from ``WIDTH`` uniform draws.

    The area is uniform in ``scale`` (relative to the image), the aspect ratio log-uniform in ``ratio``. After
    ten boxes that do not fit, the largest central one within ``ratio`` is taken.
    """
    area = height * width
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for attempt in range(ATTEMPTS):
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


def crop_resized(image: Tensor, box: Box, size: int) -> Tensor:
    """Cut ``box`` out of uint8 [3, H, W] and resize it to [3, size, size]: crop first, as Pillow does."""
    top, left, height, width = box
    return _resize(image[:, top : top + height, left : left + width], size, size, "bicubic")


def evaluation_view(image: Tensor, size: int, crop: float, interpolation: str) -> Tensor:
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


def _resize(image: Tensor, height: int, width: int, mode: str) -> Tensor:
    if image.shape[1:] == (height, width):
        return image
    return interpolate(image[None], (height, width), mode=mode, antialias=True)[0]
