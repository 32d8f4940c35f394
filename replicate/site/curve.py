"""The curves of a training as inline SVG: loss or validation over epochs, the learning rate faintly behind the loss.

Drawn here rather than by matplotlib: it takes the colours of the page, light or dark, and a page of text stays text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from replicate.render.format_html import environment

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 16, 40
DOTS = 60
"""Longer curves are drawn without a dot an epoch."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """``validation``: top-1 [%] on a few hundred test images; None where the training did not evaluate."""

    epoch: int
    lr: float
    loss: float
    images: int
    validation: float | None = None


def read(raw: Any) -> tuple[Epoch, ...]:
    """The epochs of a stored ``curve.json``, without those that are not whole and finite."""
    epochs = []
    for entry in raw if isinstance(raw, list) else []:
        try:
            seen = float(entry["validation"]) if "validation" in entry else None
            epoch, lr, loss = int(entry["epoch"]) + 1, float(entry["lr"]), float(entry["loss"])
            images = int(entry["images"])
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(loss) and math.isfinite(lr):
            epochs.append(Epoch(epoch, lr, loss, images, seen))
    return tuple(epochs)


def draw(curve: Sequence[Epoch], title: str) -> Markup:
    """Loss and learning rate, with a description for readers who cannot see the picture."""
    if not curve:
        return Markup("")
    losses = [epoch.loss for epoch in curve]
    fastest = max(epoch.lr for epoch in curve) or 1.0
    said = f"Loss {losses[0]:.3f} after epoch {curve[0].epoch}, {losses[-1]:.3f} after epoch {curve[-1].epoch}"
    dots = [f"epoch {epoch.epoch}: loss {epoch.loss:.4f}, learning rate {epoch.lr:.3g}" for epoch in curve]
    rates = [0.96 * epoch.lr / fastest for epoch in curve]
    return _picture("loss", curve, losses, dots, f"{title}. {said}, least {min(losses):.3f}.", rates)


def draw_validation(curve: Sequence[Epoch], title: str) -> Markup:
    """Top-1 by epoch; empty where no epoch has it."""
    seen = [(epoch, epoch.validation) for epoch in curve if epoch.validation is not None]
    if not seen:
        return Markup("")
    epochs, values = [epoch for epoch, _ in seen], [value for _, value in seen]
    said = f"Top-1 {values[0]:.1f} % after epoch {epochs[0].epoch}, {values[-1]:.1f} % after epoch {epochs[-1].epoch}."
    dots = [f"epoch {epoch.epoch}: top-1 {value:.1f} %" for epoch, value in seen]
    return _picture("validation", epochs, values, dots, f"{title}. {said}", [])


def _picture(
    kind: str, curve: Sequence[Epoch], values: Sequence[float], dots: Sequence[str], said: str, rates: Sequence[float]
) -> Markup:
    low, high = min(values), max(values)
    pad = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    low, high = low - pad, high + pad
    first, last = curve[0].epoch, curve[-1].epoch

    def across(epoch: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((epoch - first) / (last - first) if last > first else 0.5)

    def up(share: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    svg = environment(Path(__file__).parent / "templates").get_template("curve.svg")
    return Markup(
        svg.render(
            kind=kind,
            said=said,
            size=(WIDTH, HEIGHT),
            sides=(LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM),
            rows=[(text, up((value - low) / (high - low))) for value, text in labelled(ticks(low, high))],
            columns=[(epoch, across(epoch)) for epoch in _epochs(first, last)],
            rates=[(across(epoch.epoch), up(rate)) for epoch, rate in zip(curve, rates, strict=False)],
            points=[
                (across(epoch.epoch), up((value - low) / (high - low)))
                for epoch, value in zip(curve, values, strict=True)
            ],
            dots=dots if len(curve) <= DOTS else [],
        )
    )


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers from ``low`` to ``high``."""
    if high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def labelled(values: Sequence[float]) -> list[tuple[float, str]]:
    """``values`` with their texts, all with the digits that the step between them needs."""
    step = values[1] - values[0] if len(values) > 1 else 1.0
    if step >= 1e6 or step < 1e-6:
        return [(value, f"{value:.3g}") for value in values]
    decimals = next(digits for digits in range(8) if abs(round(step, digits) - step) < step * 1e-6)
    return [(value, f"{value:.{decimals}f}") for value in values]


def _epochs(first: int, last: int) -> list[int]:
    return [int(tick) for tick in ticks(first, last, 8) if tick == int(tick)] or [first]
