"""The values a figure draws, looked up by place: ours and the paper's, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import hypot
from typing import Any

from replicate.collect.decisions import DecisionReader
from replicate.collect.figure import Point, Side
from replicate.collect.finish import Finisher
from replicate.collect.readings import Measured
from replicate.collect.statistics import Z
from replicate.collect.table import Cell, Table
from replicate.plan.figures import FigurePlan
from replicate.spec.sides import CellRef
from replicate.store.store import Store


@dataclass(frozen=True, slots=True)
class Value:
    """``error``: one standard error; None where there is none."""

    value: float
    error: float | None = None

    def over(self, base: Value) -> Value:
        """The ratio to ``base``; errors are taken as independent."""
        ratio = self.value / base.value
        if self.error is None and base.error is None:
            return Value(ratio)
        return Value(ratio, ratio * hypot((self.error or 0) / self.value, (base.error or 0) / base.value))


@dataclass
class Source:
    """Finishes the tables behind one figure, each once."""

    plan: FigurePlan
    store: Store
    decisions: DecisionReader = field(default_factory=DecisionReader)
    _tables: dict[str, Table] = field(default_factory=dict)
    _measured: dict[str, dict[CellRef, Measured]] = field(default_factory=dict)

    @cached_property
    def finisher(self) -> Finisher:
        return Finisher(self.plan.tables, self.store)

    def table(self, table_id: str) -> Table:
        if table_id not in self._tables:
            self._tables[table_id] = self.finisher.finish(table_id)
        return self._tables[table_id]

    def measured(self, table_id: str) -> dict[CellRef, Measured]:
        """What the margins between cells of a table are computed from."""
        if table_id not in self._measured:
            self._measured[table_id] = self.finisher.measured(table_id)
        return self._measured[table_id]

    def cell(self, place: str) -> Cell:
        table, row, column = place.split("/")
        return self.table(table).cell(row, column)

    def value(self, place: str, side: Side, relative_to: str | None = None) -> Value | None:
        """None where that side has no number there, or none to relate it to."""
        if relative_to is None:
            return self._value(place, side)
        if side == "here" and (paired := self._paired(place, relative_to)) is not None:
            return paired
        value, base = self._value(place, side), self._value(relative_to, side)
        return None if value is None or base is None or not base.value else value.over(base)

    def point(
        self,
        side: Side,
        x: Value | float | None,
        place: str,
        *,
        name: str = "",
        relative_to: str | None = None,
        also: tuple[str, ...] = (),
    ) -> Point | None:
        """The value of ``place`` at ``x``; ``also`` are further cells the point rests on."""
        y = self.value(place, side, relative_to)
        if y is None or x is None:
            return None
        cell = self.cell(place)
        half = None if y.error is None else Z * y.error
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

    def _value(self, place: str, side: Side) -> Value | None:
        cell = self.cell(place)
        if side == "here":
            return None if cell.value is None else Value(float(cell.value), cell.error)
        printed = decimal(cell.paper)
        return None if printed is None else Value(printed)

    def _paired(self, place: str, base: str) -> Value | None:
        """The ratio of two throughputs that were each measured in turn with the same third network.

        What slows a busy machine down cancels in it, which it does not in the images/s of two jobs.
        """
        one, other = self._ratio(place), self._ratio(base)
        if one is None or other is None:
            return None
        return Value(one.value) if place == base else one.over(other)

    def _ratio(self, place: str) -> Value | None:
        cell = self.plan.cells[place]
        if cell.read is None or cell.read.metric != "throughput":
            return None
        ratio = self.summary(cell.keys[0]).get("ratio")
        return Value(ratio["median"], (ratio["high"] - ratio["low"]) / 2 / Z) if ratio else None

    def summary(self, key: str) -> Mapping[str, Any]:
        """What the job said of its result; empty without one."""
        result = self.store.result(key)
        return result.summary if result else {}


def decimal(printed: str | None) -> float | None:
    """A printed number, its star left out (``4.3*``); None for a text such as ``86M`` or no value."""
    try:
        return float(printed.rstrip("*")) if printed else None
    except ValueError:
        return None
