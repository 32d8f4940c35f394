"""A table as CSV in long format, one line a cell: for spreadsheets and ``pandas.read_csv``."""

from __future__ import annotations

import csv
import io
import re

from replicate.judge.table import Column, Row, Table
from replicate.render import wording
from replicate.render.formats import Format
from replicate.render.layout import Variant

_NUMBER = re.compile(r"[-+−]?\d+(\.\d+)?")


def render(table: Table, variant: Variant = "paper") -> str:
    """Return ``table`` as CSV. Lists inside a field (the counts of several seeds, the jobs) are joined with ``;``."""
    lines = [_fields(table, row, column) for row in table.rows for column in table.columns]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(lines[0])
    writer.writerows(map(_harmless, line.values()) for line in lines)
    return out.getvalue()


def _fields(table: Table, row: Row, column: Column) -> dict[str, str]:
    cell = table.cell(row.key, column.key)
    return {
        "table": table.id,
        "row": row.key,
        "row_label": row.label,
        "column": column.key,
        "column_label": column.header,
        "state": cell.state,
        "value": "" if cell.value is None else repr(float(cell.value)),
        "shown": cell.shown,
        "error": "" if cell.error is None else repr(cell.error),
        "spread": "" if cell.spread is None else repr(cell.spread),
        "n_seeds": str(len(cell.seeds)),
        "correct": ";".join(str(seed.correct) for seed in cell.seeds if seed.correct is not None),
        "images": ";".join(str(seed.images) for seed in cell.seeds if seed.images is not None),
        "paper": cell.paper_shown,
        "difference": cell.difference_shown.replace("−", "-"),
        "origin": cell.origin,
        "verdict": wording.verdict(table, cell),
        "reason": cell.reason,
        "jobs": ";".join(cell.jobs),
    }


def _harmless(text: str) -> str:
    """Return ``text`` with an apostrophe before it where a spreadsheet would run it as a formula.

    A signed number is no formula.
    """
    formula = text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) and not _NUMBER.fullmatch(text)
    return f"'{text}" if formula else text


FORMAT = Format(".csv", render, varies=False)
