"""A table as CSV in long format, one line a cell: for spreadsheets and ``pandas.read_csv``."""

from __future__ import annotations

import csv
import io

from replicate.collect.table import Cell, Table
from replicate.render import wording

FIELDS = (
    "table", "row", "row_label", "column", "column_label", "state", "value", "shown", "error", "spread",
    "n_seeds", "correct", "images", "paper", "difference", "origin", "verdict", "reason", "jobs",
)  # fmt: skip


def render(table: Table) -> str:
    """Lists inside a field (the counts of several seeds, the jobs) are joined with ``;``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    for row in table.rows:
        for column in table.columns:
            cell = table.cell(row.key, column.key)
            words = {"row_label": row.label, "column_label": column.header, **_words(table, cell)}
            fields = _numbers(cell) | {name: _harmless(text) for name, text in words.items()}
            writer.writerow([fields[name] for name in FIELDS])
    return out.getvalue()


def _words(table: Table, cell: Cell) -> dict[str, str]:
    words = {
        "table": table.id,
        "row": cell.row,
        "column": cell.column,
        "state": cell.state,
        "origin": cell.origin,
        "verdict": wording.verdict(table, cell),
        "reason": cell.reason,
        "jobs": ";".join(cell.jobs),
    }
    # What a number column prints starts with a sign now and then: "-0.2" is a number, not a formula.
    return words if cell.state != "text" else words | {"shown": cell.shown}


def _numbers(cell: Cell) -> dict[str, str]:
    return {
        "value": "" if cell.value is None else repr(float(cell.value)),
        "shown": cell.shown,
        "error": "" if cell.error is None else repr(cell.error),
        "spread": "" if cell.spread is None else repr(cell.spread),
        "n_seeds": str(len(cell.seeds)),
        "correct": ";".join(str(seed.correct) for seed in cell.seeds if seed.correct is not None),
        "images": ";".join(str(seed.images) for seed in cell.seeds if seed.images is not None),
        "paper": cell.paper or "",
        "difference": cell.difference_shown.replace("−", "-"),
    }


def _harmless(text: str) -> str:
    """A spreadsheet runs a field that starts like a formula; a leading apostrophe makes it text."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
