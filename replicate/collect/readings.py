"""A planned cell to the value it reads: from decisions, measurements, probes, data sets or recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replicate.collect.decisions import DecisionReader
from replicate.collect.rounding import exact
from replicate.errors import StoreFault
from replicate.plan.cells import CellPlan, Plan
from replicate.plan.job import Job
from replicate.store.result import Result
from replicate.store.store import Store

CORRECTED = "real_labels.npy"


@dataclass(frozen=True, slots=True)
class Measured:
    """The value of a cell by seed, in the unit of its table, and what its uncertainty can be worked out from.

    hits: by seed, [N] whether the counted thing holds for each image; None for what is no count over images.
    scale: value = scale x mean of the hits (100 for percentages). networks: by seed, the trainings behind it.
    error: standard error of a value that is no count over images; None if it has none (exact facts).
    """

    values: Mapping[int, Fraction]
    hits: Mapping[int, NDArray[np.bool_]] | None
    scale: int
    networks: Mapping[int, tuple[str, ...]]
    error: float | None = None
    text: str | None = None
    """A value in words, such as an ingredient of a recipe; ``values`` is then empty."""
    images: str = ""
    """Which images the hits are over: only counts over the same ones are paired."""
    steady: bool = True
    relative: float | None = None
    """Of a throughput: as a multiple of the scale's reference network, which was measured beside it."""


@dataclass(slots=True)
class Readings:
    """Reads cells of one plan from one store; every file is read once."""

    plan: Plan
    store: Store
    _decisions: DecisionReader = field(default_factory=DecisionReader)
    _corrected: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def read(self, cell: CellPlan) -> Measured | None:
        """None unless every job the cell reads has its result. A damaged one is noted in the store."""
        if cell.read is None:
            return None
        if cell.read.metric == "recipe":
            return self._ingredient(cell)
        results = {key: self.store.result(key) for key in cell.keys}
        if any(result is None for result in results.values()):
            return None
        found = {key: result for key, result in results.items() if result is not None}
        try:
            if cell.read.metric in ("top1", "top5", "real", "disagreement"):
                return self._counted(cell, found)
            return self._stated(cell, found)
        except StoreFault as fault:
            key = str(fault).partition("/")[0]
            self.store.forget(key)
            self.store.damage[key] = str(fault)
            return None

    def _counted(self, cell: CellPlan, results: Mapping[str, Result]) -> Measured:
        hits = {}
        networks = {}
        others = cell.others or cell.jobs
        for index, job in enumerate(cell.jobs):
            other = others[min(index, len(others) - 1)]
            seed = job.seed or 0
            hits[seed] = self._hits(cell, results[job.key], results[other.key])
            networks[seed] = _networks(job, other)
        scale = 1 if cell.read and cell.read.metric == "disagreement" else 100
        values = {seed: Fraction(scale * int(hit.sum()), len(hit)) for seed, hit in hits.items()}
        labels = [job.key for job in cell.others] if cell.read and cell.read.metric == "real" else []
        images = "+".join([cell.jobs[0].inputs["data"], *labels])
        return Measured(values, hits, scale, networks, images=images)

    def _hits(self, cell: CellPlan, result: Result, other: Result) -> NDArray[np.bool_]:
        assert cell.read is not None
        decisions = self._decisions.read(result)
        if cell.read.metric == "real":
            labels = self._real(other)
            answered = labels.any(axis=1)
            return np.asarray(labels[answered, decisions.choice(cell.read.head)[answered]])
        if cell.read.metric == "disagreement":
            assert cell.read.against is not None
            against = self._decisions.read(other)
            return np.asarray(decisions.choice(cell.read.head) != against.choice(cell.read.against[1]))
        return decisions.correct(cell.read.head, cell.read.metric)

    def _real(self, result: Result) -> NDArray[np.bool_]:
        if result.key not in self._corrected:
            try:
                self._corrected[result.key] = np.load(result.path(CORRECTED), allow_pickle=False)
            except (OSError, ValueError) as error:
                raise StoreFault(f"{result.key}/{CORRECTED}: cannot be read ({error})") from error
        return self._corrected[result.key]

    def _stated(self, cell: CellPlan, results: Mapping[str, Result]) -> Measured | None:
        """A number that the job itself states in its summary."""
        assert cell.read is not None
        values = {}
        networks = {}
        error: float | None = None
        steady = True
        relative = None
        for job in cell.jobs:
            summary = results[job.key].summary
            if cell.read.metric == "throughput" and summary.get("ratio"):
                relative = float(summary["ratio"]["median"])
            stated, error, steady = _statement(cell.read.metric, cell.read.field, summary)
            if stated is None:
                return Measured({}, None, 1, {}, text="–")
            values[job.seed or 0] = exact(stated)
            networks[job.seed or 0] = _networks(job, job)
        return Measured(values, None, 1, networks, error=error, steady=steady, relative=relative)

    def _ingredient(self, cell: CellPlan) -> Measured:
        assert cell.read is not None
        assert cell.read.run is not None
        recipe = self.plan.expander.recipe(cell.read.run).model_dump()
        return Measured({}, None, 1, {}, text=ingredient(str(cell.read.field), recipe))


def ingredient(name: str, recipe: Mapping[str, Any]) -> str:
    """An ingredient of Table 9 as the paper would print it: ``0.0005 × batchsize/512``, ``9/0.5``, ``✗`` for none."""
    if name == "lr":
        scaled = "" if recipe["lr_batch"] == recipe["batch"] else f" × batchsize/{recipe['lr_batch']}"
        return f"{recipe['lr']:g}{scaled}"
    if name == "lr_decay":
        return "cosine"
    value = recipe[name]
    if name == "auto_augment":
        return _policy(value)
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


def _policy(value: str) -> str:
    if not value:
        return "✗"
    parts = value.split("-")
    if parts[0] != "rand":
        return value
    found = {part.rstrip("0123456789."): part.lstrip("abcdefghijklmnopqrstuvwxyz") for part in parts[1:]}
    return f"{found.get('m', '?')}/{found.get('mstd', '0')}"


def _networks(job: Job, other: Job) -> tuple[str, ...]:
    keys = [found.inputs["network"] for found in (job, other) if "network" in found.inputs]
    return tuple(dict.fromkeys(keys))


def _statement(metric: str, name: str | None, summary: Mapping[str, Any]) -> tuple[float | None, float | None, bool]:
    """``(value, standard error, steady)`` of a job's summary."""
    if metric == "throughput":
        ratio = summary.get("ratio") or {}
        half = ratio.get("half_width_percent")
        value = float(summary["images_per_second"])
        # The interval of the ratio is the one that a busy machine leaves meaningful.
        return value, None if half is None else value * half / 100 / 1.96, bool(ratio.get("steady", True))
    if metric == "ratio":
        ratio = summary["ratio"]
        return float(ratio["median"]), (ratio["high"] - ratio["low"]) / 2 / 1.96, bool(ratio["steady"])
    if metric == "similarity":
        key = str(name)
        if key.isdigit():
            layer = int(key) - 1
            if layer >= len(summary["layers"]):
                return None, None, True
            return float(summary["layers"][layer]), summary["errors"]["layers"][layer], True
        return float(summary[key]), summary.get("errors", {}).get(key), True
    if metric == "architecture":
        value = summary.get(str(name), summary.get("architecture", {}).get(str(name)))
        return None if value is None else float(value), None, True
    return float(summary[str(name)]), None, True
