"""The curves of a training as inline SVG: loss or validation over epochs, the learning rate faintly behind the loss.

Drawn here rather than by matplotlib: it takes the colours of the page, light or dark, and a page of text stays text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 16, 40
DOTS = 60
"""Longer curves are drawn without a dot an epoch."""


@dataclass(frozen=True, slots=True)
class Line:
    """One epoch."""

    epoch: int
    lr: float
    loss: float
    images: int
    validation: float | None = None
    """Top-1 [%] on a few hundred test images; None where the training did not look."""


def lines(raw: Any) -> tuple[Line, ...]:
    """The epochs of a stored ``curve.json``; what is not finite or not there is left out."""
    found = []
    for entry in raw if isinstance(raw, list) else []:
        try:
            line = Line(
                int(entry["epoch"]) + 1,
                float(entry["lr"]),
                float(entry["loss"]),
                int(entry["images"]),
                float(entry["validation"]) if "validation" in entry else None,
            )
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(line.loss) and math.isfinite(line.lr):
            found.append(line)
    return tuple(found)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers from ``low`` to ``high``."""
    if high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def draw(curve: Sequence[Line], title: str) -> Markup:
    """Loss and learning rate, with a description for who cannot see the picture."""
    if not curve:
        return Markup("")
    losses = [line.loss for line in curve]
    fastest = max(line.lr for line in curve) or 1.0
    said = f"Loss {losses[0]:.3f} after epoch {curve[0].epoch}, {losses[-1]:.3f} after epoch {curve[-1].epoch}"
    dots = [f"epoch {line.epoch}: loss {line.loss:.4f}, learning rate {line.lr:.3g}" for line in curve]
    rates = [0.96 * line.lr / fastest for line in curve]
    return _picture("loss", curve, losses, dots, f"{title}. {said}, least {min(losses):.3f}.", rates)


def draw_validation(curve: Sequence[Line], title: str) -> Markup:
    """Top-1 by epoch; empty where no epoch has it."""
    seen = [line for line in curve if line.validation is not None]
    if not seen:
        return Markup("")
    values = [line.validation or 0.0 for line in seen]
    said = f"Top-1 {values[0]:.1f} % after epoch {seen[0].epoch}, {values[-1]:.1f} % after epoch {seen[-1].epoch}."
    dots = [f"epoch {line.epoch}: top-1 {value:.1f} %" for line, value in zip(seen, values, strict=True)]
    return _picture("validation", seen, values, dots, f"{title}. {said}", [])


def _picture(
    kind: str,
    curve: Sequence[Line],
    values: Sequence[float],
    dots: Sequence[str],
    said: str,
    rates: Sequence[float],
) -> Markup:
    low, high = min(values), max(values)
    pad = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    low, high = low - pad, high + pad
    first, last = curve[0].epoch, curve[-1].epoch

    def across(epoch: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((epoch - first) / (last - first) if last > first else 0.5)

    def up(share: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    points = [(across(line.epoch), up((value - low) / (high - low))) for line, value in zip(curve, values, strict=True)]
    parts = [
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">',
        *(_row(text, up((value - low) / (high - low))) for value, text in labelled(ticks(low, high))),
        *(_column(epoch, across(epoch)) for epoch in _epochs(first, last)),
        *(
            [_path("rate", [(across(line.epoch), up(rate)) for line, rate in zip(curve, rates, strict=True)])]
            if rates
            else []
        ),
        _path(kind, points),
        *(
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escape(dot)}</title></circle>'
            for (x, y), dot in (zip(points, dots, strict=True) if len(curve) <= DOTS else ())
        ),
        f'<text class="name" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">epoch</text>',
        "</svg>",
    ]
    return Markup("".join(parts))


def _epochs(first: int, last: int) -> list[int]:
    return [int(tick) for tick in ticks(first, last, 8) if tick == int(tick)] or [first]


def labelled(values: Sequence[float]) -> list[tuple[float, str]]:
    """``values`` with their texts, all with the digits that the step between them needs."""
    step = values[1] - values[0] if len(values) > 1 else 1.0
    if step >= 1e6 or step < 1e-6:
        return [(value, f"{value:.3g}") for value in values]
    decimals = next(digits for digits in range(8) if abs(round(step, digits) - step) < step * 1e-6)
    return [(value, f"{value:.{decimals}f}") for value in values]


def _row(text: str, y: float) -> str:
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    )


def _column(epoch: int, x: float) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{epoch}</text>'


def _path(kind: str, points: Sequence[tuple[float, float]]) -> str:
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'
