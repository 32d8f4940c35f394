"""Figures of one whole table: its numbers as colours, or its rows as differences to one of them."""

from __future__ import annotations

from replicate.figures.model import Bar, Bars, Field, Panel, Side
from replicate.figures.source import Source
from replicate.figures.spec import Differences, Heatmap
from replicate.judge.claims import judge
from replicate.judge.statistics import SeedNoise
from replicate.judge.table import MARKS, Table
from replicate.specs.table import ClaimSpec
from replicate.text import exact, signed

NOTHING = "–"


def heatmap(source: Source, spec: Heatmap) -> tuple[Panel, ...]:
    """Ours and the paper's in a panel each."""
    table = source.table(spec.table)
    here = "here" if table.comparable else "here: miniature"
    return (_field(table, spec, "here", here), _field(table, spec, "paper", "the paper, as printed"))


def _field(table: Table, spec: Heatmap, side: Side, title: str) -> Field:
    columns = [column for column in table.columns if not column.text]
    values, shown = [], []
    for row in table.rows:
        cells = [table.cell(row.key, column.key) for column in columns]
        if side == "here":
            values.append(tuple(None if cell.value is None else float(cell.value) for cell in cells))
            shown.append(tuple(cell.shown or MARKS.get(cell.state, NOTHING) for cell in cells))
        else:
            values.append(tuple(cell.paper.number if cell.paper else None for cell in cells))
            shown.append(tuple(cell.paper_shown or NOTHING for cell in cells))
    return Field(
        title,
        spec.label,
        tuple(row.label for row in table.rows),
        spec.names or tuple(column.header for column in columns),
        tuple(values),
        tuple(shown),
    )


def differences(source: Source, spec: Differences) -> tuple[Panel, ...]:
    """A panel for each column; its bars are margins as claims are judged by, with their paired errors."""
    return tuple(_bars(source, spec, column) for column in spec.columns)


def _bars(source: Source, spec: Differences, column: str) -> Bars:
    table = source.table(spec.table)
    wanted = spec.rows or tuple(row.key for row in table.rows if row.key != spec.base)
    rows = [row for row in table.rows if row.key in wanted]
    head = source.plan.tables.specs.table(spec.table).table
    printed_as = next(one for one in head.columns if one.key == column)
    digits = head.places(printed_as)
    bars = []
    for at, row in enumerate(rows):
        margin, half = _margin(source, spec, row.key, column)
        if margin is not None:
            shown = signed(exact(margin), digits)
            low, high = (None, None) if half is None else (margin - half, margin + half)
            bars.append(Bar(at, "here", margin, shown, low, high))
        papers = [paper.number for key in (row.key, spec.base) if (paper := table.cell(key, column).paper)]
        if len(papers) == 2 and papers[0] is not None and papers[1] is not None:
            printed = exact(papers[0]) - exact(papers[1])
            bars.append(Bar(at, "paper", float(printed), signed(printed, digits)))
    groups = [
        (at, row.group) for at, row in enumerate(rows) if row.group and (at == 0 or rows[at - 1].group != row.group)
    ]
    return Bars(printed_as.header, spec.label, tuple(row.label for row in rows), tuple(bars), spec.limit, tuple(groups))


def _margin(source: Source, spec: Differences, row: str, column: str) -> tuple[float | None, float | None]:
    """Row minus base with half its 95 % interval: over the same images, and over seeds."""
    plan = source.plan.tables
    claim = ClaimSpec(text="", left=f"{row}.{column}", above=f"{spec.base}.{column}")
    judged = judge(
        plan.specs.table(spec.table), claim, {}, source.values(spec.table), SeedNoise.of(plan.specs.scale), 1
    )
    return judged.margin, judged.half
