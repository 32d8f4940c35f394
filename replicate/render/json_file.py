"""A table as JSON: everything that is known about each cell and claim, for other programs."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from replicate.judge.table import Cell, Claim, Column, Comparison, Note, Row, SeedValue, Table
from replicate.render import wording
from replicate.text import Printed

SCHEMA = 1
"""Raised when a field is renamed or removed; new fields do not raise it."""


def render(table: Table) -> str:
    document = {
        "schema": SCHEMA,
        "id": table.id,
        "number": table.number,
        "caption": table.caption,
        "source": table.source,
        "scale": table.scale,
        "banner": table.banner,
        "comparable": table.comparable,
        "seeds": list(table.seeds),
        "spec": table.spec,
        "digest": table.digest,
        "commits": list(table.commits),
        "processors": list(table.processors),
        "uncommitted": table.uncommitted,
        "metric": table.metric,
        "unit": table.unit,
        "columns": [_column(column) for column in table.columns],
        "rows": [_row(row) for row in table.rows],
        "cells": [_cell(table, table.cell(row.key, column.key)) for row in table.rows for column in table.columns],
        "references": [
            {"key": reference.key, "label": reference.label} | _cell(table, table.reference(reference.key))
            for reference in table.references
        ],
        "claims": [_claim(claim) for claim in table.claims],
        "notes": [_note(note) for note in table.notes],
    }
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _exact(value: Fraction | None) -> dict[str, Any]:
    """A float for reading, and the fraction it stands for: a float cannot hold most percentages."""
    return {
        "value": None if value is None else float(value),
        "exact": None if value is None else str(value),
    }


def _column(column: Column) -> dict[str, Any]:
    return {"key": column.key, "header": column.header, "group": column.group, "text": column.text}


def _row(row: Row) -> dict[str, Any]:
    return {"key": row.key, "label": row.label, "group": row.group, "rule": row.rule}


def _seed(seed: SeedValue) -> dict[str, Any]:
    return {
        "seed": seed.seed,
        **_exact(seed.value),
        "correct": seed.correct,
        "images": seed.images,
        "jobs": list(seed.jobs),
    }


def _cell(table: Table, cell: Cell) -> dict[str, Any]:
    only = cell.seeds[0] if len(cell.seeds) == 1 else None
    return {
        "row": cell.row,
        "column": cell.column,
        "state": cell.state,
        "shown": cell.shown,
        **_exact(cell.value),
        "correct": only.correct if only else None,
        "images": only.images if only else None,
        "seeds": [_seed(seed) for seed in cell.seeds],
        "error": cell.error,
        "spread": cell.spread,
        "bold": cell.bold,
        "paper": cell.paper.number if cell.paper else None,
        "paper_printed": cell.paper.text if cell.paper else None,
        "paper_source": cell.paper_source,
        "difference": Printed(cell.difference_shown).number,
        "tolerance": cell.tolerance,
        "origin": cell.origin,
        "verdict": wording.verdict(table, cell),
        "reason": cell.reason,
        "jobs": list(cell.jobs),
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "left": str(comparison.left),
        "right": str(comparison.right),
        "margin": comparison.margin,
        "error": comparison.error,
        "paper_margin": comparison.paper_margin,
        "verdict": comparison.verdict,
    }


def _claim(claim: Claim) -> dict[str, Any]:
    return {
        "text": claim.text,
        "relation": claim.relation,
        "within": claim.within,
        "see": claim.see,
        "verdict": claim.verdict,
        "reversed": claim.reversed,
        "paper_verdict": claim.paper_verdict,
        "margin": claim.margin,
        "error": claim.error,
        "margin_shown": claim.margin_shown,
        "error_shown": claim.error_shown,
        "paper_margin_shown": claim.paper_margin_shown,
        "reason": claim.reason,
        "half_width": claim.half,
        "note": claim.note,
        "comparisons": [_comparison(comparison) for comparison in claim.comparisons],
    }


def _note(note: Note) -> dict[str, Any]:
    return {
        "mark": note.mark,
        "text": note.text,
        "see": note.see,
        "rows": list(note.rows),
        "columns": list(note.columns),
        "cells": [{"row": ref.row, "column": ref.column} for ref in note.cells],
    }
