"""All cells, claims and jobs as one night found them: plain data with a checksum, to be compared with the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from hashlib import sha256
from typing import Any

from replicate import metrics
from replicate.jobs.key import canonical
from replicate.judge.table import Cell, Table
from replicate.nightly.history import digest_of
from replicate.plan.cells import CellPlan, Plan
from replicate.plan.graph import Graph
from replicate.store.store import Store

SCHEMA = 1


def snapshot(
    plan: Plan,
    graph: Graph,
    tables: Sequence[Table],
    store: Store,
    states: Mapping[str, str],
    made: Mapping[str, Any],
    owed: Iterable[str],
    when: str,
    before: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What there is tonight. ``states`` are of all jobs of ``graph``; ``owed`` trainings a later night goes on with.

    made: provenance of this night itself. ``values`` is a checksum of the numbers alone: equal nights have it equal.
    before: the last night. A number that is being made anew is kept from it, to be compared when the new one comes.
    """
    found = {table.id: _table(plan, table) for table in tables}
    if before is not None:
        _remember(found, before)
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "when": when,
        "scale": plan.specs.namespace,
        "seeds": list(plan.seeds),
        "made": dict(made),
        "tables": found,
        "jobs": {job.key: _job(store, job.key, states, job.kind, job.run, job.seed, job.inputs) for job in graph},
        "owed": sorted(owed),
        "values": sha256(canonical(found)).hexdigest(),
    }
    return body | {"digest": digest_of(body)}


def _remember(tables: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    for name, table in tables.items():
        earlier = before["tables"].get(name, {}).get("cells", {})
        for place, cell in table["cells"].items():
            was = earlier.get(place)
            if cell["state"] == "done" or was is None:
                continue
            if was["state"] == "done":
                jobs = {key: before["jobs"][key] for key in behind(was["jobs"], before["jobs"])}
                cell["last"] = {"shown": was["shown"], "value": was["value"], "jobs": was["jobs"], "behind": jobs}
            elif "last" in was:
                cell["last"] = was["last"]


def behind(keys: Sequence[str], jobs: Mapping[str, Any]) -> list[str]:
    """The jobs that ``keys`` rest on, themselves included, inputs first. Only those that ``jobs`` has."""
    found: dict[str, None] = {}

    def visit(key: str) -> None:
        if key in jobs and key not in found:
            for upstream in jobs[key]["inputs"]:
                visit(upstream)
            found[key] = None

    for key in keys:
        visit(key)
    return list(found)


def _table(plan: Plan, table: Table) -> dict[str, Any]:
    planned = {cell.ref: cell for cell in plan.cells[table.id]}
    tolerances = plan.specs.table(table.id).table.tolerance
    cells = {}
    for ref, cell in table.cells.items():
        if cell.state in ("text", "paper-only"):
            continue
        tolerance = tolerances.get(cell.column, tolerances.get("default", 0.0))
        cells[ref.within] = _cell(cell, planned.get(ref), tolerance)
    claims = {
        claim.text: {"verdict": claim.verdict, "margin": claim.margin_shown, "error": claim.error_shown}
        for claim in table.claims
        if claim.possible
    }
    return {"number": table.number, "unit": table.unit, "cells": cells, "claims": claims}


def _cell(cell: Cell, planned: CellPlan | None, tolerance: float) -> dict[str, Any]:
    return {
        "state": cell.state,
        "shown": cell.shown,
        "value": None if cell.value is None else str(cell.value),
        "allowed": _allowed(cell.value, planned, tolerance),
        "jobs": list(cell.jobs),
        # Why a number is missing, but not how far it is: that would differ every night.
        "reason": cell.reason if cell.state == "failed" else "",
    }


def _allowed(value: Fraction | None, planned: CellPlan | None, tolerance: float) -> float:
    """By how much the number may move, in its table's unit: its tolerance, or nothing where it is an exact fact."""
    if planned is None or planned.read is None or value is None:
        return 0.0
    allowed = metrics.find(planned.read.metric).may_move
    return float(tolerance) if allowed == "tolerance" else allowed * abs(float(value))


def _job(
    store: Store,
    key: str,
    states: Mapping[str, str],
    kind: str,
    run: str,
    seed: int | None,
    inputs: Mapping[str, str],
) -> dict[str, Any]:
    result = store.result(key)
    entry = {"kind": kind, "run": run, "seed": seed, "state": states[key], "inputs": sorted(inputs.values())}
    if result is None:
        return entry
    made = {name: result.provenance.get(name) for name in ("commit", "dirty", "python", "packages", "processor")}
    return entry | {"files": sha256(canonical(dict(result.files))).hexdigest(), "made": made}
