"""A table in the terminal, laid out like the paper's: rules, spanners, and a comparison line by line.

rich has no spanners, so lines are padded here; it still measures, colours and knows the terminal.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import IO, TYPE_CHECKING

from replicate.judge.table import Cell, Claim, Column, Table
from replicate.render import layout, wording
from replicate.render.formats import Format
from replicate.render.layout import Variant

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PIPE_WIDTH = 100
"""Columns where the output is not a terminal: a log or a pager must not wrap at 80."""

_GAP = 2
_LABEL_WIDTH = 34
_NOTE_WIDTH = 24
"""A note of a claim makes its column no wider than this."""
_NARROW = 76
"""Columns below which claims stand without their verdicts in words."""
_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "\N{REPLACEMENT CHARACTER}")
_RAISED = str.maketrans("abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ")
MARK_STYLES = {"✓": "green", "✗": "red", "?": "yellow", "○": "bright_black", "◐": "yellow", "⚠": "bold red"}


def console(file: IO[str] | None = None) -> Console:
    """A console for tables: no colour and a fixed width where ``file`` (standard output) is no terminal."""
    from rich.console import Console

    screen = Console(file=file, highlight=False)
    if screen.is_terminal:
        return screen
    return Console(file=file, highlight=False, no_color=True, width=PIPE_WIDTH)


def render(table: Table, variant: Variant = "paper") -> str:
    """The same lines as plain text."""
    out = io.StringIO()
    show(table, console(out), variant)
    return out.getvalue()


def show(table: Table, console: Console, variant: Variant = "paper") -> None:
    """Print ``table``; columns that do not fit go into further blocks, each with the row labels."""

    if table.banner:
        paragraph(console, f"! {table.banner}", "bold yellow", "  ")
        console.print()
    paragraph(console, f"{wording.title(table)}. {wording.caption(table, variant, banner=False)}")
    for columns in _blocks(table, variant, console.width):
        console.print()
        for line in _grid(table, columns, variant):
            _print(console, line)
    console.print()
    if marks := wording.legend_line(table, variant):
        paragraph(console, marks, "dim")
    if references := wording.references_line(table):
        paragraph(console, references, "dim", "  ")
    for note in table.notes:
        paragraph(console, f"{_raised(note.mark)} {wording.note_text(note)}".strip(), "dim", "  ")
    _claims(table, console)


def paragraph(console: Console, text: str, style: str = "", hang: str = "") -> None:
    """Print ``text`` wrapped to the width of ``console``; lines after the first are indented by ``hang``."""
    for line in textwrap.wrap(text, console.width, subsequent_indent=hang):
        _print(console, _text((line, style)))


def _raised(marks: str) -> str:
    return marks.translate(_RAISED)


def _text(*parts: tuple[str, str]) -> Text:
    from rich.text import Text

    return Text.assemble(*((text.translate(_CONTROLS), style) for text, style in parts))


def _print(console: Console, line: Text) -> None:
    line.rstrip()
    console.print(line, no_wrap=True, overflow="ignore", crop=False)


def _lines(table: Table, cell: Cell, column: Column, variant: Variant) -> list[tuple[str, str]]:
    """The lines of one cell with their styles: ours, half of its 95 % interval, the paper's value, the difference."""
    face = layout.shown(cell, variant)
    style = "bold" if layout.is_bold(cell) else "" if column.text else MARK_STYLES.get(face, "")
    style = "dim" if cell.state == "paper-only" else style
    tail = wording.origin_mark(table, cell) + _raised(layout.cell_marks(table, cell))
    face += tail
    if column.text:
        return [(face, style)]
    if cell.state != "paper-only" and not tail and _tailed(table, column, variant):
        face += " "
    if variant == "paper":
        return [(face, style)]
    lines = [(face, style)]
    if wording.has_errors(table, variant):
        lines.append((f"{cell.error_shown} " if cell.shown and cell.error_shown else "", "dim"))
    lines.append((f"{cell.paper_shown}{wording.dagger(table) or ' '}" if cell.paper_shown else "", "dim"))
    if table.comparable:
        mark = wording.verdict_mark(table, cell)
        lines.append((f"{cell.difference_shown} {mark}".strip(), MARK_STYLES.get(mark, "dim")))
    return lines


def _tailed(table: Table, column: Column, variant: Variant) -> bool:
    """Whether something stands right of a digit in this column: a bracket or a mark; then all make room."""
    cells = [table.cell(row.key, column.key) for row in table.rows]
    return variant == "compare" or any(
        c.state == "paper-only" or wording.origin_mark(table, c) or layout.cell_marks(table, c) for c in cells
    )


def _names(table: Table, variant: Variant) -> list[str]:
    if variant == "paper":
        return []
    error = ["± 95 %"] if wording.has_errors(table, variant) else []
    return [*error, f"paper{wording.dagger(table)}", *(["difference"] if table.comparable else [])]


def _width(table: Table, column: Column, variant: Variant) -> int:
    from rich.cells import cell_len

    texts = [column.header + _raised(layout.column_marks(table, column))]
    for row in table.rows:
        texts += [text for text, _ in _lines(table, table.cell(row.key, column.key), column, variant)]
    return max(map(cell_len, texts))


def _labels(table: Table) -> list[list[str]]:
    """The wrapped label of each row, indented under its group where there are groups."""
    indent = "  " if any(row.group for row in table.rows) else ""
    labels = []
    for row in table.rows:
        text = indent + row.label + _raised(layout.row_marks(table, row))
        labels.append(textwrap.wrap(text, _LABEL_WIDTH, subsequent_indent=indent + "  ") or [""])
    return labels


def _label_width(table: Table) -> int:
    from rich.cells import cell_len

    groups = [row.group for row in table.rows]
    return max(map(cell_len, [table.corner, *groups, *(line for label in _labels(table) for line in label)]))


def _widths(table: Table, columns: Sequence[Column], variant: Variant) -> list[int]:
    """The width of each column; a spanner wider than its columns widens them all alike."""
    widths = [_width(table, column, variant) for column in columns]
    for span in layout.column_spans(columns):
        taken = sum(widths[span.first : span.first + span.count]) + _GAP * (span.count - 1)
        extra = max(0, len(span.text) - taken)
        for place in range(span.count):
            widths[span.first + place] += extra * (place + 1) // span.count - extra * place // span.count
    return widths


def _blocks(table: Table, variant: Variant, width: int) -> list[list[Column]]:
    blocks: list[list[Column]] = [[]]
    label = _label_width(table)
    for column in table.columns:
        wider = [*blocks[-1], column]
        if blocks[-1] and label + sum(_GAP + need for need in _widths(table, wider, variant)) > width:
            blocks.append([column])
        else:
            blocks[-1] = wider
    return blocks


def _pad(text: str, width: int, where: str) -> str:
    from rich.cells import cell_len

    room = max(0, width - cell_len(text))
    left = {"left": 0, "right": room, "centre": room // 2}[where]
    return " " * left + text + " " * (room - left)


def _grid(table: Table, columns: Sequence[Column], variant: Variant) -> Iterable[Text]:
    label = _label_width(table)
    spans = layout.column_spans(columns)
    widths = _widths(table, columns, variant)
    gap = " " * _GAP
    total = label + sum(widths) + _GAP * len(widths)
    yield _text(("━" * total, ""))
    if any(span.text for span in spans):
        upper, rule = " " * label, " " * label
        for span in spans:
            wide = sum(widths[span.first : span.first + span.count]) + _GAP * (span.count - 1)
            upper += gap + _pad(span.text, wide, "centre")
            rule += gap + ("─" if span.text else " ") * wide
        yield _text((upper, ""))
        yield _text((rule, "dim"))
    heads = [column.header + _raised(layout.column_marks(table, column)) for column in columns]
    sides = ["centre" if column.text else "right" for column in columns]
    fields = [_pad(head, width, side) for head, width, side in zip(heads, widths, sides, strict=True)]
    yield _text((gap.join([_pad(table.corner, label, "left"), *fields]), ""))
    yield _text(("─" * total, ""))
    starts = {span.first: span.text for span in layout.row_spans(table.rows)}
    names = _names(table, variant)
    for index, (row, wrapped) in enumerate(zip(table.rows, _labels(table), strict=True)):
        if row.rule and index:
            yield _text(("─" * total, "dim"))
        if starts.get(index):
            yield _text((starts[index], ""))
        cells = [_lines(table, table.cell(row.key, column.key), column, variant) for column in columns]
        indent = "    " if row.group else "  "
        left = [(line, "") for line in wrapped] + [(indent + name, "dim") for name in names]
        # The numbers stand beside the last line of a wrapped label.
        skip = len(wrapped) - 1
        for number, (text, style) in enumerate(left):
            parts = [(_pad(text, label, "left"), style)]
            for lines, width, side in zip(cells, widths, sides, strict=True):
                face, look = lines[number - skip] if 0 <= number - skip < len(lines) else ("", "")
                parts += [(gap, ""), (_pad(face, width, side), look)]
            yield _text(*parts)
    yield _text(("━" * total, ""))


def _claims(table: Table, console: Console) -> None:
    """The claims in columns, the paper's sentences apart from readings, and last what would decide the undecided."""
    if not table.claims:
        return
    paper = f"paper{wording.dagger(table)}"
    head = "here, margin ± 95 %"
    paper_width = max(len(text) for text in [paper, *map(wording.claim_paper, table.claims)])
    # The mark in front says the verdict, too.
    narrow = console.width < _NARROW
    here = [wording.margin(claim) if narrow else _claim_here(claim) for claim in table.claims]
    notes = [note for claim in table.claims for note in wording.claim_notes(claim) if len(note) <= _NOTE_WIDTH]
    here_width = max(len(text) for text in [head, *here, *([] if narrow else notes)])
    wide = max(12, console.width - paper_width - here_width - 2 - 2 * _GAP)
    gap = " " * _GAP
    for heading, claims in wording.claims_apart(table.claims):
        console.print()
        title = f"{heading[:1].upper()}{heading[1:]}"
        if len(title) > wide + 2:
            _print(console, _text((title, "bold")))
            title = ""
        title = _pad(title, wide + 2, "left")
        _print(console, _text((title, "bold"), (gap + _pad(paper, paper_width, "left") + gap + head, "")))
        for claim in claims:
            mark = wording.CLAIM_MARKS[claim.verdict]
            style = MARK_STYLES[mark]
            first, *rest = textwrap.wrap(claim.text, wide) or [""]
            theirs = gap + _pad(wording.claim_paper(claim), paper_width, "left")
            ours = wording.margin(claim) if narrow else _claim_here(claim)
            side = [(theirs, "dim"), (gap + ours, style)]
            _print(console, _text((f"{mark} ", style), (_pad(first, wide, "left"), ""), *side))
            below = [line for note in wording.claim_notes(claim) for line in textwrap.wrap(note, here_width)]
            for line, note in zip_longest(rest, below, fillvalue=""):
                left = f"  {_pad(line, wide, 'left')}{gap}{' ' * paper_width}{gap}"
                _print(console, _text((left, ""), (note, "dim")))
    below = wording.claims_below(table.claims)
    if below:
        console.print()
    for sentence in below:
        paragraph(console, sentence, hang="  ")


def _claim_here(claim: Claim) -> str:
    return f"{wording.claim_here(claim)} {wording.margin(claim)}".strip()


FORMAT = Format(".txt", render)
