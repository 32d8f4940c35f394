"""Cells and stored results to a finished table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from hashlib import sha256
from math import sqrt

from replicate.collect.claims import Measured, judge
from replicate.collect.decisions import DecisionReader
from replicate.collect.rounding import exact, half_up, signed
from replicate.collect.statistics import image_error, spread
from replicate.collect.table import Cell, Column, Note, Row, SeedValue, State, Table
from replicate.collect.verdict import cell_verdict
from replicate.errors import StoreFault
from replicate.plan.cells import CellPlan, Plan
from replicate.spec.sides import CellRef
from replicate.spec.table import TableSpec
from replicate.store.atomic import canonical
from replicate.store.store import Store


@dataclass(slots=True)
class Finisher:
    """Finishes the tables of one plan; results are read once however many cells need them."""

    plan: Plan
    store: Store
    _reader: DecisionReader = field(default_factory=DecisionReader)
    _states: dict[str, State] = field(default_factory=dict)

    def finish(self, table_id: str) -> Table:
        spec = self.plan.specs.table(table_id)
        scale = self.plan.specs.scale
        planned = self.plan.cells[table_id]
        measured = {CellRef(cell.row, cell.column): found for cell in planned if (found := self._measured(cell))}
        cells = {(cell.row, cell.column): self._cell(spec, cell, measured) for cell in planned}
        cells |= _words(spec)
        cells = _with_bold(spec, cells)
        paper = {CellRef(cell.row, cell.column): cell.paper for cell in planned if cell.paper is not None}
        return Table(
            id=table_id,
            number=spec.table.number,
            caption=spec.table.caption,
            metric=spec.table.metric,
            unit=spec.table.unit,
            source=spec.table.source,
            scale=scale.id,
            banner=scale.banner,
            corner=spec.table.corner,
            columns=tuple(Column(c.key, c.header, c.group, c.text) for c in spec.table.columns),
            rows=tuple(Row(r.key, r.label, r.rule, r.group) for r in spec.rows),
            references=tuple(Row(r.key, r.label) for r in spec.references),
            cells=cells,
            seeds=self.plan.seeds,
            claims=tuple(judge(spec, claim, paper, measured, scale.seed_sd) for claim in spec.claims),
            notes=tuple(
                Note(chr(ord("a") + index), note.text, note.see, note.rows, note.columns)
                for index, note in enumerate(spec.notes)
            ),
            spec=f"tables/{self.plan.specs.files[table_id].name}",
            digest=self._digest(spec, planned),
        )

    def _measured(self, cell: CellPlan) -> Measured | None:
        """The decisions behind a cell; None unless every seed has its result."""
        correct, training = {}, {}
        for job in cell.jobs:
            result = self.store.result(job.key)
            if result is None:
                return None
            try:
                decisions = self._reader.read(result)
            except StoreFault as fault:
                self.store.forget(job.key)
                self.store.damage[job.key] = str(fault)
                return None
            seed = job.seed or 0
            correct[seed] = decisions.correct(cell.head, cell.metric)
            training[seed] = job.inputs["network"]
        return Measured(correct, training) if correct else None

    def _cell(self, spec: TableSpec, cell: CellPlan, measured: Mapping[CellRef, Measured]) -> Cell:
        decimals = spec.table.decimals
        paper = None if cell.paper is None else exact(cell.paper)
        made = Cell(
            row=cell.row,
            column=cell.column,
            state="done",
            shown="",
            paper=None if paper is None else half_up(paper, decimals),
            paper_shown="" if paper is None else half_up(paper, decimals),
            paper_source=cell.paper_source if paper is not None else "",
            jobs=tuple(job.key for job in cell.jobs),
        )
        found = measured.get(CellRef(cell.row, cell.column))
        if found is None:
            return self._unfinished(made, cell)
        seeds = tuple(
            SeedValue(seed, Fraction(100 * int(right.sum()), len(right)), int(right.sum()), len(right), (job.key,))
            for job in cell.jobs
            for seed, right in [(job.seed or 0, found.correct[job.seed or 0])]
        )
        value = sum((seed.value for seed in seeds), Fraction()) / len(seeds)
        deviation = spread([float(seed.value) for seed in seeds])
        first = next(iter(found.correct.values()))
        error = image_error(first) if deviation is None else deviation / sqrt(len(seeds))
        made = replace(
            made,
            shown=half_up(value, decimals),
            value=value,
            error=error,
            error_shown=half_up(exact(error), decimals),
            spread=deviation,
            seeds=seeds,
            origin="trained here",
        )
        return self._compared(spec, made, paper, deviation)

    def _compared(self, spec: TableSpec, cell: Cell, paper: Fraction | None, deviation: float | None) -> Cell:
        scale = self.plan.specs.scale
        if scale.banner:
            return replace(cell, verdict="not compared", reason=f"another experiment than the paper's: {scale.title}")
        if paper is None or cell.value is None:
            return replace(cell, verdict="not compared", reason="the paper gives no number here")
        tolerance = spec.table.tolerance.get(cell.column, spec.table.tolerance["default"])
        error = None
        if deviation is not None:
            error = max(deviation, scale.seed_sd) / sqrt(len(cell.seeds))
        half_unit = 0.5 * 10**-spec.table.decimals
        verdict, reason = cell_verdict(float(cell.value - paper), tolerance, half_unit, error)
        return replace(
            cell,
            verdict=verdict,
            reason=reason,
            tolerance=f"±{tolerance:g}",
            difference_shown=signed(cell.value - paper, spec.table.decimals),
        )

    def _unfinished(self, made: Cell, cell: CellPlan) -> Cell:
        if not cell.jobs:
            if cell.paper is None:
                return replace(made, state="text", shown="–", reason="no number in the paper, none here")
            return replace(
                made,
                state="paper-only",
                origin="printed in the paper only",
                reason="no run makes this number",
            )
        states = {key: self._state(key) for job in cell.jobs for key in self.plan.graph.needed_for([job.key]).jobs}
        for state in ("failed", "running"):
            culprits = [key for key, found in states.items() if found == state]
            if culprits:
                return replace(made, state=state, reason=self._why(state, culprits[0]))
        waiting = [key for key, found in states.items() if found != "done"]
        damaged = [self.store.damage[key] for key in waiting if key in self.store.damage]
        reason = damaged[0] if damaged else f"{len(waiting)} of its {len(states)} jobs have not run"
        return replace(made, state="pending", reason=reason)

    def _why(self, state: State, key: str) -> str:
        if state == "running":
            return f"{key} is running"
        failure = self.store.failure(key)
        return f"{key} failed: {failure.get('kind', 'error')}: {failure.get('message', 'see its log')}"

    def _state(self, key: str) -> State:
        if key not in self._states:
            found = self.store.state(key)
            self._states[key] = "pending" if found in ("absent", "damaged") else found  # type: ignore[assignment]
        return self._states[key]

    def _digest(self, spec: TableSpec, planned: list[CellPlan]) -> str:
        """Changes when the spec or any result behind the table does; not with dates, machines or versions."""
        results = {job.key: self.store.result(job.key) for cell in planned for job in cell.jobs}
        body = {
            "spec": spec.model_dump(mode="json"),
            "results": {key: dict(result.files) if result else None for key, result in results.items()},
        }
        return sha256(canonical(body)).hexdigest()[:16]


def _words(spec: TableSpec) -> dict[tuple[str, str], Cell]:
    return {
        (row.key, column.key): Cell(row.key, column.key, "text", row.text.get(column.key, ""))
        for row in spec.rows
        for column in spec.table.columns
        if column.text
    }


def _with_bold(spec: TableSpec, cells: dict[tuple[str, str], Cell]) -> dict[tuple[str, str], Cell]:
    """Decided on what is printed: 83.34 and 83.26 both print 83.3, so both are bold."""
    if spec.table.bold == "none":
        return cells
    best = max if spec.table.bold == "column-max" else min
    for column in spec.table.columns:
        if column.text:
            continue
        keys = [(row.key, column.key) for row in spec.rows]
        ours = [float(cells[key].shown) for key in keys if cells[key].state == "done"]
        paper = [float(cells[key].paper_shown) for key in keys if cells[key].paper_shown]
        for key in keys:
            cell = cells[key]
            cells[key] = replace(
                cell,
                # Before every row has its number, nothing is the best.
                bold=len(ours) == len(keys) and float(cell.shown) == best(ours),
                paper_bold=bool(cell.paper_shown) and float(cell.paper_shown) == best(paper),
            )
    return cells
