"""A table as one self-contained HTML page: no network, no script, light and dark, screen, phone and paper."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from replicate.judge.table import Cell, Column, Row, Table
from replicate.render import layout, wording
from replicate.render.layout import Variant

_CLASSES = {"✓": "good", "✗": "bad", "?": "open", "○": "open"}


def render(table: Table, variant: Variant = "paper") -> str:
    name = escape(wording.title(table))
    banner = [f'<p class="banner" role="note">{escape(table.banner)}</p>'] if table.banner else []
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{name}: {escape(table.id)}</title>",
        f"<style>\n{STYLE}</style>",
        "</head>",
        "<body>",
        "<main>",
        *banner,
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">',
        "<table>",
        f"<caption><strong>{name}.</strong> {escape(wording.caption(table, variant))}</caption>",
        *_head(table),
        *_body(table, variant),
        "</table>",
        "</div>",
        *_footnotes(table, variant),
        *_claims(table),
        *_details(table),
        f"<footer>{escape(_provenance(table))}</footer>",
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def _provenance(table: Table) -> str:
    return f"{table.source} · scale {table.scale} · spec {table.spec} · digest {table.digest}"


def _sup(marks: str) -> str:
    return f"<sup>{escape(marks)}</sup>" if marks else ""


def _classes(*names: str) -> str:
    used = " ".join(name for name in names if name)
    return f' class="{used}"' if used else ""


def _edges(table: Table) -> set[int]:
    """First columns of a group: a little air goes before them."""
    return {span.first for span in layout.column_spans(table.columns) if span.text and span.first}


def _head(table: Table) -> list[str]:
    edges = _edges(table)
    columns = [
        f'<th scope="col"{_classes("text" if column.text else "", "edge" if index in edges else "")}>'
        f"{escape(column.header)}{_sup(layout.column_marks(table, column))}</th>"
        for index, column in enumerate(table.columns)
    ]
    spans = layout.column_spans(table.columns)
    spanned = any(span.text for span in spans)
    deep = ' rowspan="2"' if spanned else ""
    corner = f'<th scope="col" class="label"{deep}>{escape(table.corner)}</th>'
    first = f"<td{deep}></td>{corner}" if any(row.group for row in table.rows) else corner
    if not spanned:
        return ["<thead>", f"<tr>{first}{''.join(columns)}</tr>", "</thead>"]
    upper = [
        f'<th scope="colgroup" colspan="{span.count}"'
        f"{_classes('spanner', 'edge' if span.first in edges else '')}><span>{escape(span.text)}</span></th>"
        if span.text
        else "<td></td>"
        for span in spans
    ]
    return ["<thead>", f"<tr>{first}{''.join(upper)}</tr>", f"<tr>{''.join(columns)}</tr>", "</thead>"]


def _body(table: Table, variant: Variant) -> list[str]:
    grouped = any(row.group for row in table.rows)
    starts = {span.first: span for span in layout.row_spans(table.rows)}
    edges = _edges(table)
    lines = ["<tbody>"]
    for index, row in enumerate(table.rows):
        fields = []
        if grouped and (span := starts.get(index)):
            head = escape(span.text)
            fields.append(f'<th scope="rowgroup" class="group" rowspan="{span.count}">{head}</th>')
        label = escape(row.label) + _sup(layout.row_marks(table, row))
        fields.append(f'<th scope="row" class="label">{label}</th>')
        fields += [
            _cell(table, row, column, variant, "edge" if place in edges else "")
            for place, column in enumerate(table.columns)
        ]
        lines.append(f"<tr{_classes('rule' if row.rule and index else '')}>{''.join(fields)}</tr>")
    return [*lines, "</tbody>"]


def _cell(table: Table, row: Row, column: Column, variant: Variant, edge: str) -> str:
    cell = table.cell(row.key, column.key)
    face = escape(layout.face(cell))
    face = f"<b>{face}</b>" if layout.is_bold(cell) else face
    face += _sup(wording.origin_mark(table, cell) + layout.cell_marks(table, cell))
    if column.text:
        return f"<td{_classes('text', edge)}>{face}</td>"
    below = ""
    if variant == "compare":
        face += f"<small> ± {escape(cell.error_shown)}</small>" if cell.shown and cell.error_shown else ""
        below = _paper_line(table, cell)
    state = cell.state if cell.state != "done" else ""
    title = escape(" · ".join(_facts(table, cell)))
    return f'<td{_classes(state, edge)} title="{title}">{face}{below}</td>'


def _paper_line(table: Table, cell: Cell) -> str:
    if cell.state == "paper-only" or not cell.paper_shown:
        return ""
    mark = wording.verdict_mark(table, cell)
    sign = f' <i class="{_CLASSES[mark]}">{mark}</i>' if mark else ""
    paper = escape(cell.paper_shown) + wording.dagger(table)
    difference = f" {escape(cell.difference_shown)}" if cell.difference_shown else ""
    return f'<div class="paper">({paper}){difference}{sign}</div>'


def _facts(table: Table, cell: Cell) -> list[str]:
    """What a reader may want to know of one cell, in short phrases."""
    counts = [wording.of_seed(s, f"{s.correct}/{s.images}") for s in cell.seeds if s.correct is not None]
    error = f"standard error {cell.error_shown}" if cell.error_shown else ""
    paper = f"paper {cell.paper_shown}" if cell.paper_shown else ""
    difference = f"difference {cell.difference_shown}" if cell.difference_shown else ""
    judged = [cell.origin, wording.verdict(table, cell), cell.reason]
    facts = [f"here {layout.face(cell)}", paper, difference, *counts, error, *judged]
    return list(dict.fromkeys(fact for fact in facts if fact))  # a cell that was not run has that as verdict too


def _footnotes(table: Table, variant: Variant) -> list[str]:
    marks = wording.legend_line(table, variant)
    lines = [f"<p>{escape(marks)}.</p>"] if marks else []
    if variant == "compare":
        kind = "here, below it (the paper)" + (", difference" if table.comparable else "")
        lines.append(f"<p>Each cell: {kind}.</p>")
    if references := wording.references_line(table):
        lines.append(f"<p>{escape(references)}.</p>")
    lines += [f"<p>{f'{_sup(note.mark)} {escape(wording.note_text(note))}'.strip()}</p>" for note in table.notes]
    return ['<div class="notes">', *lines, "</div>"] if lines else []


def _scrolled(head: Iterable[str], rows: Iterable[str], label: str, kind: str) -> list[str]:
    heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    return [
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">',
        f'<table class="{kind}">',
        f"<thead><tr>{heads}</tr></thead>",
        *["<tbody>", *rows, "</tbody>"],
        "</table>",
        "</div>",
    ]


def _claims(table: Table) -> list[str]:
    rows = []
    for claim in table.claims:
        mark = wording.CLAIM_MARKS[claim.verdict]
        reason = f' title="{escape(claim.reason)}"' if claim.reason else ""
        rows.append(
            f'<tr{reason}><th scope="row">{escape(wording.claim_text(claim))}</th>'
            f"<td>{escape(wording.claim_paper(claim))}</td>"
            f'<td><i class="{_CLASSES[mark]}">{mark}</i> {escape(wording.claim_here(claim))}</td>'
            f"<td>{escape(wording.claim_margin(claim))}</td></tr>"
        )
    if not rows:
        return []
    paper = f"paper {wording.dagger(table)}".strip()
    title = "Claims of the paper about these numbers"
    return [f"<h2>{title}</h2>", *_scrolled(["claim", paper, "here", "margin ± se"], rows, title, "claims")]


def _details(table: Table) -> list[str]:
    """The titles of the cells once more as text: a phone and a printer have no pointer."""
    rows = [
        f'<tr><th scope="row">{escape(row.label)}</th><td>{escape(column.header)}</td>'
        f"<td>{escape(' · '.join(_facts(table, cell)))}</td>"
        f"<td>{'<br>'.join(map(escape, cell.jobs))}</td></tr>"
        for row in table.rows
        for column in table.columns
        if not column.text
        for cell in [table.cell(row.key, column.key)]
    ]
    head = ["row", "column", "what the number rests on", "jobs"]
    summary = "<summary>Where each number comes from</summary>"
    return [
        "<details>",
        summary,
        *_scrolled(head, rows, "where each number comes from", "facts"),
        "</details>",
    ]


STYLE = """\
:root {
  --ink: #1d1f23; --faint: #5d636e; --line: #c9cdd4; --page: #ffffff;
  --good: #14733b; --bad: #b3261e; --open: #8a5a00; --warn-page: #fff4d6; --warn-line: #d19a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e8ec; --faint: #a0a7b4; --line: #454b57; --page: #16181c;
    --good: #6fd08c; --bad: #ff8a80; --open: #f0b957; --warn-page: #33290f; --warn-line: #c79514;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem; }
caption, .banner, .notes, footer { overflow-wrap: anywhere; }
.banner { margin: 0 0 1.5rem; padding: .7rem 1rem; background: var(--warn-page);
  border-left: 4px solid var(--warn-line); font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; border-top: 2px solid var(--ink); border-bottom: 2px solid var(--ink);
  margin: 0 auto; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .8rem; }
th, td { padding: .25rem .7rem; text-align: center; white-space: nowrap; font-weight: normal; }
td b { font-weight: 700; }
thead th { vertical-align: bottom; }
thead tr:last-child > *, thead .label { padding-bottom: .45rem; }
tbody tr:first-child > *, tr.rule > * { border-top: 1px solid var(--ink); }
.spanner span { display: block; border-bottom: 1px solid var(--line); padding-bottom: .15rem; }
.label, .group { text-align: left; }
.label { position: sticky; left: 0; background: var(--page); }
.edge { padding-left: 1.6rem; }
td small, .paper, .pending, .paper-only { color: var(--faint); }
td small { font-size: .75em; }
.paper { font-size: .8em; line-height: 1.25; }
.running { color: var(--open); }
.failed { color: var(--bad); }
i { font-style: normal; font-weight: 700; }
.good { color: var(--good); } .bad { color: var(--bad); } .open { color: var(--open); }
sup { line-height: 0; font-size: .7em; }
.notes { margin-top: 1rem; }
.notes p { margin: .2rem 0; }
.notes, footer { font-size: .85rem; color: var(--faint); }
h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; }
.claims, .facts { width: 100%; border-top-width: 1px; border-bottom-width: 1px; font-size: .92rem; }
.claims th, .claims td, .facts th, .facts td { text-align: left; vertical-align: top; }
.claims tbody th { white-space: normal; min-width: 12rem; }
.facts { font-size: .82rem; }
.facts td:nth-child(3) { white-space: normal; min-width: 16rem; }
details { margin: 2rem 0 1rem; }
summary { cursor: pointer; margin-bottom: .6rem; }
@media (max-width: 40rem) {
  main { padding: 1rem .75rem; }
  body { font-size: 15px; }
  th, td { padding: .25rem .45rem; }
  .edge { padding-left: .9rem; }
  caption { max-width: calc(100vw - 1.5rem); }
  tbody .label, thead .label { white-space: normal; min-width: 7.5rem; max-width: 9rem; }
}
@media print {
  :root { --ink: #000; --faint: #333; --line: #888; --page: #fff; --good: #000; --bad: #000; --open: #000;
    --warn-page: #fff; --warn-line: #000; }
  main { max-width: none; padding: 0; }
  .scroll { overflow: visible; }
}
"""
