"""The values a figure draws, looked up by place: ours and the paper's, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from replicate.figures.model import Point, Side
from replicate.figures.plan import FigurePlan
from replicate.judge.finish import Finisher
from replicate.judge.statistics import NONE, Error, combined, known, measured
from replicate.judge.table import Cell, Table
from replicate.judge.values import CellValue, DecisionReader
from replicate.specs.cell import CellRef
from replicate.store.store import Store


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
        relative = [(one.error or NONE).scaled(ratio / one.value) for one in (self, base)]
        return Value(ratio, combined(relative))


@dataclass
class Source:
    """Finishes the tables behind one figure, each once."""

    plan: FigurePlan
    store: Store
    decisions: DecisionReader = field(default_factory=DecisionReader)
    _tables: dict[str, Table] = field(default_factory=dict)
    _measured: dict[str, dict[CellRef, CellValue]] = field(default_factory=dict)

    @cached_property
    def finisher(self) -> Finisher:
        return Finisher(self.plan.tables, self.store)

    def table(self, table_id: str) -> Table:
        if table_id not in self._tables:
            self._tables[table_id] = self.finisher.finish(table_id)
        return self._tables[table_id]

    def measured(self, table_id: str) -> dict[CellRef, CellValue]:
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
        if place == relative_to:
            return None if self._value(place, side) is None else Value(1.0)
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

    def _value(self, place: str, side: Side) -> Value | None:
        cell = self.cell(place)
        if side == "here":
            return None if cell.value is None else Value(float(cell.value), _error(cell))
        printed = decimal(cell.paper)
        return None if printed is None else Value(printed)

    def summary(self, key: str) -> Mapping[str, Any]:
        """What the job said of its result; empty without one."""
        result = self.store.result(key)
        return result.summary if result else {}


def _error(cell: Cell) -> Error | None:
    if cell.error is None:
        return None
    return known(cell.error) if cell.spread is None else measured(cell.error, len(cell.seeds))


def decimal(printed: str | None) -> float | None:
    """A printed number, its star left out (``4.3*``); None for a text such as ``86M`` or no value."""
    try:
        return float(printed.rstrip("*")) if printed else None
    except ValueError:
        return None
