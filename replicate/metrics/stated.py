"""Metrics that a job states in its summary, or that stand in the specs themselves."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

from replicate.errors import StoreFault
from replicate.metrics.metric import Metric, Number, Reading, Stored, register
from replicate.text import exact

TIMES = "measure.json"
Z = 1.96
"""Half-width of a 95 % interval in standard errors, where the standard deviation is known."""
STEADY_SHARE = 0.05
"""A throughput moves beyond tolerance when it changes by more than this share of itself."""


def _throughput(reading: Reading) -> Number:
    """Images a second. Of a paired measurement the ratio to the network beside it times that network's own rate.

    The rates of two processes on a busy machine say little about each other, their ratios to a third network do.
    That network itself is the unit: 1, without an error.
    """
    own, unit = reading.result, reading.other
    ratio = own.summary["ratio"]
    if ratio is None:
        rate = float(own.summary["images_per_second"])
        share = _scatter(own)
        return Number(exact(rate), None if share is None else rate * share)
    rate, steady = float(unit.summary["images_per_second"]), bool(ratio["steady"])
    if own.key == unit.key:
        return Number(exact(rate), 0.0, steady)
    return Number(exact(float(ratio["median"])) * exact(rate), (ratio["high"] - ratio["low"]) / 2 / Z * rate, steady)


def _scatter(result: Stored) -> float | None:
    """Standard error of the mean time of a run, as a share of it; None where the times are not stored."""
    document = result.document(TIMES)
    if document is None:
        return None
    try:
        times = [float(window["wall"]) for window in document["windows"]["network"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreFault(f"{result.key}/{TIMES}: cannot be read ({error})") from error
    if len(times) < 2:
        return None
    import numpy as np  # Whoever only plans needs no arrays.

    return float(np.std(np.asarray(times), ddof=1)) / sqrt(len(times)) / (sum(times) / len(times))


def _ratio(reading: Reading) -> Number:
    ratio = reading.result.summary["ratio"]
    return Number(exact(float(ratio["median"])), (ratio["high"] - ratio["low"]) / 2 / Z, bool(ratio["steady"]))


def _fact(reading: Reading) -> Number | None:
    summary = reading.result.summary
    value = summary.get(reading.field, summary.get("architecture", {}).get(reading.field))
    return None if value is None else Number(exact(float(value)), 0.0)


def _similarity(reading: Reading) -> Number | None:
    """At the input the tokens are learned vectors, the same for every image: no error over images."""
    field, summary = reading.field, reading.result.summary
    errors = summary.get("errors", {})
    if not field.isdigit():
        return Number(exact(float(summary[field])), 0.0 if field.startswith("input") else errors.get(field))
    layer = int(field) - 1
    if layer >= len(summary["layers"]):
        return None
    return Number(exact(float(summary["layers"][layer])), errors["layers"][layer] if errors else None)


def ingredient(name: str, recipe: Mapping[str, Any]) -> str:
    """An ingredient of Table 9 as the paper would print it: ``0.0005 × batchsize/512``, ``9/0.5``, ``✗`` for none."""
    if name == "lr":
        scaled = "" if recipe["lr_batch"] == recipe["batch"] else f" × batchsize/{recipe['lr_batch']}"
        return f"{recipe['lr']:g}{scaled}"
    if name == "lr_decay":
        return "cosine"
    value = recipe[name]
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
        job="measure",
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
