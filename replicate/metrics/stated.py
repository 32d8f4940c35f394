"""Metrics that a job states in its summary, or that stand in the specs themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, TypeVar

from pydantic import TypeAdapter

from replicate.errors import StoreFault
from replicate.metrics.metric import Metric, Number, RateOfBatch, Reading, Stored, register
from replicate.text import exact

T = TypeVar("T")

TIMES = "measure.json"
Z = 1.96
"""Half-width of a 95 % interval in standard errors, where the standard deviation is known."""
STEADY_SHARE = 0.05
"""A throughput moves beyond tolerance when it changes by more than this share of itself."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A throughput relative to the reference network's: the median of all windows, and its 95 % interval.

    half_width_percent: of the interval, in per cent of the median. steady: whether that is small enough.
    """

    median: float
    low: float
    high: float
    half_width_percent: float
    steady: bool

    @property
    def error(self) -> float:
        return (self.high - self.low) / 2 / Z


@dataclass(frozen=True, slots=True)
class Throughput:
    """The summary of a measurement. ``ratio`` is None where the network was timed alone."""

    images_per_second: float
    ratio: Ratio | None
    batch: int | None = None
    parameters: int | None = None
    architecture: Mapping[str, object] = field(default_factory=dict)
    device: str = ""
    attention: str | None = None
    """``fused`` or ``explicit``; None of a network that has none, and in results that did not record it."""

    def moved(self, new: Throughput) -> tuple[bool, str]:
        """Whether ``new`` is another measurement, and how far apart the two are."""
        if self.architecture != new.architecture:
            return True, f"architecture: {self.architecture} → {new.architecture}"
        if self.parameters != new.parameters:
            return True, f"parameters: {self.parameters} → {new.parameters}"
        if self.device != new.device:
            return False, f"measured on another device, not compared: {self.device}, {new.device}"
        if self.ratio is None or new.ratio is None:
            shift = new.images_per_second / self.images_per_second - 1
            return abs(shift) > STEADY_SHARE, f"images/s {shift:+.1%} (±{STEADY_SHARE:.0%} allowed)"
        shift = new.ratio.median / self.ratio.median - 1
        if not (self.ratio.steady and new.ratio.steady):
            return False, f"unsteady, not compared ({shift:+.1%})"
        allowed = max(STEADY_SHARE, (self.ratio.half_width_percent + new.ratio.half_width_percent) / 100)
        return abs(shift) > allowed, f"{shift:+.1%} relative to the reference network (±{allowed:.1%} allowed)"


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The summary of an architecture job, which that of a measurement has in it."""

    parameters: int
    architecture: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Window:
    """A while of inference, in seconds."""

    wall: float


@dataclass(frozen=True, slots=True)
class Windows:
    network: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Times:
    """What is read of `TIMES`."""

    windows: Windows


@dataclass(frozen=True, slots=True)
class CosineErrors:
    layers: tuple[float, ...] = ()
    last: float | None = None


@dataclass(frozen=True, slots=True)
class Cosines:
    """The summary of a probe: cosines of two tokens at the input, after each layer and at the end.

    ``errors``: over images; None in results that were written before they were recorded.
    """

    input: float
    input_with_position: float
    layers: tuple[float, ...]
    last: float
    errors: CosineErrors | None = None


def stored_as(model: type[T], stored: object) -> T:
    """``stored``, which is plain JSON, as a ``model``; what it has besides is passed over. Raises ValueError."""
    if model not in _ADAPTERS:
        _ADAPTERS[model] = TypeAdapter(model)
    value: T = _ADAPTERS[model].validate_python(stored)
    return value


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}
"""Made once for each model, and only when one is read."""


def _throughput(reading: Reading) -> Number:
    """Images a second. Of a paired measurement the ratio to the network beside it times that network's own rate.

    The rates of two processes on a busy machine say little about each other, their ratios to a third network do.
    That network itself is the unit: 1, without an error.
    """
    own, unit = (stored_as(Throughput, result.summary) for result in (reading.result, reading.other))
    ratio, rate = own.ratio, unit.images_per_second
    if ratio is None:
        rate, share = own.images_per_second, _scatter(reading.result)
        return Number(exact(rate), None if share is None else rate * share, attention=own.attention)
    if reading.result.key == reading.other.key:
        return Number(exact(rate), 0.0, ratio.steady, own.attention)
    return Number(exact(ratio.median) * exact(rate), ratio.error * rate, ratio.steady, own.attention)


def _scatter(result: Stored) -> float | None:
    """Standard error of the mean time of a run, as a share of it; None where the times are not stored."""
    document = result.document(TIMES)
    if document is None:
        return None
    try:
        times = [window.wall for window in stored_as(Times, document).windows.network]
    except ValueError as error:
        raise StoreFault(f"{result.key}/{TIMES}: cannot be read ({error})") from error
    if len(times) < 2:
        return None
    import numpy as np  # Whoever only plans needs no arrays.

    return float(np.std(np.asarray(times), ddof=1)) / sqrt(len(times)) / (sum(times) / len(times))


def _ratio(reading: Reading) -> Number | None:
    own = stored_as(Throughput, reading.result.summary)
    ratio = own.ratio
    return None if ratio is None else Number(exact(ratio.median), ratio.error, ratio.steady, own.attention)


def _fact(reading: Reading) -> Number | None:
    summary = reading.result.summary
    value = summary.get(reading.field, summary.get("architecture", {}).get(reading.field))
    return None if value is None else Number(exact(float(value)), 0.0)


def _similarity(reading: Reading) -> Number | None:
    """At the input the tokens are learned vectors, the same for every image: no error over images."""
    cosines = stored_as(Cosines, reading.result.summary)
    errors = cosines.errors
    match reading.field:
        case "input":
            return Number(exact(cosines.input), 0.0)
        case "input_with_position":
            return Number(exact(cosines.input_with_position), 0.0)
        case "last":
            return Number(exact(cosines.last), errors.last if errors else None)
    layer = int(reading.field) - 1
    if layer >= len(cosines.layers):
        return None
    return Number(exact(cosines.layers[layer]), errors.layers[layer] if errors else None)


def ingredient(name: str, recipe: RateOfBatch) -> str:
    """An ingredient of Table 9 as the paper would print it: ``0.0005 × batchsize/512``, ``9/0.5``, ``✗`` for none."""
    if name == "lr":
        return f"{recipe.lr:g}" + ("" if recipe.lr_batch == recipe.batch else f" × batchsize/{recipe.lr_batch}")
    if name == "lr_decay":
        return "cosine"
    value = getattr(recipe, name)
    if name in ("repeats", "clip_norm"):
        return "✓" if value > (name == "repeats") else "✗"
    if name == "optimizer":
        return {"adamw": "AdamW", "sgd": "SGD"}[value]
    if isinstance(value, bool):
        return "✓" if value else "✗"
    if isinstance(value, tuple | list):
        return "–".join(f"{item:g}" for item in value)
    if isinstance(value, str):
        return value or "✗"
    if not value:
        return "✗"
    # A setting that can be a fraction shows it: 1.0, as the paper prints it.
    return f"{value:.1f}" if isinstance(value, float) and value == int(value) else f"{value:g}"


register(
    Metric(
        "throughput",
        "Images a second that the network answers.",
        _throughput,
        job="measure",
        second="reference",
        unit="images/s",
        digits=0,
        origin="measured here",
        plain=True,
        timed=True,
        rate=True,
        may_move=STEADY_SHARE,
    )
)
register(
    Metric(
        "ratio",
        "Throughput relative to that of the scale's reference network.",
        _ratio,
        job="measure",
        digits=2,
        origin="measured here",
        plain=True,
        timed=True,
        may_move=STEADY_SHARE,
    )
)
register(
    Metric(
        "architecture",
        "The dimension 'field' of the network as it is built.",
        _fact,
        job="architecture",
        digits=0,
        fields=("parameters", "embed_dim", "heads", "layers", "size"),
        origin="counted here",
    )
)
register(
    Metric(
        "similarity",
        "Cosine of the two tokens of a network, at its input, after a layer, or at the end.",
        _similarity,
        job="probe",
        digits=2,
        trained=True,
        two_tokens=True,
        fields=("input", "input_with_position", "last"),
        layers=True,
        may_move="tolerance",
    )
)
register(
    Metric(
        "data",
        "The size 'field' of the data set 'on'.",
        _fact,
        job="data",
        digits=0,
        fields=("train", "test", "classes"),
        on=True,
        origin="counted here",
    )
)
register(
    Metric(
        "recipe",
        "The ingredient 'field' of the recipe that is used, in words.",
        lambda reading: ingredient(reading.field, reading.recipe()),
        fields=("lr_decay",),
        origin="set in the recipe",
    )
)
