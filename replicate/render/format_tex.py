r"""A table in LaTeX, to be ``\input`` in an author's own ``table`` environment.

The file prints one box: the banner, the tabular, and below it the meaning of every mark, where the numbers come from,
and the notes. So a number of another experiment cannot enter a paper without saying so. The caption follows as a
comment line, since where it goes is the author's choice. ``tex-bare`` has the tabular alone (`format_tex_bare`).

Number columns are ``c``, and their numbers are padded with ``\phantom`` to one width. With ``r``, a spanner
wider than its columns gives all the slack to the last one and the numbers drift away from their headers;
padded and centred, the decimal points stay in line however wide the column becomes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from replicate.judge.table import Cell, Column, Row, Table
from replicate.render import layout, wording
from replicate.render.formats import Format
from replicate.render.layout import Variant
from replicate.render.symbols import comment, definitions, escape
from replicate.text import FOOTNOTE_MARKS

_NUMBER = re.compile(rf"([−+-]?)(\d+)(\.\d+)?([{FOOTNOTE_MARKS}]*)")


BOX = r"\replicatetable"
"""The box register in which a file sets its tabular before it sets the lines around it."""
WIDTH = BOX + "width"


def render(table: Table, variant: Variant = "paper") -> str:
    body = "\n".join(_framed(table, variant))
    after = [comment("caption, to be uncommented:"), comment(rf"\caption{{{caption(table, variant, alone=True)}}}")]
    return "\n".join([*_about(table), *definitions(f"{body}\n{after[1]}"), body, *after]) + "\n"


def bare(table: Table, variant: Variant = "paper") -> str:
    """The tabular alone; banner, caption and notes are comment lines."""
    body = "\n".join(_tabular(table, variant)) + "\n"
    after = "".join(f"{line}\n" for line in _below(table, variant))
    before = "\n".join([*_about(table), *definitions(body + after)])
    return f"{before}\n{body}{after}"


def _framed(table: Table, variant: Variant) -> list[str]:
    """One box of the tabular with the lines around it, which are as wide as it is: from half a line of text to a line.

    A table that is wider than the page takes none of them with it over the edge.
    """
    banner = escape(wording.banner(table), f"{_place(table)}: banner")
    above = [rf"\bfseries {banner}"] if banner else []
    below = footnotes(table, variant, numbers=True)
    if not above and not below:
        return _tabular(table, variant)

    def lines(texts: Iterable[str]) -> str:
        paragraphs = r"\par ".join(texts)
        return rf"\parbox{{{WIDTH}}}{{\footnotesize\raggedright\strut {paragraphs}\strut}}"

    return [
        rf"\ifdefined{BOX}\else\newsavebox{{{BOX}}}\fi",
        rf"\sbox{{{BOX}}}{{%",
        *_tabular(table, variant)[:-1],
        r"\end{tabular}}%",
        rf"\ifdim\wd{BOX}<.5\linewidth \sbox{{{BOX}}}{{\makebox[.5\linewidth]{{\usebox{{{BOX}}}}}}}\fi",
        rf"\edef{WIDTH}{{\the\ifdim\wd{BOX}>\linewidth \linewidth\else \wd{BOX}\fi}}%",
        r"\begin{tabular}{@{}l@{}}",
        *(rf"{lines([text])} \\[2pt]" for text in above),
        rf"\usebox{{{BOX}}} \\[2pt]",
        *([rf"{lines(below)} \\"] if below else []),
        r"\end{tabular}%",
    ]


def footnotes(table: Table, variant: Variant, *, numbers: bool = False) -> list[str]:
    """Legend and notes, one TeX paragraph each; with ``numbers`` also where the numbers come from."""
    where = _place(table)
    lines = []
    if numbers and (origins := wording.origins(table, variant)):
        lines.append(escape(origins, f"{where}: origins"))
    if marks := wording.legend_line(table, variant):
        lines.append(escape(f"{marks}.", f"{where}: legend"))
    if references := wording.references_line(table):
        lines.append(escape(f"{references}.", f"{where}: references"))
    for note in table.notes:
        mark = rf"\textsuperscript{{{escape(note.mark, f'{where}: note mark')}}}" if note.mark else ""
        lines.append(f"{mark}{escape(wording.note_text(note), f'{where}: note {note.mark}')}")
    return lines


def caption(table: Table, variant: Variant, *, alone: bool = False) -> str:
    """The caption; ``alone`` leaves out the banner and where the numbers come from."""
    text = wording.sentence(table.caption) if alone else wording.caption(table, variant)
    return escape(text, f"{_place(table)}: caption")


def _place(table: Table) -> str:
    return table.spec or f"table {table.id}"


def _about(table: Table) -> list[str]:
    lines = [f"{wording.title(table)} ({table.id}) of {table.source}, scale {table.scale}"]
    lines += [f"BANNER: {banner}"] if (banner := wording.banner(table)) else []
    lines += [
        r"needs \usepackage{booktabs,multirow,amssymb}",
        f"spec {table.spec}",
        f"digest {table.digest}",
    ]
    return [comment(line) for line in lines]


def _below(table: Table, variant: Variant) -> list[str]:
    lines = ["caption and notes, to be uncommented:", rf"\caption{{{caption(table, variant)}}}"]
    lines += [rf"\par\smallskip{{\footnotesize {line}\par}}" for line in footnotes(table, variant)]
    return [comment(line) for line in lines]


class _Block:
    """The TeX columns of one table column: one, or here | paper | difference."""

    def __init__(self, table: Table, column: Column, variant: Variant) -> None:
        self.table, self.column, self.variant = table, column, variant
        cells = [table.cell(row.key, column.key) for row in table.rows]
        self.heads: tuple[str, ...] = ("",)
        if variant == "compare" and not column.text:
            paper = f"paper{wording.dagger(table)}"
            self.heads = ("here", paper, "Δ") if table.comparable else ("here", paper)
        self._here = _width(layout.shown(cell, variant).strip("[]") for cell in cells)
        self._paper = _width(cell.paper_shown for cell in cells)
        self._difference = _width(cell.difference_shown for cell in cells)

    @property
    def alignment(self) -> str:
        return {1: "c", 2: "c@{~~}c", 3: "c@{~~}c@{~~}c"}[len(self.heads)]

    def fields(self, cell: Cell) -> list[str]:
        where = f"{_place(self.table)}: row {cell.row}, column {cell.column}"
        fields = [self._ours(cell, where)]
        if len(self.heads) > 1:
            paper = _padded(cell.paper_shown or layout.ABSENT, self._paper, where)
            fields.append(rf"\textbf{{{paper}}}" if cell.paper_bold else paper)
        if len(self.heads) > 2:
            fields.append(self._compared(cell, where))
        return fields

    def _ours(self, cell: Cell, where: str) -> str:
        face = layout.shown(cell, self.variant)
        tex = escape(face, where) if self.column.text else _padded(face, self._here, where)
        if layout.is_bold(cell):
            tex = rf"\textbf{{{tex}}}"
        if len(self.heads) > 1 and cell.shown and cell.error_shown:
            tex += rf"{{\scriptsize\,$\pm$\,{escape(cell.error_shown, where)}}}"
        mark = wording.origin_mark(self.table, cell) + layout.cell_marks(self.table, cell)
        return tex + (rf"\rlap{{\textsuperscript{{{escape(mark, where)}}}}}" if mark else "")

    def _compared(self, cell: Cell, where: str) -> str:
        tex = _padded(cell.difference_shown, self._difference, where) if cell.difference_shown else ""
        mark = wording.verdict_mark(self.table, cell)
        return tex + (rf"\,{{\scriptsize {escape(mark, where)}}}" if mark else "")


def _width(texts: Iterable[str]) -> tuple[int, int, int]:
    """Most characters of sign, integer part and decimals (with the point) among the numbers of ``texts``."""
    parts = [match.groups("") for text in texts if (match := _NUMBER.fullmatch(text))]
    return (
        max((len(sign) for sign, _, _, _ in parts), default=0),
        max((len(whole) for _, whole, _, _ in parts), default=0),
        max((len(rest) for _, _, rest, _ in parts), default=0),
    )


def _padded(text: str, width: tuple[int, int, int], where: str) -> str:
    """``text`` as TeX, as wide as the widest number of its column, with its footnote marks beyond that.

    Brackets and words stay as they are.
    """
    bare = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    match = _NUMBER.fullmatch(bare)
    if not match:
        return escape(text, where)
    sign, whole, rest, marks = match.groups("")
    left = ("-" if width[0] > len(sign) else "") + "0" * (width[1] - len(whole))
    missing = width[2] - len(rest)
    right = "" if missing == 0 else "0" * missing if rest else "." + "0" * (missing - 1)
    before = rf"\phantom{{{left.replace('-', '$-$')}}}" if left else ""
    after = rf"\phantom{{{right}}}" if right else ""
    if marks:
        after += rf"\rlap{{{escape(marks, where)}}}"
    return before + _minus(text.replace(marks, ""), where) + after


def _minus(text: str, where: str) -> str:
    return escape(text.replace("-", "−"), where)


def _tabular(table: Table, variant: Variant) -> list[str]:
    blocks = [_Block(table, column, variant) for column in table.columns]
    grouped = any(row.group for row in table.rows)
    lead = "ll" if grouped else "l"
    lines = [rf"\begin{{tabular}}{{{lead}{''.join(block.alignment for block in blocks)}}}", r"\toprule"]
    lines += _header(table, blocks, len(lead))
    lines.append(r"\midrule")
    starts = {span.first: span for span in layout.row_spans(table.rows)}
    for index, row in enumerate(table.rows):
        if row.rule and index:
            lines.append(r"\midrule")
        fields = [_label(table, row)]
        if grouped:
            span = starts.get(index)
            where = f"{_place(table)}: row {row.key}: group"
            text = escape(span.text, where) if span else ""
            fields.insert(0, rf"\multirow{{{span.count}}}{{*}}{{{text}}}" if span and span.count > 1 else text)
        fields += [field for block in blocks for field in block.fields(table.cell(row.key, block.column.key))]
        lines.append(_line(fields))
    return [*lines, r"\bottomrule", r"\end{tabular}%"]


def _label(table: Table, row: Row) -> str:
    where = f"{_place(table)}: row {row.key}: label"
    return escape(row.label, where) + _superscript(layout.row_marks(table, row), where)


def _superscript(text: str, where: str) -> str:
    return rf"\textsuperscript{{{escape(text, where)}}}" if text else ""


def _header(table: Table, blocks: Sequence[_Block], lead: int) -> list[str]:
    where = _place(table)
    starts = [lead + 1]
    for block in blocks:
        starts.append(starts[-1] + len(block.heads))

    def spanned(first: int, count: int, text: str) -> str:
        width = starts[first + count] - starts[first]
        return rf"\multicolumn{{{width}}}{{c}}{{{text}}}" if width > 1 else text

    def rules(pieces: Iterable[tuple[int, int]]) -> str:
        return " ".join(rf"\cmidrule(lr){{{starts[first]}-{starts[first + n] - 1}}}" for first, n in pieces)

    blank = [""] * lead
    lines: list[str] = []
    groups = layout.column_spans(table.columns)
    if any(group.text for group in groups):
        texts = [spanned(g.first, g.count, escape(g.text, f"{where}: column group")) for g in groups]
        lines += [_line([*blank, *texts]), rules((g.first, g.count) for g in groups if g.text)]
    corner = [*blank[1:], escape(table.corner, f"{where}: corner")]
    headers = []
    for index, block in enumerate(blocks):
        place = f"{where}: column {block.column.key}: header"
        marks = _superscript(layout.column_marks(table, block.column), place)
        headers.append(spanned(index, 1, escape(block.column.header, place) + marks))
    wide = [index for index, block in enumerate(blocks) if len(block.heads) > 1]
    if not wide:
        return [*lines, _line([*corner, *headers])]
    heads = [rf"{{\scriptsize {escape(head, where)}}}" if head else "" for block in blocks for head in block.heads]
    # A one-column header belongs to the last line, beside "here" and "paper".
    upper = [header if index in wide else "" for index, header in enumerate(headers)]
    for index in range(len(blocks)):
        if index not in wide:
            heads[starts[index] - lead - 1] = headers[index]
    return [*lines, _line([*blank, *upper]), rules((index, 1) for index in wide), _line([*corner, *heads])]


def _line(fields: Iterable[str]) -> str:
    return " & ".join(fields) + r" \\"


FORMAT = Format(".tex", render)
