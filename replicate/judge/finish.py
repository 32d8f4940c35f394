"""Cells and stored results to a finished table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from string import ascii_lowercase

from replicate import metrics
from replicate.jobs.key import canonical
from replicate.judge.cell import finished, outline, unfinished
from replicate.judge.claims import judge
from replicate.judge.noise import SeedNoise
from replicate.judge.statistics import holm, printed_error
from replicate.judge.table import Cell, Claim, Column, Note, Row, State, Table
from replicate.judge.values import CellReader, CellValue, Design, networks_of, reading_of
from replicate.plan.cells import CellPlan, Plan
from replicate.specs.cell import CellRef, pairs
from replicate.specs.table import ClaimSpec, ColumnSpec, ReferenceSpec, RowSpec, TableSpec
from replicate.store.provenance import Provenance
from replicate.store.store import Store
from replicate.text import exact, plural

UNCOMMITTED = "Made with changes that were not committed."
PERHAPS = "Git did not say whether it was made with changes that were not committed."
UNSTEADY = "Unsteady: the 95 % interval of the ratio is wider than ±2 % of it."


@dataclass(slots=True)
class Finisher:
    """Finishes the tables of one plan; results are read once however many cells need them."""

    plan: Plan
    store: Store
    elsewhere: Mapping[str, tuple[State, str]] = field(default_factory=dict)
    """What a scheduler says of jobs without a result: the state for their cells, and why."""
    _reader: CellReader = field(init=False)
    _noise: dict[str, SeedNoise] = field(default_factory=dict)
    _states: dict[str, State] = field(default_factory=dict)
    _changes: dict[str, str] = field(default_factory=dict)
    _roots: dict[str, str] | None = None

    def __post_init__(self) -> None:
        self._reader = CellReader(self.plan, self.store)

    def finish(self, table_id: str) -> Table:
        """The table as it stands now; cells without a value say why."""
        spec = self.plan.specs.table(table_id)
        scale = self.plan.specs.scale
        planned = self.plan.cells[table_id]
        values = self.values(table_id)
        cells = {cell.ref: self._cell(spec, cell, values) for cell in planned}
        cells |= _words(spec)
        made = self._made(planned, values)
        return Table(
            id=table_id,
            number=spec.table.number,
            caption=spec.table.caption,
            metric=spec.table.metric or "",
            unit=spec.table.unit,
            source=spec.table.source,
            scale=scale.id,
            banner=scale.banner,
            comparable=scale.comparable,
            corner=spec.table.corner,
            columns=tuple(Column(c.key, c.header, c.group, c.text) for c in spec.table.columns),
            rows=tuple(Row(r.key, r.label, r.rule, r.group) for r in spec.rows),
            references=tuple(Row(r.key, r.label) for r in spec.references),
            cells=_with_bold(spec, cells),
            seeds=self.plan.seeds,
            claims=self._claims(spec, values),
            notes=_lettered(
                [
                    *(Note("", note.text, note.see, note.rows, note.columns) for note in spec.notes),
                    *self._rates(planned, values),
                    *_by_chance(cells.values()),
                    *self._uncommitted(planned, values),
                ]
            ),
            spec=f"tables/{self.plan.specs.files[table_id].name}",
            digest=self._digest(spec, planned),
            commits=tuple(sorted({by.commit for by in made})),
            processors=tuple(sorted({by.device for by in made if by.device})),
            macros=self.plan.specs.runs.paper.macros,
            uncommitted=any(by.unclean for by in made),
        )

    def value(self, planned: CellPlan) -> CellValue | None:
        """What was read for a cell; None unless it has all its results."""
        return self._reader.read(planned)

    def cell(self, planned: CellPlan) -> Cell:
        """One cell as it stands now, without its table, so that nothing says whether it is bold."""
        value = self.value(planned)
        values = {} if value is None else {planned.ref: value}
        return self._cell(self.plan.specs.table(planned.table), planned, values)

    def values(self, table_id: str) -> dict[CellRef, CellValue]:
        """What was read for each cell of the table that has its results."""
        planned = self.plan.cells[table_id]
        return {cell.ref: value for cell in planned if (value := self.value(cell))}

    def noise(self, table_id: str) -> SeedNoise:
        """How much another seed moves the numbers of the table: as the scale states it and as they show."""
        if table_id not in self._noise:
            self._noise[table_id] = SeedNoise(self.plan.specs.noise, self.values(table_id).values(), self._chains())
        return self._noise[table_id]

    def claims_of_paper(self, table_id: str) -> tuple[Claim, ...]:
        """The claims judged on the paper's numbers alone; nothing is read from the store."""
        return self._claims(self.plan.specs.table(table_id), None)

    def _cell(self, spec: TableSpec, cell: CellPlan, values: dict[CellRef, CellValue]) -> Cell:
        column = _column(spec, cell.column)
        value = values.get(cell.ref)
        if value is not None:
            specs, noise = self.plan.specs, self.noise(spec.table.id)
            return finished(spec.table, column, cell, value, specs.scale, noise, specs.runs.paper.device)
        row = _row(spec, cell)
        chain = self.plan.graph.needed_for(cell.keys).jobs if cell.keys else {}
        states = {key: self._state(key) for key in chain}
        why = {
            key: self._why(key, state)
            for key, state in states.items()
            if state in ("failed", "running") or key in self.elsewhere
        }
        why |= {key: self.store.damage[key] for key in chain if key in self.store.damage}
        return unfinished(outline(cell), row, states, why)

    def _claims(self, spec: TableSpec, values: Mapping[CellRef, CellValue] | None) -> tuple[Claim, ...]:
        """Each judged on ``values``, and on the paper's numbers; on these alone without any."""
        chains = self._chains()
        paper_noise = SeedNoise(self.plan.specs.runs.paper.noise, (), chains)
        noise = SeedNoise(self.plan.specs.noise, (), chains) if values is None else self.noise(spec.table.id)
        printed = self._printed(spec)
        claims = [self._claim(spec, claim, printed, values or {}, noise, paper_noise) for claim in spec.claims]
        known = [claim.p for claim in claims if claim.p is not None]
        corrected = iter(holm(known))
        return tuple(claim if claim.p is None else replace(claim, p_holm=next(corrected)) for claim in claims)

    def _claim(
        self,
        spec: TableSpec,
        claim: ClaimSpec,
        printed: Mapping[CellRef, CellValue],
        values: Mapping[CellRef, CellValue],
        noise: SeedNoise,
        paper_noise: SeedNoise,
    ) -> Claim:
        compared = {side for both in pairs(spec, claim) for side in both if isinstance(side, CellRef)}
        columns = {ref.column for ref in compared if not ref.is_reference}
        decimals = max((spec.table.places(_column(spec, name)) for name in columns), default=spec.table.decimals)
        planned = {cell.ref: cell for cell in self.plan.cells[spec.table.id] if cell.ref in compared}
        rates = any(map(_is_rate, planned.values()))
        judged = judge(spec, claim, printed, values, noise, paper_noise, decimals, rates, len(self.plan.seeds))
        if all(cell.read is not None for cell in planned.values()):
            return judged
        return replace(judged, possible=False, reason="rests on a number that nothing here makes")

    def _printed(self, spec: TableSpec) -> dict[CellRef, CellValue]:
        """The paper's numbers: of what is trained, each is one training, and rounded.

        Trainings that nothing here repeats are networks of their own, of which no noise is stated.
        """
        printed = {}
        for cell in self.plan.cells[spec.table.id]:
            number = cell.paper.number if cell.paper else None
            if number is None:
                continue
            column = _column(spec, cell.column)
            metric, design, networks = self._behind(spec, cell)
            error = printed_error(spec.table.places(column)).standard
            printed[cell.ref] = CellValue(
                {0: exact(number)},
                None,
                1,
                {0: networks},
                errors={0: None if metric is not None and metric.timed else error},
                design=design,
                reading=reading_of(cell, cell.read) if cell.read else (),
            )
        return printed

    def _behind(self, spec: TableSpec, cell: CellPlan) -> tuple[metrics.Metric | None, Design | None, tuple[str, ...]]:
        """What is read for ``cell``, its design, and the trainings behind it."""
        if cell.read is not None:
            others = cell.others or cell.jobs
            networks = networks_of(cell.read, cell.jobs[0], others[0]) if cell.jobs else ()
            return metrics.find(cell.read.metric), Design.of(cell.read, self.plan), networks
        row = _row(spec, cell)
        name = (row.metric if row else None) or _column(spec, cell.column).metric or spec.table.metric
        metric = metrics.find(name) if name else None
        if metric is not None and not metric.trained:
            return metric, None, ()
        return metric, Design.of_others(name or ""), (str(cell.ref),)

    def _chains(self) -> Mapping[str, str]:
        """By training: the first of those that start from each other, if it starts from another."""
        if self._roots is None:
            self._roots = {}
            for job in self.plan.graph:
                if job.trains and "init" in job.inputs:
                    start = job.inputs["init"]
                    self._roots[job.key] = self._roots.get(start, start)
        return self._roots

    def _rates(self, planned: list[CellPlan], values: Mapping[CellRef, CellValue]) -> Iterator[Note]:
        """What images/s are where networks are measured beside one other, and which of them are unsteady."""
        how = self.plan.specs.scale.measure
        rates = [cell for cell in planned if _is_rate(cell)]
        if how.reference is None or not rates:
            return
        unit = f"{how.reference}-{how.reference_resolution}"
        columns = tuple(dict.fromkeys(cell.column for cell in rates if not cell.ref.is_reference))
        text = f"Images/s: the ratio to {unit}, measured in the same process, times the rate of {unit} by itself."
        yield Note("", text, columns=columns)
        unsteady = [cell.ref for cell in rates if cell.ref in values and not values[cell.ref].steady]
        if unsteady:
            yield Note("", UNSTEADY, cells=tuple(unsteady))

    def _uncommitted(self, planned: list[CellPlan], values: Mapping[CellRef, CellValue]) -> Iterator[Note]:
        """A note on the numbers that code or specs made which no commit holds: nobody could make them again.

        Values out of recipes rest on no job.
        """
        there = [cell for cell in planned if cell.keys and cell.ref in values]
        for text in (UNCOMMITTED, PERHAPS):
            marked = [cell.ref for cell in there if any(self._said_of(key) == text for key in self._chain(cell))]
            if marked:
                yield Note("", text, cells=() if len(marked) == len(there) else tuple(marked))

    def _made(self, planned: list[CellPlan], values: Mapping[CellRef, CellValue]) -> list[Provenance]:
        """Provenance of every result behind the numbers that are there."""
        keys = {key for cell in planned if cell.ref in values for key in self._chain(cell)}
        return [result.made for key in sorted(keys) if (result := self.store.result(key)) is not None]

    def _chain(self, cell: CellPlan) -> Iterable[str]:
        return self.plan.graph.needed_for(cell.keys).jobs

    def _said_of(self, key: str) -> str:
        """What is noted of the code of the result of ``key``; nothing where it was committed."""
        if key not in self._changes:
            result = self.store.result(key)
            made = result.made if result else None
            self._changes[key] = (UNCOMMITTED if made.dirty else PERHAPS) if made and made.unclean else ""
        return self._changes[key]

    def _state(self, key: str) -> State:
        if key in self.elsewhere:
            return self.elsewhere[key][0]
        if key not in self._states:
            state = self.store.state(key)
            self._states[key] = state if state in ("done", "running", "failed") else "pending"
        return self._states[key]

    def _why(self, key: str, state: State) -> str:
        if key in self.elsewhere:
            return f"{key}: {self.elsewhere[key][1]}"
        if state == "running":
            return f"{key} is running"
        return f"{key} failed: {self.store.trouble(key)}"

    def _digest(self, spec: TableSpec, planned: list[CellPlan]) -> str:
        """Changes when the spec or any result behind the table does; not with dates, machines or versions."""
        results = {key: self.store.result(key) for cell in planned for key in cell.keys}
        body = {
            "spec": spec.model_dump(mode="json"),
            "results": {key: dict(result.files) if result else None for key, result in results.items()},
        }
        return sha256(canonical(body)).hexdigest()[:16]


def _by_chance(cells: Iterable[Cell]) -> Iterator[Note]:
    """How many of the numbers that were trained here would differ from the paper's although nothing is different."""
    compared = [
        cell for cell in cells if cell.origin == "trained here" and cell.difference_shown and cell.half is not None
    ]
    if compared:
        differ = sum(cell.verdict == "differs" for cell in compared)
        chance = f"{0.05 * len(compared):.1f} would by chance if every recipe were the paper's (5 %)"
        yield Note("", f"Of {plural(len(compared), 'number')} trained here and compared, {differ} differ; {chance}.")


def _is_rate(cell: CellPlan) -> bool:
    return cell.read is not None and metrics.find(cell.read.metric).rate


def _lettered(notes: Sequence[Note]) -> tuple[Note, ...]:
    """With a letter for those that stand at a row, a column or a cell."""
    letters = iter(ascii_lowercase)
    return tuple(
        replace(note, mark=next(letters)) if note.rows or note.columns or note.cells else note for note in notes
    )


def _row(spec: TableSpec, cell: CellPlan) -> RowSpec | ReferenceSpec | None:
    """The row of a cell, or the reference that it is."""
    of, key = (spec.references, cell.column) if cell.ref.is_reference else (spec.rows, cell.row)
    return next((entry for entry in of if entry.key == key), None)


def _column(spec: TableSpec, key: str) -> ColumnSpec:
    """The column of a cell; a reference has none and is printed as the table is."""
    return next((column for column in spec.table.columns if column.key == key), ColumnSpec(key=key, header=""))


def _words(spec: TableSpec) -> dict[CellRef, Cell]:
    return {
        (ref := CellRef(spec.table.id, row.key, column.key)): Cell(ref, "text", row.text.get(column.key, ""))
        for row in spec.rows
        for column in spec.table.columns
        if column.text
    }


def _with_bold(spec: TableSpec, cells: dict[CellRef, Cell]) -> dict[CellRef, Cell]:
    """Decided on what is printed: 83.34 and 83.26 both print 83.3, so both are bold."""
    for column in spec.table.columns:
        which = column.bold or spec.table.bold
        if column.text or which == "none":
            continue
        best = max if which == "max" else min
        refs = [CellRef(spec.table.id, row.key, column.key) for row in spec.rows]
        # Before every row that can have a number has it, nothing is the best.
        open_yet = any(cells[ref].state in ("pending", "running", "failed") for ref in refs)
        ours = [] if open_yet else [float(cells[ref].shown) for ref in refs if cells[ref].value is not None]
        printed = {ref: paper.number for ref in refs if (paper := cells[ref].paper) and paper.number is not None}
        for ref in refs:
            cell = cells[ref]
            cells[ref] = replace(
                cell,
                bold=bool(ours) and cell.value is not None and float(cell.shown) == best(ours),
                paper_bold=ref in printed and printed[ref] == best(printed.values()),
            )
    return cells
