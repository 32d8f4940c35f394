"""What every format lays out alike: spanners, row groups, footnote marks, what stands in a cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from replicate.judge.table import MARKS, Cell, Column, Row, Table

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
    found: list[Span] = []
    for index, text in enumerate(texts):
        if text and found and found[-1].text == text:
            last = found.pop()
            found.append(Span(text, last.first, last.count + 1))
        else:
            found.append(Span(text, index, 1))
    return found


def column_spans(columns: Sequence[Column]) -> list[Span]:
    return spans(column.group for column in columns)


def row_spans(rows: Sequence[Row]) -> list[Span]:
    return spans(row.group for row in rows)


def row_marks(table: Table, row: Row) -> str:
    """The footnote letters of a row label, such as ``a,c``."""
    return ",".join(note.mark for note in table.notes if row.key in note.rows)


def column_marks(table: Table, column: Column) -> str:
    return ",".join(note.mark for note in table.notes if column.key in note.columns)


def cell_marks(table: Table, cell: Cell) -> str:
    return ",".join(note.mark for note in table.notes if cell.ref in note.cells)


def face(cell: Cell) -> str:
    """What stands in a cell: our value, or the mark of its state, or the paper's value in brackets."""
    if cell.state in MARKS and not cell.shown:
        return MARKS[cell.state]
    if cell.state == "paper-only":
        return f"[{cell.paper_shown or ABSENT}]"
    return cell.shown or ABSENT


def is_bold(cell: Cell) -> bool:
    """Bold ranks our numbers: a bracketed value of the paper must not win a column."""
    return cell.bold and bool(cell.shown) and cell.state != "paper-only"
