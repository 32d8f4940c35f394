"""Figures read from jobs themselves: the layers of a probe, the curve of a training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from replicate.errors import StoreFault
from replicate.figures.model import Axis, Panel, Point, Series, XYPanel
from replicate.figures.plan import FigurePlan
from replicate.figures.source import Source
from replicate.figures.spec import Curves, Profile, ProfileSeries
from replicate.jobs.train import CURVE
from replicate.judge.cell import network_origin
from replicate.judge.statistics import student
from replicate.judge.table import Origin
from replicate.store.result import Result
from replicate.text import half_up


def profile(source: Source, spec: Profile) -> tuple[Panel, ...]:
    """Input, each block, output. The paper prints the two ends only, of networks with 12 blocks."""
    scale = source.plan.tables.specs.scale
    found: list[Series] = []
    depth = 0
    summaries = [_probes(source, one.run) for one in spec.series]
    for each in summaries:
        depth = max([depth, *(len(summary["layers"]) for summary in each)])
    end = float(depth + 1)
    for family, (one, each) in enumerate(zip(spec.series, summaries, strict=True)):
        found.append(Series(one.label, "here", family, _layers(each, network_origin({one.run}, scale)), True))
        found.append(Series(one.label, "paper", family, _ends(source, one, end), False))
    found.sort(key=lambda series: series.side)
    ticks = [(0.0, "input"), *((float(layer), str(layer)) for layer in range(1, depth + 1)), (end, "output")]
    return (XYPanel("", Axis("after block", ticks=tuple(ticks)), Axis(spec.label), tuple(found), dodged=True),)


def _probes(source: Source, run: str) -> list[Mapping[str, Any]]:
    plan = source.plan.tables
    keys = [plan.expander.job("probe", run, seed).key for seed in plan.seeds]
    summaries = [source.summary(key) for key in keys]
    return summaries if all(summaries) else []


def _layers(summaries: Sequence[Mapping[str, Any]], origin: Origin) -> tuple[Point, ...]:
    """Means over seeds, with their interval over seeds where there are several; over images it is invisible."""
    if not summaries:
        return ()
    values = np.asarray([[one["input"], *one["layers"], one["last"]] for one in summaries], np.float64)
    half = np.zeros(values.shape[1])
    if len(values) > 1:
        half = student(len(values) - 1) * values.std(axis=0, ddof=1) / len(values) ** 0.5
    return tuple(
        Point(float(at), float(mean), low=float(mean - wide), high=float(mean + wide), origin=origin)
        for at, (mean, wide) in enumerate(zip(values.mean(axis=0), half, strict=True))
    )


def _ends(source: Source, spec: ProfileSeries, end: float) -> tuple[Point, ...]:
    both = ((0.0, spec.paper_input), (end, spec.paper_last))
    points = [source.point("paper", x, place) for x, place in both if place]
    return tuple(point for point in points if point is not None)


def curves(source: Source, spec: Curves) -> tuple[Panel, ...]:
    """Training loss, validation accuracy and learning rate by epoch; names say the accuracy at the end.

    Runs whose published weights are read are left out: `unseen` says so.
    """
    left_out = unseen(source.plan)
    losses: list[Series] = []
    validation: list[Series] = []
    rates: list[Series] = []
    for family, name in enumerate(spec.names):
        if name in left_out:
            continue
        reference = name == spec.reference and name not in spec.runs
        found = _curves(source, name)
        label = ", ".join([name, *(["reference"] if reference else []), *_end(source, name)])
        for drawn, field in ((losses, "loss"), (validation, "validation"), (rates, "lr")):
            drawn.append(Series(label, "here", family, _means(found, field), marked=False, faint=reference))
    epochs = Axis("epoch")
    return (
        XYPanel("training loss, on augmented images", epochs, Axis("loss"), tuple(losses)),
        XYPanel("validation, on at most 256 test images", epochs, Axis("top-1 (%)"), tuple(validation)),
        XYPanel("learning rate", epochs, Axis("rate at the batch used"), tuple(rates)),
    )


def unseen(plan: FigurePlan) -> tuple[str, ...]:
    """Runs that a figure of curves names, and whose training nobody here saw: their weights were published."""
    names = plan.spec.curves.names if plan.spec.curves else ()
    return tuple(name for name in names if name in plan.tables.specs.scale.released)


def _curves(source: Source, run: str) -> list[list[dict[str, float]]]:
    """The epochs of the training of each seed; empty unless all are there."""
    plan = source.plan.tables
    results = [source.store.result(plan.expander.network(run, seed).key) for seed in plan.seeds]
    found = [curve for result in results if result is not None and (curve := _curve(source, result)) is not None]
    return found if len(found) == len(plan.seeds) else []


def _means(curves: Sequence[Sequence[Mapping[str, float]]], field: str) -> tuple[Point, ...]:
    """Means over seeds, and from the lowest to the highest of them."""
    if not curves or any(field not in epoch for curve in curves for epoch in curve):
        return ()
    values = np.asarray([[epoch[field] for epoch in curve] for curve in curves], np.float64)
    each = zip(values.mean(axis=0), values.min(axis=0), values.max(axis=0), strict=True)
    return tuple(
        Point(float(at + 1), float(mean), low=float(low), high=float(high), origin="trained here")
        for at, (mean, low, high) in enumerate(each)
    )


def _curve(source: Source, result: Result) -> list[dict[str, float]] | None:
    """The epochs of a training; a curve that cannot be read is noted as damage."""
    try:
        found = json.loads(result.path(CURVE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        source.store.forget(result.key)
        source.store.damage[result.key] = f"{result.key}/{CURVE}: cannot be read ({error})"
        return None
    return list(found)


def _end(source: Source, run: str) -> list[str]:
    """Top-1 of the run's class head on the test images, in words; nothing without decisions."""
    plan = source.plan.tables
    hits = []
    for seed in plan.seeds:
        result = source.store.result(plan.expander.job("predict", run, seed).key)
        if result is None:
            return []
        try:
            hits.append(source.decisions.read(result).among("class", 1))
        except StoreFault as fault:
            source.store.forget(result.key)
            source.store.damage[result.key] = str(fault)
            return []
    share = sum((Fraction(int(hit.sum()), len(hit)) for hit in hits), Fraction()) / len(hits)
    return [f"test top-1 {half_up(100 * share, 1)} %"]
