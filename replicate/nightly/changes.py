"""Two nights side by side: which numbers moved, by how much, and what was changed between their makings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from replicate.nightly.snapshot import CellRecord, ClaimRecord, EarlierValue, JobRecord, Snapshot, TableRecord, behind
from replicate.store.provenance import Provenance, differences
from replicate.text import plural

NONE = CellRecord(state="none")
"""A cell that a night did not have."""

OPEN = {"undecided", "not decidable"}
"""Verdicts that leave a claim as open as each other: how many seeds it needs follows from the specs."""

Kind = Literal["moved", "within", "new", "vanished", "failed", "claim"]


@dataclass(frozen=True, slots=True)
class Cause:
    """A job behind a number that is another one now. ``before`` is its key then, where that was another."""

    key: str
    before: str
    what: tuple[str, ...]
    commits: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """A cell (``row/column``) or claim of ``table``. ``was``, ``now``: as shown. ``difference``: now minus was.

    kind: ``moved`` is beyond ``allowed`` and ``within`` is not; ``vanished`` was a number and is none;
    ``claim`` is another verdict.
    """

    table: str
    place: str
    kind: Kind
    was: str
    now: str
    difference: float | None = None
    allowed: float | None = None
    causes: tuple[Cause, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """``since``: when the earlier night was, empty where there was none."""

    since: str = ""
    same_values: bool = False
    changes: tuple[Change, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    """Jobs that failed tonight -> ``new``, or ``since an earlier night``."""

    @property
    def beyond(self) -> bool:
        return any(change.kind in ("moved", "vanished", "claim") for change in self.changes)

    def of(self, *kinds: Kind) -> list[Change]:
        return [change for change in self.changes if change.kind in kinds]


def changes(before: Snapshot | None, after: Snapshot) -> Changes:
    """What is different in ``after``. Without ``before`` (the first night) nothing is."""
    failed = _failed(after)
    if before is None:
        return Changes("", False, (), dict.fromkeys(failed, "new"))
    different: list[Change] = []
    for table in dict.fromkeys([*before.tables, *after.tables]):
        old, new = (night.tables.get(table, TableRecord()) for night in (before, after))
        different += _cells(table, old.cells, new.cells, before, after)
        different += _claims(table, old.claims, new.claims)
    earlier = _failed(before)
    return Changes(
        since=before.when,
        same_values=before.values == after.values,
        changes=tuple(different),
        failed={key: "since an earlier night" if key in earlier else "new" for key in failed},
    )


def _failed(night: Snapshot) -> list[str]:
    return sorted(key for key, job in night.jobs.items() if job.state == "failed")


def _cells(
    table: str, old: Mapping[str, CellRecord], new: Mapping[str, CellRecord], before: Snapshot, after: Snapshot
) -> Iterator[Change]:
    for place in dict.fromkeys([*old, *new]):
        was, now = old.get(place, NONE), new.get(place, NONE)
        had, has = was.state == "done", now.state == "done"
        if now.state == "failed" and was.state != "failed":
            yield Change(table, place, "failed", was.shown, "", reason=now.reason)
        elif had and not has:
            gone = "no cell of the table any more" if now is NONE else now.reason or "its jobs have not run"
            yield Change(table, place, "vanished", was.shown, "", reason=gone)
        elif has and not had and was.last is None:
            yield Change(table, place, "new", "", now.shown)
        elif has:
            # A number that was made anew over several nights is compared with the one before them.
            past, jobs = (was, before.jobs) if had or was.last is None else (was.last, was.last.behind)
            if (past.shown, past.value) != (now.shown, now.value):
                yield _moved(table, place, past, now, _causes(past.jobs, now.jobs, jobs, after.jobs))


def _moved(table: str, place: str, was: CellRecord | EarlierValue, now: CellRecord, causes: Iterator[Cause]) -> Change:
    if was.value is None or now.value is None:
        # Words, such as an ingredient of a recipe: they agree or they do not.
        return Change(table, place, "moved", was.shown, now.shown, causes=tuple(causes))
    difference = float(Fraction(now.value) - Fraction(was.value))
    kind: Kind = "moved" if abs(difference) > now.allowed + 1e-9 else "within"
    return Change(table, place, kind, was.shown, now.shown, difference, now.allowed, tuple(causes))


def _causes(
    was: Sequence[str], now: Sequence[str], before: Mapping[str, JobRecord], after: Mapping[str, JobRecord]
) -> Iterator[Cause]:
    """Every job behind a number that is another one now, inputs first. ``was``, ``now``: the jobs it is read from."""
    earlier = {_role(before[key]): key for key in behind(was, before)}
    for key in behind(now, after):
        job = after[key]
        old = key if key in before else earlier.get(_role(job), "")
        past = before.get(old)
        if past is not None and old == key and past.files == job.files:
            continue
        made, remade = (past.made if past else None) or {}, job.made or {}
        what = [] if old == key else ["another key: its recipe, evaluation or an input changed"]
        commits = (Provenance.of(made).commit, Provenance.of(remade).commit)
        yield Cause(key, old if old != key else "", (*what, *differences(made, remade, machine=True)), commits)


def new_devices(before: Mapping[str, JobRecord], after: Mapping[str, JobRecord]) -> list[str]:
    """The devices that results of ``after`` were made on and none of ``before``: ``NVIDIA H100 (3 jobs)``."""
    was, now = (
        Counter(Provenance.of(job.made).device for job in jobs.values() if job.made) for jobs in (before, after)
    )
    return [f"{device} ({plural(now[device], 'job')})" for device in sorted(now) if was and device not in was]


def _role(job: JobRecord) -> tuple[str, str, int | None]:
    return job.kind, job.run, job.seed


def _claims(table: str, old: Mapping[str, ClaimRecord], new: Mapping[str, ClaimRecord]) -> Iterator[Change]:
    for text, was in old.items():
        now = new.get(text)
        if now is None or was.verdict in (now.verdict, "not run") or {was.verdict, now.verdict} <= OPEN:
            continue
        reason = f"margin {was.margin or 'unknown'} → {now.margin or 'unknown'}"
        yield Change(table, text, "claim", was.verdict, now.verdict, reason=reason)
