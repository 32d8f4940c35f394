"""All cells, claims and jobs as one night found them, kept with a checksum and compared with the next night."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from hashlib import sha256
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from replicate import metrics
from replicate.jobs.job import Job
from replicate.jobs.key import canonical
from replicate.judge.table import Cell, Table
from replicate.plan.cells import CellPlan, Plan
from replicate.store.files import parsed
from replicate.store.store import Store

SCHEMA = 1
RECORDED = ("code_digest", "commit", "dirty", "python", "packages", "processor", "machine")
"""Of the provenance of a result."""


class Record(BaseModel):
    """A part of a snapshot. Fields that are not set are not written; those of later versions are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _exact(value: str) -> str:
    try:
        Fraction(value)
    except ZeroDivisionError as error:
        raise ValueError("a fraction of nothing") from error
    return value


Exact = Annotated[str, AfterValidator(_exact)]
"""A number that loses nothing: ``1351/20``."""


class JobRecord(Record):
    """``files``: digest of the files of its result, ``made``: its provenance; None without a result."""

    kind: str
    run: str
    seed: int | None
    state: str
    inputs: tuple[str, ...] = ()
    files: str | None = None
    made: Mapping[str, object] | None = None


class EarlierValue(Record):
    """The value of a cell before its jobs were begun anew. ``behind``: the jobs that it rested on."""

    shown: str
    value: Exact | None
    jobs: tuple[str, ...]
    behind: dict[str, JobRecord]


class CellRecord(Record):
    """``value``: an exact fraction. ``allowed``: by how much it may move. ``reason``: why its jobs failed."""

    state: str
    shown: str = ""
    value: Exact | None = None
    allowed: float = 0.0
    jobs: tuple[str, ...] = ()
    reason: str = ""
    last: EarlierValue | None = None
    """Of a number that is being made anew: to be compared when the new one comes."""


class ClaimRecord(Record):
    verdict: str
    margin: str
    error: str


class TableRecord(Record):
    """``cells`` by ``row/column``, ``claims`` by their text."""

    number: int | None = None
    unit: str = ""
    cells: dict[str, CellRecord] = {}
    claims: dict[str, ClaimRecord] = {}


class Snapshot(Record):
    """One night. ``made``: provenance of the night itself. ``owed``: trainings that a later night goes on with."""

    version: int = Field(alias="schema")
    when: str
    scale: str
    seeds: tuple[int, ...]
    made: Mapping[str, object]
    tables: dict[str, TableRecord]
    jobs: dict[str, JobRecord]
    owed: tuple[str, ...]
    values: str
    """A checksum of the tables alone: equal nights have it equal."""

    def text(self) -> str:
        """The file that is kept of it."""
        body = _dumped(self)
        return json.dumps(body | {"digest": _digest(body)}, indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for a damaged file."""
        body = parsed(text)
        if not isinstance(body, dict) or body.pop("digest", None) != _digest(body):
            raise ValueError("the checksum does not match the snapshot")
        return cls.model_validate(body)


def _dumped(record: Record) -> dict[str, object]:
    return record.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _digest(body: Mapping[str, object]) -> str:
    return sha256(canonical(body)).hexdigest()


def snapshot(
    plan: Plan,
    jobs: Mapping[str, JobRecord],
    tables: Sequence[Table],
    made: Mapping[str, object],
    unfinished: Sequence[str],
    when: str,
    before: Snapshot | None,
) -> Snapshot:
    """What there is tonight. ``unfinished``: trainings; ``before``: the last night, see `Snapshot`.

    A table of the plan that is not among ``tables``, as it could not be judged, stays as it was.
    """
    earlier = before.tables if before else {}
    records = {name: earlier[name] for name in plan.cells if name in earlier}
    records |= {table.id: _table(plan, table, before) for table in tables}
    return Snapshot(
        schema=SCHEMA,
        when=when,
        scale=plan.specs.namespace,
        seeds=plan.seeds,
        made=made,
        tables=records,
        jobs=dict(jobs),
        owed=tuple(sorted(unfinished)),
        values=_digest({name: _dumped(table) for name, table in records.items()}),
    )


def job_record(job: Job, state: str, store: Store) -> JobRecord:
    inputs = tuple(sorted(job.inputs.values()))
    record = JobRecord(kind=job.kind, run=job.run, seed=job.seed, state=state, inputs=inputs)
    result = store.result(job.key)
    if result is None:
        return record
    recorded = {name: result.provenance.get(name) for name in RECORDED}
    return record.model_copy(update={"files": _digest(result.files), "made": recorded})


def behind(keys: Sequence[str], jobs: Mapping[str, JobRecord]) -> list[str]:
    """The jobs that ``keys`` rest on, themselves included, inputs first. Only those that ``jobs`` has."""
    order: dict[str, None] = {}

    def visit(key: str) -> None:
        if key in jobs and key not in order:
            for upstream in jobs[key].inputs:
                visit(upstream)
            order[key] = None

    for key in keys:
        visit(key)
    return list(order)


def _table(plan: Plan, table: Table, before: Snapshot | None) -> TableRecord:
    planned = {cell.ref: cell for cell in plan.cells[table.id]}
    tolerances = plan.specs.table(table.id).table.tolerance
    cells = {}
    for ref, cell in table.cells.items():
        if cell.state in ("text", "paper-only"):
            continue
        record = _cell(cell, planned.get(ref), tolerances.get(cell.column, tolerances.get("default", 0.0)))
        earlier = _earlier(before, table.id, ref.within) if before and cell.state != "done" else None
        cells[ref.within] = record.model_copy(update={"last": earlier}) if earlier else record
    claims = {
        claim.text: ClaimRecord(verdict=claim.verdict, margin=claim.margin_shown, error=claim.error_shown)
        for claim in table.claims
        if claim.possible
    }
    return TableRecord(number=table.number, unit=table.unit, cells=cells, claims=claims)


def _earlier(before: Snapshot, table_id: str, place: str) -> EarlierValue | None:
    """The value that the cell last had."""
    was = before.tables[table_id].cells.get(place) if table_id in before.tables else None
    if was is None or was.state != "done":
        return was.last if was else None
    jobs = {key: before.jobs[key] for key in behind(was.jobs, before.jobs)}
    return EarlierValue(shown=was.shown, value=was.value, jobs=was.jobs, behind=jobs)


def _cell(cell: Cell, planned: CellPlan | None, tolerance: float) -> CellRecord:
    return CellRecord(
        state=cell.state,
        shown=cell.shown,
        value=None if cell.value is None else str(cell.value),
        allowed=_allowed(cell.value, planned, tolerance),
        jobs=cell.jobs,
        # Why a number is missing, but not how far it is: that would differ every night.
        reason=cell.reason if cell.state == "failed" else "",
    )


def _allowed(value: Fraction | None, planned: CellPlan | None, tolerance: float) -> float:
    """By how much the number may move, in its table's unit: its tolerance, or nothing where it is an exact fact."""
    if planned is None or planned.read is None or value is None:
        return 0.0
    allowed = metrics.find(planned.read.metric).may_move
    return float(tolerance) if allowed == "tolerance" else allowed * abs(float(value))
