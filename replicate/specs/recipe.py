"""How a network is trained and evaluated: every ingredient of the paper's Table 9, as data."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from replicate.errors import UserError
from replicate.specs.augment import policy_of

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]

# Closed sets: every use is a match that ends in assert_never, so the type checker names where a new member is missing.
OptimizerName = Literal["adamw", "sgd"]
Precision = Literal["fp32", "fp16", "bf16"]
Method = Literal["soft", "hard", "label"]
Reduction = Literal["mean", "batchmean"]
Interpolation = Literal["bicubic", "bilinear"]
Attention = Literal["fused", "explicit"]
"""timm's one kernel for all of an attention, or the products and the softmax one by one, as the paper's code has it.
The same numbers but for rounding, at another speed."""


class Strict(BaseModel):
    """Frozen, no unknown keys, no silent conversion (an int may stand for a float, nothing else)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"should be the smaller number first, got {list(bounds)}")
    return bounds


def _within_image(bounds: tuple[float, float]) -> tuple[float, float]:
    if max(bounds) > 1:
        raise ValueError(f"should be shares of the image, at most 1, got {list(bounds)}")
    return _ordered(bounds)


def _policy(text: str) -> str:
    if text:
        policy_of(text)
    return text


class Recipe(Strict):
    """One training. Sources of the values stand beside them in tables/runs.toml.

    Every field enters the key of the job, so a change of any of them is another result.
    """

    optimizer: OptimizerName
    lr: Positive
    """Learning rate at a global batch of ``lr_batch``; the rate used is ``lr * batch / lr_batch``."""
    lr_batch: Count
    weight_decay: NonNegative
    momentum: Probability
    """SGD only (Nesterov)."""
    batch: Count
    """Images per optimiser step, over all processes."""
    mix_batch: Count
    """Images that share one mixup/cutmix draw: the batch of one GPU in the official code."""
    epochs: Count
    warmup_epochs: Annotated[int | float, Field(ge=0)]
    warmup_lr: NonNegative
    min_lr: NonNegative
    """``warmup_lr`` and ``min_lr`` are absolute: they are not scaled with the batch."""

    repeats: Count
    """Repeated augmentation: each image this many times in a row, the epoch as long as without."""
    crop_scale: Annotated[tuple[Positive, Positive], AfterValidator(_within_image)]
    """Smallest and largest share of the image that a crop covers."""
    crop_ratio: Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
    flip: Probability
    auto_augment: Annotated[str, AfterValidator(_policy)]
    """timm's notation: ``rand-m9-mstd0.5-inc1``, or AutoAugment's ``original`` or ``v0``, with ``-mstd0.5`` if
    wanted; empty switches it off."""
    color_jitter: NonNegative
    """Brightness, contrast and saturation; active only while ``auto_augment`` is empty, as in timm."""
    erase: Probability
    mixup: NonNegative
    cutmix: NonNegative
    """``mixup`` and ``cutmix`` are the alphas of the Beta draws (the paper's Table 9 says 'prob.')."""
    mix_prob: Probability
    mix_switch: Probability
    """Probability of CutMix where both are on."""
    label_smoothing: Probability

    drop_path: Probability
    dropout: Probability
    train_mode: bool
    """False trains in eval mode (no drop path), as the paper-time fine-tuning did."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)]
    """Decay of the averaged weights, which are stored and evaluated only where asked; 0 is none."""
    precision: Precision
    clip_norm: NonNegative = 0.0
    """Gradients are scaled down to this norm over all parameters; 0 leaves them alone (DeiT; Table 9)."""
    attention: Attention = "fused"
    """Of the network and of its teacher."""


class Distillation(Strict):
    """What the student learns from the teacher (paper Section 4, Equations 2 and 3)."""

    method: Method
    """``label``: no teacher; both tokens are taught by the label, the control of Section 4."""
    token: bool
    """True adds the distillation token, whose head learns from the teacher; the class head from the label."""
    weight: Probability
    """Share of the teacher's term: lambda of Equation 2, 1/2 in Equation 3."""
    tau: Positive
    reduction: Reduction
    """``batchmean`` is the printed per-sample KL; ``mean`` divides by the classes too (deit#61)."""

    @model_validator(mode="after")
    def _label_has_two_heads(self) -> Self:
        if self.method == "label" and not self.token:
            raise ValueError("the method 'label' teaches two tokens: should have token = true")
        return self


class Evaluation(Strict):
    """Single-crop evaluation: resize to ``size / crop`` (rounded down), centre crop of ``size``."""

    crop: Annotated[float, Field(gt=0.0, le=1.0)]
    interpolation: Interpolation
    weights: Literal["last", "ema"]
    attention: Attention = "fused"


EPOCH_ROUNDING = 256


def epoch_length(images: int) -> int:
    """Samples in one epoch: ``images`` rounded down to a multiple of 256, or all where there are fewer (RASampler).

    The same for every number of repeats, so that Table 8's "no repeated augmentation" has equally many steps.
    """
    return images // EPOCH_ROUNDING * EPOCH_ROUNDING if images >= EPOCH_ROUNDING else images


def check_shares(recipe: Recipe, processes: int) -> None:
    """Raises UserError unless a batch is whole groups of those that are mixed together, and every process gets as many
    images."""
    if recipe.batch % recipe.mix_batch:
        raise UserError(
            f"recipe.mix_batch does not divide recipe.batch: {recipe.mix_batch} in {recipe.batch}\n"
            "  mix_batch is the batch of one GPU in the official code; give one that divides the batch"
        )
    if recipe.batch % processes:
        raise UserError(
            f"recipe.batch does not split over {processes} processes: got {recipe.batch} images\n"
            "  use another number of processes"
        )


def check_whole(recipe: Recipe, world_size: int) -> None:
    """Raise UserError where ``world_size`` processes would tear a group, and with it the statistics."""
    share, most = recipe.batch // world_size, recipe.batch // recipe.mix_batch
    if share % recipe.mix_batch:
        advice = "use one process" if most == 1 else f"use at most {most} processes, and a divisor of that number"
        raise UserError(
            f"recipe.mix_batch does not divide {share}, the images of one process: got {recipe.mix_batch}\n"
            f"  BatchNorm takes its statistics from so many images, on one process: {advice}"
        )
