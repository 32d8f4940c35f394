"""Early warning: whether the epochs of a training so far say that it is doomed.

A loss or weights that are not finite end a training by themselves (`replicate.errors.Diverged`). A training that is
only suspicious goes on unless ``--stop-suspicious`` was given; `status`, a night's summary and the site name it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from replicate.errors import ReplicateError
from replicate.jobs.job import Job, from_json
from replicate.jobs.train import CURVE, VALIDATION_IMAGES, Train
from replicate.specs.watch import Watch
from replicate.store.epochs import EpochLine
from replicate.store.files import parsed, read_json
from replicate.store.result import JOB
from replicate.store.store import Store

LATEST = 3
"""Epochs of which the best counts against chance: a single one may be a poor one."""

Band = Sequence[float | None]
"""Top-1 [%] of a finished training, epoch by epoch."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a training before it begins.

    warmup: epochs. classes: of its data, 0 if unknown. images: that its validation has. bands: of the finished
    trainings of the same recipe with other seeds.
    """

    warmup: float = 0
    classes: int = 0
    images: int = VALIDATION_IMAGES
    bands: Sequence[Band] = ()


def suspicion(lines: Sequence[EpochLine], rules: Watch, expected: Expected) -> str:
    """Return why the training that wrote ``lines`` is suspicious, in words; empty if it is not."""
    by_epoch = {line.epoch: line for line in lines}
    ordered = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    if not ordered:
        return ""
    return (
        _not_finite(ordered)
        or _at_chance(ordered, rules, expected)
        or _below_band(ordered, rules, expected)
        or _spike(ordered, rules)
    )


def _not_finite(lines: Sequence[EpochLine]) -> str:
    last = lines[-1]
    return "" if math.isfinite(last.loss) else f"the loss of epoch {last.epoch} is {last.loss}"


def _at_chance(lines: Sequence[EpochLine], rules: Watch, expected: Expected) -> str:
    last = lines[-1]
    if expected.classes < 2 or expected.images < 1 or last.epoch < expected.warmup + rules.chance_epochs:
        return ""
    best = max((line.top1 for line in lines[-LATEST:] if line.top1 is not None), default=None)
    chance = 1 / expected.classes
    error = sqrt(chance * (1 - chance) / expected.images)
    if best is None or best > 100 * (chance + rules.chance_errors * error):
        return ""
    return f"top-1 is {best:.1f} % at best in the epochs up to {last.epoch}, as by chance ({100 * chance:.1f} %)"


def _below_band(lines: Sequence[EpochLine], rules: Watch, expected: Expected) -> str:
    recent = lines[-rules.band_epochs :]
    if len(recent) < rules.band_epochs or recent[0].epoch <= expected.warmup:
        return ""
    lowest = 0.0
    for line in recent:
        # Its neighbours too: a finished training may have had a poor epoch earlier or later.
        near = [top1 for band in expected.bands for top1 in band[max(0, line.epoch - 2) : line.epoch + 1]]
        known = [top1 for top1 in near if top1 is not None]
        if line.top1 is None or not known or not line.top1 < min(known) - rules.band_points:
            return ""
        lowest = min(known)
    return (
        f"top-1 is {recent[-1].top1:.1f} % after epoch {recent[-1].epoch}, for {rules.band_epochs} epochs more than "
        f"{rules.band_points:g} points below the {lowest:.1f} % of finished trainings of the same recipe"
    )


def _spike(lines: Sequence[EpochLine], rules: Watch) -> str:
    before, recent = lines[: -rules.spike_epochs], lines[-rules.spike_epochs :]
    if not before:
        return ""
    lowest = min(before, key=lambda line: line.loss)
    limit = max(lowest.loss * rules.spike_ratio, lowest.loss + rules.spike_share * (before[0].loss - lowest.loss))
    if not all(line.loss > limit for line in recent):
        return ""
    return (
        f"the loss is {recent[-1].loss:.3f} after epoch {recent[-1].epoch}, for {rules.spike_epochs} epochs far above "
        f"the {lowest.loss:.3f} of epoch {lowest.epoch}"
    )


def expected_of(store: Store, job: Train) -> Expected:
    """Gather what the results in ``store`` say of the training ``job``. What is damaged or odd is passed over."""
    data = _summary(store, job.inputs.get("data", ""))
    classes, images = data.get("classes"), data.get("test")
    return Expected(
        warmup=job.recipe.warmup_epochs,
        classes=classes if isinstance(classes, int) else 0,
        images=min(images, VALIDATION_IMAGES) if isinstance(images, int) else VALIDATION_IMAGES,
        bands=[band for key in _others(store, job) if (band := _band(store, key))],
    )


def _summary(store: Store, key: str) -> dict[str, object]:
    try:
        result = store.result(key) if key else None
    except ReplicateError:
        return {}
    return dict(result.summary) if result else {}


def _others(store: Store, job: Train) -> list[str]:
    """Keys of trainings of the same network, recipe and data with other seeds, finished or not."""
    label = re.fullmatch(r"(.+)-s\d+-[0-9a-f]{12}", job.key)
    if label is None:
        return []
    alike = re.compile(rf"{re.escape(label[1])}-s\d+-[0-9a-f]{{12}}")
    try:
        names = sorted(path.name for path in store.root.iterdir() if alike.fullmatch(path.name))
    except OSError:
        return []
    return [name for name in names if name != job.key and _alike(job, store, name)]


def _alike(job: Train, store: Store, key: str) -> bool:
    """Whether the job ``key`` differs from ``job`` in its seed, and what it starts from or learns from, at most."""
    try:
        other: Job = from_json(read_json(store.folder(key) / JOB))
    except ReplicateError:
        return False
    same_data = other.inputs.get("data") == job.inputs.get("data")
    return isinstance(other, Train) and same_data and other.seed != job.seed and other.own() == job.own()


def _band(store: Store, key: str) -> Band:
    """Top-1 by epoch of the finished training ``key``; empty where it is not finished, or its curve cannot be read."""
    try:
        result = store.result(key)
        curve = parsed(result.path(CURVE).read_bytes()) if result and CURVE in result.files else []
    except (ReplicateError, OSError, ValueError):
        return []
    listed = curve if isinstance(curve, list) else []
    points = [point.get("validation") if isinstance(point, dict) else None for point in listed]
    return [float(top1) if isinstance(top1, int | float) and math.isfinite(top1) else None for top1 in points]
