"""A planned cell to the value it reads: from decisions, measurements, probes, data sets or recipes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import sqrt
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from replicate.errors import StoreFault
from replicate.judge.statistics import Z, spread
from replicate.plan.cells import CellPlan, Plan
from replicate.plan.job import Job
from replicate.specs.table import Head, Metric
from replicate.store.result import Result
from replicate.store.store import Store
from replicate.text import exact

FILE = "decisions.npz"


@dataclass(frozen=True, slots=True)
class Decisions:
    """``labels`` [N] and, by head, the ``top5`` classes [N, 5], best first (int16)."""

    labels: NDArray[np.int16]
    top5: Mapping[str, NDArray[np.int16]]

    def choice(self, head: Head) -> NDArray[np.int16]:
        """[N]: the class chosen at ``head``; the label itself for ``truth``."""
        return self.labels if head == "truth" else self.top5[head][:, 0]

    def correct(self, head: Head, metric: Metric) -> NDArray[np.bool_]:
        """[N]: was the true class the first choice (``top1``), or among the first five (``top5``)?"""
        if metric == "top1":
            return np.asarray(self.choice(head) == self.labels)
        return np.asarray((self.top5[head] == self.labels[:, None]).any(axis=1))


@dataclass(slots=True)
class DecisionReader:
    """Reads each file once."""

    _read: dict[str, Decisions] = field(default_factory=dict)

    def read(self, result: Result) -> Decisions:
        known = self._read.get(result.key)
        if known is None:
            known = self._read[result.key] = _load(result)
        return known


def _load(result: Result) -> Decisions:
    try:
        # No pickle: an array of objects is refused.
        with np.load(result.path(FILE), allow_pickle=False) as arrays:
            heads = {name: arrays[name] for name in arrays.files if name != "labels"}
            return Decisions(arrays["labels"], heads)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise StoreFault(f"{result.key}/{FILE}: cannot be read ({error})") from error


CORRECTED = "real_labels.npy"
TIMES = "measure.json"


@dataclass(frozen=True, slots=True)
class CellValue:
    """The value of a cell by seed, in the unit of its table, and what its uncertainty can be worked out from.

    hits: by seed, [N] whether the counted thing holds for each image; None for what is no count over images.
    scale: value = scale x mean of the hits (100 for percentages). networks: by seed, the trainings behind it.
    errors: by seed, standard error of a value that is no count: over images or over time, 0 if neither moves it.
    None: it has one, and nobody knows it. That other trainings give other values is not in it.
    """

    values: Mapping[int, Fraction]
    hits: Mapping[int, NDArray[np.bool_]] | None
    scale: int
    networks: Mapping[int, tuple[str, ...]]
    errors: Mapping[int, float | None] = field(default_factory=dict)
    text: str | None = None
    """A value in words, such as an ingredient of a recipe; ``values`` is then empty."""
    images: str = ""
    """Which images the hits are over: only counts over the same ones are paired."""
    steady: bool = True
    """Of a throughput: its interval is narrow enough."""


class _Statement(NamedTuple):
    value: Fraction
    error: float | None
    steady: bool = True


@dataclass(slots=True)
class CellReader:
    """Reads cells of one plan from one store; every file is read once."""

    plan: Plan
    store: Store
    _decisions: DecisionReader = field(default_factory=DecisionReader)
    _corrected: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def read(self, cell: CellPlan) -> CellValue | None:
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

    def _counted(self, cell: CellPlan, results: Mapping[str, Result]) -> CellValue:
        hits = {}
        networks = {}
        others = cell.others or cell.jobs
        for index, (seed, job) in enumerate(zip(self.plan.seeds, cell.jobs, strict=True)):
            other = others[min(index, len(others) - 1)]
            hits[seed] = self._hits(cell, results[job.key], results[other.key])
            networks[seed] = _networks(job, other)
        scale = 1 if cell.read and cell.read.metric == "disagreement" else 100
        values = {seed: Fraction(scale * int(hit.sum()), len(hit)) for seed, hit in hits.items()}
        labels = [job.key for job in cell.others] if cell.read and cell.read.metric == "real" else []
        images = "+".join([cell.jobs[0].inputs["data"], *labels])
        return CellValue(values, hits, scale, networks, images=images)

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

    def _stated(self, cell: CellPlan, results: Mapping[str, Result]) -> CellValue:
        """A number that the job itself states in its summary."""
        assert cell.read is not None
        found: dict[int, _Statement] = {}
        for job in cell.jobs:
            if cell.read.metric == "throughput":
                stated: _Statement | None = _throughput(cell, results)
            else:
                stated = _statement(cell.read.metric, cell.read.field, results[job.key].summary)
            if stated is None:
                return CellValue({}, None, 1, {}, text="–")
            found[job.seed or 0] = stated
        return CellValue(
            {seed: stated.value for seed, stated in found.items()},
            None,
            1,
            {job.seed or 0: _networks(job, job) for job in cell.jobs},
            errors={seed: stated.error for seed, stated in found.items()},
            steady=all(stated.steady for stated in found.values()),
        )

    def _ingredient(self, cell: CellPlan) -> CellValue:
        assert cell.read is not None
        assert cell.read.run is not None
        recipe = self.plan.expander.recipe(cell.read.run).model_dump()
        return CellValue({}, None, 1, {}, text=ingredient(str(cell.read.field), recipe))


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


def _throughput(cell: CellPlan, results: Mapping[str, Result]) -> _Statement:
    """Images a second. Of a paired measurement the ratio to the network beside it times that network's own rate.

    The rates of two processes on a busy machine say little about each other, their ratios to a third network do.
    That network itself is the unit: 1, without an error.
    """
    own = results[cell.jobs[0].key]
    ratio = own.summary["ratio"]
    if ratio is None:
        rate = float(own.summary["images_per_second"])
        share = _scatter(own)
        return _Statement(exact(rate), None if share is None else rate * share)
    unit = results[cell.others[0].key]
    rate, steady = float(unit.summary["images_per_second"]), bool(ratio["steady"])
    if own.key == unit.key:
        return _Statement(exact(rate), 0.0, steady)
    error = (ratio["high"] - ratio["low"]) / 2 / Z
    return _Statement(exact(float(ratio["median"])) * exact(rate), error * rate, steady)


def _scatter(result: Result) -> float | None:
    """Standard error of the mean time of a run, as a share of it; None where the times are not stored."""
    if TIMES not in result.files:
        return None
    try:
        found = json.loads(result.path(TIMES).read_text(encoding="utf-8"))
        times = [float(window["wall"]) for window in found["windows"]["network"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreFault(f"{result.key}/{TIMES}: cannot be read ({error})") from error
    scatter = spread(times)
    return None if scatter is None else scatter / sqrt(len(times)) / (sum(times) / len(times))


def _statement(metric: str, name: str | None, summary: Mapping[str, Any]) -> _Statement | None:
    """What a job's summary says; None where its network has no such dimension."""
    key = str(name)
    if metric == "ratio":
        ratio = summary["ratio"]
        return _Statement(exact(float(ratio["median"])), (ratio["high"] - ratio["low"]) / 2 / Z, bool(ratio["steady"]))
    if metric == "similarity":
        return _similarity(key, summary)
    value = summary.get(key, summary.get("architecture", {}).get(key))
    return None if value is None else _Statement(exact(float(value)), 0.0)


def _similarity(key: str, summary: Mapping[str, Any]) -> _Statement | None:
    """At the input the tokens are learned vectors, the same for every image: no error over images."""
    errors = summary.get("errors", {})
    if not key.isdigit():
        return _Statement(exact(float(summary[key])), 0.0 if key.startswith("input") else errors.get(key))
    layer = int(key) - 1
    if layer >= len(summary["layers"]):
        return None
    return _Statement(exact(float(summary["layers"][layer])), errors["layers"][layer] if errors else None)
