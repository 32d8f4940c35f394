"""What every format lays out alike: spanners, row groups, footnote marks, what stands in a cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from replicate.judge.table import MARKS, Cell, Column, Row, Table
from replicate.specs.cell import CellRef

Variant = Literal["paper", "compare"]
"""``paper``: the paper's layout with our numbers. ``compare``: ours, the paper's and the difference."""

ABSENT = "–"


@dataclass(frozen=True, slots=True)
class Span:
    """``count`` neighbours from ``first`` that share ``text``; ``text`` may be empty."""

    text: str
    first: int
    count: int


def spans(texts: Iterable[str]) -> list[Span]:
    """Runs of equal neighbours; an empty text never joins another."""
    runs: list[Span] = []
    for index, text in enumerate(texts):
        if text and runs and runs[-1].text == text:
            last = runs.pop()
            runs.append(Span(text, last.first, last.count + 1))
        else:
            runs.append(Span(text, index, 1))
    return runs


def column_spans(columns: Sequence[Column]) -> list[Span]:
    return spans(column.group for column in columns)


def row_spans(rows: Sequence[Row]) -> list[Span]:
    return spans(row.group for row in rows)


def grouped(rows: Sequence[Row]) -> list[tuple[Row, Span | None]]:
    """Each row, the first of a group with the span of the group."""
    starts = {span.first: span for span in row_spans(rows)}
    return [(row, starts.get(index)) for index, row in enumerate(rows)]


def numbers(table: Table) -> list[Cell]:
    """The cells that hold numbers, as the table prints them; references last."""
    columns = [column.key for column in table.columns if not column.text]
    cells = [table.cell(row.key, column) for row in table.rows for column in columns]
    return cells + [table.reference(reference.key) for reference in table.references]


def row_label(table: Table, ref: CellRef) -> str:
    """Return the label of the row of a cell; of a reference, its own label."""
    key, rows = (ref.column, table.references) if ref.is_reference else (ref.row, table.rows)
    return next(row.label for row in rows if row.key == key)


def column_header(table: Table, ref: CellRef) -> str:
    if ref.is_reference:
        return "reference"
    return next(column.header for column in table.columns if column.key == ref.column)


def row_marks(table: Table, row: Row) -> str:
    """The footnote letters of a row label, such as ``a,c``."""
    return ",".join(note.mark for note in table.notes if row.key in note.rows)


def column_marks(table: Table, column: Column) -> str:
    return ",".join(note.mark for note in table.notes if column.key in note.columns)


def cell_marks(table: Table, cell: Cell) -> str:
    return ",".join(note.mark for note in table.notes if cell.ref in note.cells)


def face(cell: Cell) -> str:
    """Return the text of a cell: our value, or the mark of its state, or the paper's value in brackets."""
    match cell.state:
        case "pending" | "running" | "failed":
            return cell.shown or MARKS[cell.state]
        case "paper-only":
            return f"[{cell.paper_shown or ABSENT}]"
        case "done" | "text":
            return cell.shown or ABSENT
        case _:
            assert_never(cell.state)


def here(cell: Cell) -> str:
    """Return the text of a cell under a heading "here", beside the paper's numbers: never one of those."""
    return f"[{ABSENT}]" if cell.state == "paper-only" else face(cell)


def shown(cell: Cell, variant: Variant) -> str:
    """Return the text of a cell in ``variant``."""
    return here(cell) if variant == "compare" else face(cell)


def is_bold(cell: Cell) -> bool:
    """Return whether a cell is bold, which ranks our numbers: a bracketed value of the paper must not win a column."""
    return cell.bold and bool(cell.shown) and cell.state != "paper-only"
