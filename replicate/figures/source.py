"""The values a figure draws, looked up by place: ours and the paper's, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from replicate.figures.model import Point, Side
from replicate.figures.plan import FigurePlan
from replicate.judge.finish import Finisher
from replicate.judge.statistics import NO_ERROR, Error, combined, error_from_samples, error_from_sigma
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
        relative = [(one.error or NO_ERROR).scaled(ratio / one.value) for one in (self, base)]
        return Value(ratio, combined(relative))


@dataclass
class Source:
    """Finishes the tables behind one figure, each once."""

    plan: FigurePlan
    store: Store
    decisions: DecisionReader = field(default_factory=DecisionReader)
    _tables: dict[str, Table] = field(default_factory=dict)
    _values: dict[str, dict[CellRef, CellValue]] = field(default_factory=dict)

    @cached_property
    def finisher(self) -> Finisher:
        return Finisher(self.plan.tables, self.store)

    def table(self, table_id: str) -> Table:
        if table_id not in self._tables:
            self._tables[table_id] = self.finisher.finish(table_id)
        return self._tables[table_id]

    def values(self, table_id: str) -> dict[CellRef, CellValue]:
        """What the margins between cells of a table are computed from."""
        if table_id not in self._values:
            self._values[table_id] = self.finisher.values(table_id)
        return self._values[table_id]

    def cell(self, ref: CellRef) -> Cell:
        return self.table(ref.table).cells[ref]

    def value(self, place: CellRef, side: Side, relative_to: CellRef | None = None) -> Value | None:
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
        if side == "here":
            return None if cell.value is None else Value(float(cell.value), _error(cell))
        printed = cell.paper.number if cell.paper else None
        return None if printed is None else Value(printed)

    def summary(self, key: str) -> Mapping[str, Any]:
        """What the job said of its result; empty without one."""
        result = self.store.result(key)
        return result.summary if result else {}


def _error(cell: Cell) -> Error | None:
    if cell.error is None:
        return None
    return error_from_sigma(cell.error) if cell.spread is None else error_from_samples(cell.error, len(cell.seeds))
