"""A table as GitHub Markdown, readable as plain text too: columns are padded to one width.

Markdown has one header row, so the spanners stand in a line above the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from replicate.judge.table import Cell, Claim, Table
from replicate.render import layout, wording
from replicate.render.formats import Format
from replicate.render.layout import Variant

_MARKUP = re.compile(r"([\\`*_\[\]|#~$])")


def escape(text: str) -> str:
    """``text`` as Markdown that shows it literally; line breaks become spaces, ``@`` mentions nobody."""
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", text).replace("@", "&#64;")


def render(table: Table, variant: Variant = "paper") -> str:
    blocks = [f"**{escape(wording.title(table))}.** {escape(wording.caption(table, variant))}"]
    if table.banner:
        blocks.insert(0, f"> **{escape(table.banner)}**")
    blocks += _spanners(table)
    blocks.append(_grid(table, variant))
    if marks := wording.legend_line(table, variant):
        blocks.append(escape(f"{marks}."))
    if references := wording.references_line(table):
        blocks.append(escape(f"{references}."))
    if variant == "compare":
        blocks.append("Each cell: here (paper, difference)." if table.comparable else "Each cell: here (paper).")
    blocks += [_note(note.mark, wording.note_text(note)) for note in table.notes]
    for heading, claims in wording.claims_apart(table.claims):
        blocks += [f"**Claims about these numbers: {heading}**", _claims(table, claims)]
    blocks += map(escape, wording.claims_below(table.claims))
    blocks.append(f"<sub>{escape(_provenance(table))}</sub>")
    return "\n\n".join(blocks) + "\n"


def _spanners(table: Table) -> list[str]:
    parts = []
    for span in layout.column_spans(table.columns):
        headers = [column.header for column in table.columns[span.first : span.first + span.count]]
        parts += [f"{span.text}: {', '.join(headers)}"] if span.text else []
    return [escape(f"Columns: {'; '.join(parts)}.")] if parts else []


def _provenance(table: Table) -> str:
    return f"{table.source}, scale {table.scale}, spec {table.spec}, digest {table.digest}"


def _note(mark: str, text: str) -> str:
    return f"{_superscript(mark)} {escape(text)}".strip()


def _superscript(mark: str) -> str:
    return f"<sup>{escape(mark)}</sup>" if mark else ""


def _cell(table: Table, cell: Cell, variant: Variant, text: bool) -> str:
    face = escape(layout.shown(cell, variant))
    if layout.is_bold(cell):
        face = f"**{face}**"
    face += escape(wording.origin_mark(table, cell)) + _superscript(layout.cell_marks(table, cell))
    if variant == "paper" or text:
        return face
    error = f" ± {escape(cell.error_shown)}" if cell.shown and cell.error_shown else ""
    beside = [part for part in (cell.paper_shown, cell.difference_shown) if part]
    if not beside:
        return face + error
    mark = wording.verdict_mark(table, cell)
    return f"{face}{error} ({escape(', '.join(beside))}){f' {mark}' if mark else ''}"


def _grid(table: Table, variant: Variant) -> str:
    grouped = any(row.group for row in table.rows)
    header = [*([""] if grouped else []), escape(table.corner)]
    for column in table.columns:
        header.append(escape(column.header) + _superscript(layout.column_marks(table, column)))
    lines = []
    starts = {span.first: span.text for span in layout.row_spans(table.rows)}
    for index, row in enumerate(table.rows):
        line = [escape(starts.get(index, ""))] if grouped else []
        line.append(escape(row.label) + _superscript(layout.row_marks(table, row)))
        for column in table.columns:
            line.append(_cell(table, table.cell(row.key, column.key), variant, column.text))
        lines.append(line)
    lead = len(header) - len(table.columns)
    right = [False] * lead + [not column.text for column in table.columns]
    return _table(header, lines, right)


def _claims(table: Table, claims: Iterable[Claim]) -> str:
    paper = f"paper {wording.dagger(table)}".strip()
    lines = []
    for claim in claims:
        here = f"{wording.CLAIM_MARKS[claim.verdict]} {wording.claim_here(claim)}"
        sides = (wording.claim_text(claim), wording.claim_paper(claim), here, wording.claim_margin(claim))
        lines.append([escape(side) for side in sides])
    return _table(["claim", paper, "here", "margin ± 95 %"], lines, [False, False, False, True])


def _table(header: Sequence[str], lines: Iterable[Sequence[str]], right: Sequence[bool]) -> str:
    rows = [header, *lines]
    widths = [max(3, *(len(row[index]) for row in rows)) for index in range(len(header))]
    rule = ["-" * (width - flush) + ":" * flush for width, flush in zip(widths, right, strict=True)]

    def line(fields: Sequence[str]) -> str:
        padded = [
            field.rjust(width) if flush else field.ljust(width)
            for field, width, flush in zip(fields, widths, right, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(header), line(rule), *(line(row) for row in rows[1:])])


FORMAT = Format(".md", render)
