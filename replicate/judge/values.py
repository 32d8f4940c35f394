"""A planned cell to the value it reads: from decisions, measurements, probes, data sets or recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from replicate import metrics
from replicate.errors import StoreFault
from replicate.jobs.job import Job
from replicate.jobs.predict import DECISIONS
from replicate.judge.statistics import image_error, paired_image_error
from replicate.metrics import Decisions, Number, Reading, Stored
from replicate.metrics.decided import answered
from replicate.plan.cells import CellPlan, Plan
from replicate.specs.augment import printed
from replicate.specs.cell import ResolvedSource
from replicate.specs.recipe import Recipe
from replicate.store.files import parsed
from replicate.store.result import Result
from replicate.store.store import Store

NO_DIMENSION = "–"
"""Printed where the network has no such dimension."""


@dataclass(slots=True)
class DecisionReader:
    """Reads each file once."""

    _read: dict[str, Decisions] = field(default_factory=dict)

    def read(self, result: Result) -> Decisions:
        if result.key not in self._read:
            self._read[result.key] = _load(result)
        return self._read[result.key]


def _load(result: Result) -> Decisions:
    try:
        # No pickle: an array of objects is refused.
        with np.load(result.path(DECISIONS), allow_pickle=False) as arrays:
            heads = {name: arrays[name] for name in arrays.files if name != "labels"}
            labels = arrays["labels"]
        whole = labels.dtype.kind in "iu" and labels.ndim == 1 and labels.size > 0
        if not whole or any(top.dtype.kind not in "iu" or top.shape[:-1] != labels.shape for top in heads.values()):
            raise ValueError("not a class of each image, and as many choices of it at each head")
        return Decisions(labels, heads)
    except Exception as error:
        # Of numpy, zipfile or zlib, each of which has kinds of its own.
        raise StoreFault(f"{result.key}/{DECISIONS}: cannot be read ({error})") from error


class Design(NamedTuple):
    """What a number is of, as far as it decides how much another seed moves it. ``resolution`` is the paper's."""

    metric: str
    model: str
    resolution: int
    data: str
    field: str
    once: bool = False
    """Its network has one seed however many are asked for, as one that only teaches has."""

    @classmethod
    def of(cls, read: ResolvedSource, plan: Plan) -> Design | None:
        """None where no training moves it."""
        if read.run is None or not metrics.find(read.metric).trained:
            return None
        run = plan.specs.runs.runs[read.run]
        once = len(plan.expander.seeds_of(read.run, (0, 1))) == 1
        return cls(read.metric, run.model, run.resolution, read.on or run.data, read.field or "", once)

    @classmethod
    def of_others(cls, metric: str) -> Design:
        """Of a network that no run here trains."""
        return cls(metric, "", 0, "", "")


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
    """Which photographs the hits are of: only counts over the same ones are paired."""
    answered: NDArray[np.bool_] | None = None
    """[N]: which of the photographs have a right label and are counted; None where all N are."""
    steady: bool = True
    """Of a throughput: its interval is narrow enough."""
    attention: str | None = None
    """Of a throughput: how the network computed attention, where it has any."""
    devices: frozenset[str] = frozenset()
    """What a throughput was measured on; empty for a result that does not say."""
    design: Design | None = None
    """None where no training moves it."""
    reading: tuple[str, ...] = ()
    """The jobs and heads that it is read from: the same ones are the same number."""

    @property
    def own_error(self) -> float | None:
        """Standard error over test images, or over time, of the mean over seeds; None where nobody knows it."""
        if self.hits is not None:
            each = list(self.hits.values())
            if len(each) == 1:
                return image_error(each[0], self.scale)
            return paired_image_error(np.mean(each, axis=0), self.scale)
        own = [self.errors.get(seed) for seed in self.values]
        if None in own:
            return None
        return sqrt(sum((error or 0.0) ** 2 for error in own)) / len(own)


@dataclass(slots=True)
class CellReader:
    """Reads cells of one plan from one store; every file is read once."""

    plan: Plan
    store: Store
    _decisions: DecisionReader = field(default_factory=DecisionReader)
    _arrays: dict[tuple[str, str], NDArray[Any]] = field(default_factory=dict)

    def read(self, cell: CellPlan) -> CellValue | None:
        """None unless every job the cell reads has its result. A damaged one is noted in the store."""
        if cell.read is None:
            return None
        results: dict[str, Stored] = {}
        for key in cell.keys:
            result = self.store.result(key)
            if result is None:
                return None
            results[key] = _Stored(result, self._decisions, self._arrays)
        try:
            return self._value(cell, cell.read, results)
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            # Its bytes are those that were written, but another program, or another version, wrote them.
            if not results:
                raise
            key = next(iter(results))
            self.store.forget(key)
            self.store.damage[key] = f"{key}: says nothing that {cell.read.metric} can be read from ({error})"
            return None
        except StoreFault as fault:
            key = str(fault).partition("/")[0]
            self.store.forget(key)
            self.store.damage[key] = str(fault)
            return None

    def _value(self, cell: CellPlan, read: ResolvedSource, results: Mapping[str, Stored]) -> CellValue:
        metric = metrics.find(read.metric)
        if not cell.jobs:
            return CellValue({}, None, 1, {}, text=str(metric.read(self._reading(read, ()))))
        design = Design.of(read, self.plan)
        hits: dict[int, NDArray[np.bool_]] = {}
        numbers: dict[int, Number] = {}
        networks: dict[int, tuple[str, ...]] = {}
        others = cell.others or cell.jobs
        for index, job in enumerate(cell.jobs):
            other = others[min(index, len(others) - 1)]
            value = metric.read(self._reading(read, (results[job.key], results[other.key])))
            if value is None or isinstance(value, str):
                return CellValue({}, None, 1, {}, text=NO_DIMENSION if value is None else value)
            if isinstance(value, Number):
                seed = job.seed or 0
                numbers[seed] = value
            else:
                # A disagreement of several students with one teacher is read from the teacher's decisions each time.
                seed = self.plan.seeds[index] if metric.second == "network" else job.seed or 0
                hits[seed] = value
            networks[seed] = networks_of(read, job, other)
        if numbers:
            return CellValue(
                {seed: number.value for seed, number in numbers.items()},
                None,
                1,
                networks,
                errors={seed: number.error for seed, number in numbers.items()},
                steady=all(number.steady for number in numbers.values()),
                attention=next(iter(numbers.values())).attention,
                devices=frozenset(str(results[key].summary.get("device", "")) for key in cell.keys if metric.timed),
                design=design,
            )
        values = {seed: Fraction(metric.scale * int(hit.sum()), len(hit)) for seed, hit in hits.items()}
        counted = answered(results[cell.others[0].key]) if metric.second == "labels" else None
        images = cell.jobs[0].inputs["data"]
        return CellValue(
            values,
            hits,
            metric.scale,
            networks,
            images=images,
            answered=counted,
            design=design,
            reading=reading_of(cell, read),
        )

    def _reading(self, read: ResolvedSource, results: tuple[Stored, ...]) -> Reading:
        other_head = read.against[1] if read.against else read.head
        return Reading(read.head, str(read.field), other_head, results, lambda: self._recipe(read))

    def _recipe(self, read: ResolvedSource) -> Recipe:
        assert read.run is not None
        recipe = self.plan.expander.recipe(read.run)
        return recipe.model_copy(update={"auto_augment": printed(recipe.auto_augment)})


@dataclass(frozen=True, slots=True)
class _Stored:
    """The files of a result, as metrics read them."""

    result: Result
    read: DecisionReader
    arrays: dict[tuple[str, str], NDArray[Any]]

    @property
    def key(self) -> str:
        return self.result.key

    @property
    def summary(self) -> Mapping[str, object]:
        return self.result.summary

    def decisions(self) -> Decisions:
        return self.read.read(self.result)

    def array(self, file: str) -> NDArray[Any]:
        if (self.key, file) not in self.arrays:
            try:
                self.arrays[self.key, file] = np.load(self.result.path(file), allow_pickle=False)
            except Exception as error:
                raise StoreFault(f"{self.key}/{file}: cannot be read ({error})") from error
        return self.arrays[self.key, file]

    def document(self, file: str) -> Any:
        if file not in self.result.files:
            return None
        try:
            return parsed(self.result.path(file).read_bytes())
        except (OSError, ValueError) as error:
            raise StoreFault(f"{self.key}/{file}: cannot be read ({error})") from error


def reading_of(cell: CellPlan, read: ResolvedSource) -> tuple[str, ...]:
    """See `CellValue.reading`."""
    return (*cell.keys, read.head, *(read.against or ())[1:])


def networks_of(read: ResolvedSource, job: Job, other: Job) -> tuple[str, ...]:
    """The keys of the trainings that decide what is read from the two jobs, each once."""
    # What disagrees with the truth is one network.
    heads = (read.head, read.against[1]) if read.against else (read.head, read.head)
    jobs = [each for each, head in zip((job, other), heads, strict=True) if head != "truth"]
    return tuple(dict.fromkeys(each.inputs["network"] for each in jobs if "network" in each.inputs))
