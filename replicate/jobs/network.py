"""What jobs know of a network: how timm builds it, its expected size, what an image of it costs, its files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ConfigDict

from replicate.specs.load import Specs
from replicate.specs.recipe import Distillation
from replicate.specs.run import RunSpec
from replicate.text import said

WEIGHTS = {"last": "model.safetensors", "ema": "ema.safetensors"}
"""File of a trained or published network for each kind of weights."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network as timm builds it."""

    name: str
    """Of the scale's ``[models]``."""
    timm: str
    args: Mapping[str, Any]
    resizable: bool
    """Whether the resolution is an argument of it (``img_size``), as for a ViT."""
    pos_embed_std: float | None
    channels_last: bool

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class Untrained:
    """A network that is measured only, for images of ``size`` x ``size``."""

    model: Network
    size: int
    classes: int

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)


VITS = {"tiny": (192, 12), "small": (384, 12), "base": (768, 12), "large": (1024, 24)}
"""Width and depth of timm's ViTs (of the paper's, its Table 1), where `args` do not change them."""

CONVNETS = {"regnety_040": 20.6e6, "regnety_080": 39.2e6, "regnety_120": 51.8e6, "regnety_160": 83.6e6}
"""Parameters of timm's RegNetY-4, 8, 12 and 16GF (the paper's Table 5 prints 21, 39, 52 and 84 million)."""

RESHAPED = 37e3
"""Parameters of a convnet that `args` make another: those of the largest teacher in tables/scales/mini.toml."""

UNKNOWN = 86e6
"""Parameters of any other network: DeiT-B's, the largest student of the paper."""


def tokens(distillation: Distillation | None) -> int:
    """Tokens of a ViT that are not image patches: the class token, and the distillation token."""
    return 2 if distillation is not None and distillation.token else 1


def parameters(model: Network, size: int, classes: int, distillation: Distillation | None) -> float:
    """Expected parameters of a network. Exact for ViTs."""
    vit = re.fullmatch(r"(?:deit|vit)_(tiny|small|base|large)_(?:distilled_)?patch(\d+)_\d+", model.timm)
    if vit is None:
        return RESHAPED if model.args else CONVNETS.get(model.timm, UNKNOWN)
    width, depth = VITS[vit[1]]
    width, depth = model.args.get("embed_dim", width), model.args.get("depth", depth)
    patch, besides = model.args.get("patch_size", int(vit[2])), tokens(distillation)
    blocks = depth * (12 * width + 13) * width
    embedding = (3 * patch**2 + 1) * width + ((size // patch) ** 2 + 2 * besides) * width
    return float(blocks + embedding + 2 * width + besides * (width + 1) * classes)


def image_seconds(specs: Specs, run: RunSpec) -> float:
    """Seconds to train on one image; at a resolution without a stated cost, the largest stated one by pixels."""
    stated, resolution = specs.scale.models[run.model].seconds, str(run.resolution)
    own = stated.get(resolution)
    if own is not None or not stated:
        return own or 0.0
    nearest, seconds = max(stated.items(), key=lambda entry: int(entry[0]))
    sizes = specs.scale.resolutions
    return seconds * (sizes[resolution] / sizes.get(nearest, int(nearest))) ** 2


def has_seconds(specs: Specs, run: RunSpec) -> bool:
    """Whether the scale states what an image costs the network of ``run``."""
    return bool(specs.scale.models[run.model].seconds)


def evaluation_seconds(specs: Specs, run: RunSpec, data: str) -> float:
    """Seconds of a job that shows the network of ``run`` the test images of ``data`` once."""
    each = image_seconds(specs, run) * specs.scale.predict_share
    return specs.scale.job_seconds + images(specs, data, "test") * each


def images(specs: Specs, data: str, split: str) -> int:
    """Images in the ``split`` of ``data``; 0 of corrected labels, which have none."""
    return int(getattr(specs.scale.data[data], split, 0))


def label(run: RunSpec) -> str:
    """``deit-b-384-token``, and the data where they are not ImageNet; the change of an ablation is in the digits."""
    data = "" if run.data == "imagenet" else f"-{run.data}"
    return f"{run.model}-{run.resolution}-{run.method}{data}"


def described(model: Network) -> str:
    """``vit_tiny_patch16_224 (depth 4)``: how people are told of it."""
    return f"{model.timm} {said(model.args)}" if model.args else model.timm
