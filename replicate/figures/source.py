"""The values that a figure draws: of cells, ours and the paper's, and of what it reads from jobs themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import assert_never

import numpy as np

from replicate.errors import StoreFault
from replicate.figures.model import Bar, Point, Side
from replicate.figures.plan import FigurePlan
from replicate.jobs.train import CURVE
from replicate.judge.cell import network_origin
from replicate.judge.claims import judge
from replicate.judge.finish import Finisher
from replicate.judge.statistics import (
    NO_ERROR,
    Error,
    combined,
)
from replicate.judge.student import quantile
from replicate.judge.table import Cell
from replicate.judge.values import DecisionReader
from replicate.metrics.stated import Cosines, stored_as
from replicate.specs.cell import CellRef
from replicate.specs.load import Specs
from replicate.specs.table import ClaimSpec
from replicate.store.files import parsed
from replicate.store.result import Result
from replicate.store.store import Store
from replicate.text import exact, half_up, signed

Curve = Sequence[Mapping[str, float]]
"""The epochs of a training."""


@dataclass(frozen=True, slots=True)
class Value:
    """``error``: None where there is none."""

    value: float
    error: Error | None = None

    def over(self, base: Value) -> Value:
        """The ratio to ``base``; errors are taken as independent."""
        ratio = self.value / base.value
        if self.error is None and base.error is None:
            return Value(ratio)
        relative = [(each.error or NO_ERROR).scaled(ratio / each.value) for each in (self, base)]
        return Value(ratio, combined(relative))


class Source:
    """Reads what one figure draws; each cell is finished once, and no table is."""

    def __init__(self, plan: FigurePlan, store: Store) -> None:
        self.plan = plan
        self.store = store
        self._finisher = Finisher(plan.tables, store)
        self._cells: dict[CellRef, Cell] = {}
        self._decisions = DecisionReader()

    @property
    def specs(self) -> Specs:
        return self.plan.tables.specs

    @property
    def comparable(self) -> bool:
        """See `replicate.specs.scale.Scale`."""
        return self.specs.scale.comparable

    def cell(self, place: CellRef) -> Cell:
        if place not in self._cells:
            self._cells[place] = self._finisher.cell(self.plan.planned[place])
        return self._cells[place]

    def value(self, place: CellRef, side: Side, relative_to: CellRef | None = None) -> Value | None:
        """None where that side has no number there, or none to relate it to."""
        value = self._value(place, side)
        if relative_to is None or value is None:
            return value
        if place == relative_to:
            return Value(1.0)
        base = self._value(relative_to, side)
        return None if base is None or not base.value else value.over(base)

    def point(
        self,
        side: Side,
        x: Value | float | None,
        place: CellRef,
        *,
        name: str = "",
        relative_to: CellRef | None = None,
        also: tuple[CellRef, ...] = (),
    ) -> Point | None:
        """The value of ``place`` at ``x``; ``also`` are further cells the point rests on."""
        y = self.value(place, side, relative_to)
        if y is None or x is None:
            return None
        cell = self.cell(place)
        half = None if y.error is None else y.error.half
        return Point(
            x=x.value if isinstance(x, Value) else x,
            y=y.value,
            name=name,
            low=None if half is None else y.value - half,
            high=None if half is None else y.value + half,
            cells=tuple(dict.fromkeys((place, *also))),
            origin=cell.origin if side == "here" else "printed in the paper only",
            verdict=cell.verdict if side == "here" else "not compared",
        )

    def _value(self, place: CellRef, side: Side) -> Value | None:
        cell = self.cell(place)
        match side:
            case "here":
                error = None if cell.error is None else Error(cell.error, cell.freedom or inf)
                return None if cell.value is None else Value(float(cell.value), error)
            case "paper":
                printed = cell.paper.number if cell.paper else None
                return None if printed is None else Value(printed)
            case _:
                assert_never(side)

    def margins(self, table_id: str, row: str, base: str, column: str, at: int) -> list[Bar]:
        """Row minus base on each side that has both, to be drawn in row ``at``; ours with its interval, as a claim."""
        spec = self.specs.table(table_id)
        head = spec.table
        digits = head.places(next(spec for spec in head.columns if spec.key == column))
        both = [CellRef(table_id, key, column) for key in (row, base)]
        bars = []
        claim = ClaimSpec(text="", left=f"{row}.{column}", above=f"{base}.{column}")
        values = [(self.plan.planned[place], self._finisher.value(self.plan.planned[place])) for place in both]
        measured = {cell.ref: value for cell, value in values if value is not None}
        noise = self._finisher.noise(table_id)
        judged = judge(spec, claim, {}, measured, noise, noise, digits)
        if (margin := judged.margin) is not None:
            ends = (None, None) if judged.half is None else (margin - judged.half, margin + judged.half)
            bars.append(Bar(at, "here", margin, signed(exact(margin), digits), *ends))
        printed = [exact(value.value) for place in both if (value := self._value(place, "paper")) is not None]
        if len(printed) == len(both):
            difference = printed[0] - printed[1]
            bars.append(Bar(at, "paper", float(difference), signed(difference, digits)))
        return bars

    def layers(self, run: str) -> tuple[Point, ...]:
        """The similarity of the tokens of ``run`` at its input, after each block and at its output.

        Means over seeds, with their interval over seeds where there are several; over images it is invisible.
        Without the probe of each seed there are none.
        """
        probes = [stored_as(Cosines, result.summary) for result in self._results("probe", run)]
        if not probes:
            return ()
        values = np.asarray([[probe.input, *probe.layers, probe.last] for probe in probes], np.float64)
        half = np.zeros(values.shape[1])
        if len(values) > 1:
            half = quantile(0.975, len(values) - 1) * values.std(axis=0, ddof=1) / len(values) ** 0.5
        origin = network_origin({run}, self.specs.scale)
        return tuple(
            Point(float(at), float(mean), low=float(mean - wide), high=float(mean + wide), origin=origin)
            for at, (mean, wide) in enumerate(zip(values.mean(axis=0), half, strict=True))
        )

    def curves(self, run: str) -> list[Curve]:
        """The curve of the training of each seed; empty unless all can be read. A damaged one is noted in the store."""
        curves: list[Curve] = []
        results = self._results("network", run)
        for result in results:
            try:
                curves.append(stored_as(list[dict[str, float]], parsed(result.path(CURVE).read_bytes())))
            except (OSError, ValueError) as error:
                self._damaged(result, f"{result.key}/{CURVE}: cannot be read ({error})")
        return curves if len(curves) == len(results) else []

    def epochs(self, curves: Sequence[Curve], field: str) -> tuple[Point, ...]:
        """``field`` by epoch: means over seeds, and from the lowest to the highest of them."""
        if not curves or any(field not in epoch for curve in curves for epoch in curve):
            return ()
        values = np.asarray([[epoch[field] for epoch in curve] for curve in curves], np.float64)
        each = zip(values.mean(axis=0), values.min(axis=0), values.max(axis=0), strict=True)
        return tuple(
            Point(float(at + 1), float(mean), low=float(low), high=float(high), origin="trained here")
            for at, (mean, low, high) in enumerate(each)
        )

    def accuracy(self, run: str) -> str | None:
        """Top-1 [%] of the run's class head on the test images; None without the decisions of each seed."""
        shares = []
        for result in self._results("predict", run):
            try:
                hits = self._decisions.read(result).among("class", 1)
            except StoreFault as fault:
                self._damaged(result, str(fault))
                return None
            shares.append(Fraction(int(hits.sum()), len(hits)))
        return half_up(100 * sum(shares, Fraction()) / len(shares), 1) if shares else None

    def _results(self, kind: str, run: str) -> list[Result]:
        """The result of the job of ``run`` of each seed; empty unless all are there. ``network``: what trains it."""
        plan = self.plan.tables
        network, job = plan.expander.network, plan.expander.job
        seeds = plan.expander.seeds_of(run, plan.seeds)
        jobs = [network(run, seed) if kind == "network" else job(kind, run, seed) for seed in seeds]
        results = [self.store.result(job.key) for job in jobs]
        there = [result for result in results if result is not None]
        return there if len(there) == len(results) else []

    def _damaged(self, result: Result, why: str) -> None:
        self.store.forget(result.key)
        self.store.damage[result.key] = why
