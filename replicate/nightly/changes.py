"""Two nights side by side: which numbers moved, by how much, and what was changed between their makings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from replicate.nightly.snapshot import behind
from replicate.store.provenance import differences

Cells = Mapping[str, Any]
"""What `replicate.nightly.snapshot.snapshot` gives."""

NONE: Cells = {"state": "none", "shown": "", "value": None, "reason": "", "jobs": []}
"""A cell that a night did not have."""

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

    since: str
    same_values: bool
    changes: tuple[Change, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    """Jobs that failed tonight -> ``new``, or ``since an earlier night``."""

    @property
    def beyond(self) -> bool:
        return any(change.kind in ("moved", "vanished", "claim") for change in self.changes)

    def of(self, *kinds: Kind) -> list[Change]:
        return [change for change in self.changes if change.kind in kinds]


def changes(before: Cells | None, after: Cells) -> Changes:
    """What is different in ``after``. Without ``before`` (the first night) nothing is."""
    failed = {key for key, job in after["jobs"].items() if job["state"] == "failed"}
    if before is None:
        return Changes("", False, (), dict.fromkeys(sorted(failed), "new"))
    known = {key for key, job in before["jobs"].items() if job["state"] == "failed"}
    found = []
    for table in dict.fromkeys([*before["tables"], *after["tables"]]):
        old, new = before["tables"].get(table, {}), after["tables"].get(table, {})
        found += list(_cells(table, old.get("cells", {}), new.get("cells", {}), before, after))
        found += list(_claims(table, old.get("claims", {}), new.get("claims", {})))
    return Changes(
        since=before["when"],
        same_values=before["values"] == after["values"],
        changes=tuple(found),
        failed={key: "since an earlier night" if key in known else "new" for key in sorted(failed)},
    )


def _cells(table: str, old: Cells, new: Cells, before: Cells, after: Cells) -> Iterator[Change]:
    for place in dict.fromkeys([*old, *new]):
        was, now = old.get(place, NONE), new.get(place, NONE)
        had, has = was["state"] == "done", now["state"] == "done"
        if now["state"] == "failed" and was["state"] != "failed":
            yield Change(table, place, "failed", was["shown"], "", reason=now["reason"])
        elif had and not has:
            gone = "no cell of the table any more" if now is NONE else now["reason"] or "its jobs have not run"
            yield Change(table, place, "vanished", was["shown"], "", reason=gone)
        elif has and not had and "last" not in was:
            yield Change(table, place, "new", "", now["shown"])
        elif has:
            # A number that was made anew over several nights is compared with the one before them.
            past, jobs = (was, before["jobs"]) if had else (was["last"], was["last"]["behind"])
            if (past["shown"], past["value"]) != (now["shown"], now["value"]):
                yield _moved(table, place, past, now, jobs, after["jobs"])


def _moved(table: str, place: str, was: Cells, now: Cells, before: Cells, after: Cells) -> Change:
    causes = tuple(_causes(was, now, before, after))
    if was["value"] is None or now["value"] is None:
        # Words, such as an ingredient of a recipe: they agree or they do not.
        return Change(table, place, "moved", was["shown"], now["shown"], causes=causes)
    difference = float(Fraction(now["value"]) - Fraction(was["value"]))
    kind: Kind = "moved" if abs(difference) > now["allowed"] + 1e-9 else "within"
    return Change(table, place, kind, was["shown"], now["shown"], difference, now["allowed"], causes)


def _causes(was: Cells, now: Cells, before: Cells, after: Cells) -> Iterator[Cause]:
    """Every job behind the number that is not the one it was, inputs first."""
    earlier = {_role(before[key]): key for key in behind(was["jobs"], before)}
    for key in behind(now["jobs"], after):
        job = after[key]
        old = key if key in before else earlier.get(_role(job), "")
        past = before.get(old, {})
        if old == key and past.get("files") == job.get("files"):
            continue
        made, remade = past.get("made") or {}, job.get("made") or {}
        what = [] if old == key else ["another key: its recipe, evaluation or an input changed"]
        commits = (str(made.get("commit")), str(remade.get("commit")))
        yield Cause(key, old if old != key else "", (*what, *differences(made, remade, machine=True)), commits)


def _role(job: Cells) -> tuple[Any, ...]:
    return job["kind"], job["run"], job["seed"]


def _claims(table: str, old: Cells, new: Cells) -> Iterator[Change]:
    for text in old:
        was, now = old[text]["verdict"], new.get(text, {}).get("verdict")
        if now is None or was == now or was == "not run":
            continue
        reason = f"margin {old[text]['margin'] or 'unknown'} → {new[text]['margin'] or 'unknown'}"
        yield Change(table, text, "claim", was, now, reason=reason)
