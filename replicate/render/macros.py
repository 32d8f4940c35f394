r"""Every number as a TeX macro, for use in prose: ``\DeitDistillationAblationHardBTwoTwoFour{}`` is 74.3.

The name is ``\Deit`` (``paper.macros`` of runs.toml says another beginning) and then table, row and column of the
cell, each word with a capital letter and each digit spelt out, since a TeX name has letters only. A number that only
claims use has ``Reference`` in the place of its row. A number that is not there yet is ``??`` in bold, so that nobody
overlooks it.

Behind each macro a comment says at which scale its number was made. A number of another experiment than the paper's
is printed with the name of its scale raised behind it, by the macro ``\DeitScaleMark``: a document that gives that
macro another meaning before it reads the file has the bare numbers. ``\DeitBanner`` is what such an experiment is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from replicate.errors import UserError
from replicate.judge.table import Cell, Table
from replicate.render import layout, wording
from replicate.render.symbols import comment, definitions, escape
from replicate.specs.cell import CellRef

FILE = "numbers.tex"
DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
MARK = "ScaleMark"
"""Of the macro that is printed behind a number of another experiment, after the beginning of all names."""
ABSENT = r"\textbf{??}"


def macro_of(prefix: str, ref: CellRef) -> str:
    """``DeitDistillationAblationHardBTwoTwoFour``, without the backslash."""
    return prefix + "".join(map(_word, (ref.table, "reference" if ref.is_reference else ref.row, ref.column)))


def render(tables: Iterable[Table]) -> str:
    """The macros of all ``tables``, in their order. Raises UserError where two cells would have one name."""
    tables = list(tables)
    lines = [
        line
        for prefix, table in {table.macros: table for table in tables if not table.comparable}.items()
        for line in _scale(prefix, table)
    ]
    lines += [
        line
        for table in tables
        for line in [
            comment(f"{table.id}: {table.source}, scale {table.scale}, digest {table.digest}"),
            *([comment(f"BANNER: {table.banner}")] if table.banner else []),
            *_macros(table),
        ]
    ]
    owners: dict[str, CellRef] = {}
    for table in tables:
        for cell in layout.numbers(table):
            macro = macro_of(table.macros, cell.ref)
            other = owners.setdefault(macro, cell.ref)
            if other != cell.ref:
                raise UserError(
                    f"{table.spec or table.id}: two cells have the macro name \\{macro}: '{other}' and '{cell.ref}'\n"
                    "  give one of them another key"
                )
    needed = "\n".join(lines)
    begin = " or ".join(dict.fromkeys(f"\\{table.macros}" for table in tables))
    head = [comment(f"numbers for use in prose; needs amssymb; a name is {begin}, table, row, column")]
    return "\n".join([*head, *definitions(needed), *lines]) + "\n"


def _scale(prefix: str, table: Table) -> list[str]:
    """The mark behind every number of an experiment that is not the paper's, and what that is in words."""
    where = table.spec or table.id
    return [
        rf"\providecommand{{\{prefix}{MARK}}}{{\textsuperscript{{{escape(table.scale, where)}}}}}% behind every number",
        rf"\providecommand{{\{prefix}Banner}}{{{escape(wording.banner(table), where)}}}",
    ]


def _macros(table: Table) -> list[str]:
    made = f"scale {table.scale}" + (
        f", not the paper's experiment: {wording.banner(table)}" if not table.comparable else ""
    )
    lines = []
    for cell in layout.numbers(table):
        tex = _value(table, cell, f"{table.spec or table.id}: row {cell.row}, column {cell.column}")
        about = (
            "printed in the paper only"
            if cell.state == "paper-only"
            else made
            if cell.shown
            else f"{made}: not made yet"
        )
        lines.append(rf"\newcommand{{\{macro_of(table.macros, cell.ref)}}}{{{tex}}}{comment(about)}")
    return lines


def _value(table: Table, cell: Cell, where: str) -> str:
    if cell.state in ("pending", "running", "failed") and not cell.shown:
        return ABSENT
    tex = escape(layout.face(cell), where)
    return tex if table.comparable or not cell.shown else rf"{tex}\{table.macros}{MARK}{{}}"


def _word(key: str) -> str:
    words = re.findall(r"[a-z]+|[0-9]", key)
    return "".join(DIGITS[int(word)] if word.isdigit() else word.capitalize() for word in words)
