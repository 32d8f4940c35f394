"""The page of a table: the paper's layout with our numbers, each leading to its evidence, and all of them as a list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from replicate.judge.table import Cell, Column, Table
from replicate.render import layout, wording
from replicate.render.overview import line
from replicate.site.book import Book
from replicate.specs.cell import Side
from replicate.text import Printed

MARK_CLASSES: Mapping[str, str] = {"✓": "good", "✗": "bad", "?": "open", "○": "open"}


@dataclass(frozen=True, slots=True)
class GridCell:
    """A cell of the paper's layout. ``href`` is empty for words; ``said`` is read out and shown on hovering."""

    text: str
    bold: bool = False
    href: str = ""
    words: bool = False
    edge: bool = False
    state: str = ""
    error: str = ""
    paper: str = ""
    difference: str = ""
    mark: str = ""
    mark_class: str = ""
    said: str = ""
    marks: str = ""


@dataclass(frozen=True, slots=True)
class Number:
    """A cell as a line of the list. ``order`` is what it is sorted by."""

    anchor: str
    row: str
    column: str
    here: str
    order: str
    error: str
    paper: str
    difference: str
    verdict: str
    mark_class: str
    origin: str
    counts: tuple[str, ...]
    reason: str
    source: str
    href: str
    jobs: tuple[tuple[str, str], ...]


def context(book: Book, table: Table) -> dict[str, Any]:
    """What the template of a table's page is given."""
    shared = shared_reason(table)
    edges = {span.first for span in layout.column_spans(table.columns) if span.text and span.first}
    spans = layout.column_spans(table.columns)
    starts = {span.first: span for span in layout.row_spans(table.rows)}
    rows = [
        {
            "row": row,
            "group": starts.get(index),
            "marks": layout.row_marks(table, row),
            "cells": [
                _grid(book, table, table.cell(row.key, column.key), column, place in edges)
                for place, column in enumerate(table.columns)
            ],
        }
        for index, row in enumerate(table.rows)
    ]
    return {
        "table": table,
        "line": line(table),
        "heads": [
            {"column": column, "marks": layout.column_marks(table, column), "edge": place in edges}
            for place, column in enumerate(table.columns)
        ],
        "spans": [{"span": span, "edge": span.first in edges} for span in spans],
        "spanned": any(span.text for span in spans),
        "grouped": any(row.group for row in table.rows),
        "rows": rows,
        "numbers": numbers(book, table, shared),
        "shared": shared,
        "legend": wording.legend_line(table, "compare"),
        "claims": [claim(book, table, index) for index in range(len(table.claims))],
        "tolerance": _tolerance(book, table),
    }


def shared_reason(table: Table) -> str:
    """What is said of every number that is there: it is said once, below the table."""
    reasons = [cell.reason for cell in table.cells.values() if cell.state == "done"]
    return reasons[0] if len(reasons) > 1 and len(set(reasons)) == 1 else ""


def numbers(book: Book, table: Table, shared: str = "") -> list[Number]:
    """Every number of ``table``, its references last, without the reason that is ``shared`` by all."""
    found = [
        _number(book, table, table.cell(row.key, column.key), row.label, column.header, shared)
        for row in table.rows
        for column in table.columns
        if not column.text
    ]
    return found + [
        _number(book, table, table.reference(reference.key), reference.label, "reference", shared)
        for reference in table.references
    ]


def claim(book: Book, table: Table, index: int) -> dict[str, Any]:
    """A claim with the paper's side and ours, and the comparisons it is made of."""
    found = table.claims[index]
    mark = wording.CLAIM_MARKS[found.verdict]
    return {
        "claim": found,
        "table": table,
        "anchor": f"claim-{index + 1}",
        "paper": wording.claim_paper(found),
        "here": wording.claim_here(found),
        "margin": wording.claim_margin(found),
        "mark": mark,
        "mark_class": MARK_CLASSES[mark],
        "order": "" if found.margin is None else f"{found.margin:.6g}",
        "differs": "not run" not in (found.verdict, found.paper_verdict) and found.verdict != found.paper_verdict,
        "comparisons": [
            {
                "left": _side(table, comparison.left),
                "right": _side(table, comparison.right),
                "paper": _margin(comparison.paper_margin),
                "here": _margin(comparison.margin),
                "error": "" if comparison.error is None else f"{comparison.error:.2f}",
                "verdict": comparison.verdict,
            }
            for comparison in found.comparisons
        ],
    }


def _grid(book: Book, table: Table, cell: Cell, column: Column, edge: bool) -> GridCell:
    if column.text:
        return GridCell(layout.face(cell), words=True, edge=edge)
    if cell.state == "text":
        return GridCell(layout.face(cell), edge=edge, said=cell.reason)
    mark = wording.verdict_mark(table, cell)
    return GridCell(
        text=layout.face(cell) + wording.origin_mark(table, cell),
        marks=layout.cell_marks(table, cell),
        bold=layout.is_bold(cell),
        href=book.evidence(cell),
        edge=edge,
        state=cell.state if cell.state != "done" else "",
        error=cell.error_shown if cell.shown else "",
        paper="" if cell.state == "paper-only" or not cell.paper_shown else cell.paper_shown + wording.dagger(table),
        difference=cell.difference_shown,
        mark=mark,
        mark_class=MARK_CLASSES.get(mark, ""),
        said=" · ".join(_facts(table, cell)),
    )


def _facts(table: Table, cell: Cell) -> list[str]:
    facts = [*_counts(cell), cell.origin, wording.verdict(table, cell), cell.reason]
    return list(dict.fromkeys(fact for fact in facts if fact))


def _counts(cell: Cell) -> list[str]:
    return [
        wording.of_seed(s, f"{s.correct:,} of {s.images:,}") for s in cell.seeds if s.correct is not None and s.images
    ]


def _number(book: Book, table: Table, cell: Cell, row: str, column: str, shared: str) -> Number:
    verdict = wording.verdict(table, cell)
    return Number(
        anchor=cell.ref.within,
        row=row,
        column=column,
        here=layout.face(cell),
        order="" if cell.value is None else f"{float(cell.value):.9g}",
        error=cell.error_shown,
        paper=cell.paper_shown,
        difference=cell.difference_shown,
        verdict=verdict if cell.state != "text" else "",
        mark_class=MARK_CLASSES.get(wording.verdict_mark(table, cell), ""),
        origin=cell.origin,
        counts=tuple(_counts(cell)),
        reason=cell.reason if cell.reason != shared else "",
        source=cell.paper_source if cell.paper else "",
        href=book.evidence(cell),
        jobs=tuple((key, book.addresses.job(key)) for key in cell.jobs),
    )


def _side(table: Table, side: Side) -> str:
    """A side of a comparison in the words of the table: ``DeiT hard distillation, B 224``, or a plain number."""
    if isinstance(side, Printed):
        return side.text
    if side.is_reference:
        return next(reference.label for reference in table.references if reference.key == side.column)
    row = next(row.label for row in table.rows if row.key == side.row)
    return f"{row}, {next(column.header for column in table.columns if column.key == side.column)}"


def _margin(margin: float | None) -> str:
    return "" if margin is None else f"{margin:+.2f}".replace("-", "−")


def _tolerance(book: Book, table: Table) -> str:
    head = book.plan.specs.table(table.id).table
    allowed = ", ".join(f"{name} ±{value:g}" for name, value in head.tolerance.items())
    again = {cell.tolerance for cell in table.cells.values() if cell.origin == "released weights"}
    again -= {"", *(f"±{value:g}" for value in head.tolerance.values())}
    of_released = f" Of released weights {', '.join(sorted(again))}: no training lies between." if again else ""
    return f"{allowed}. {head.tolerance_reason}{of_released}"
