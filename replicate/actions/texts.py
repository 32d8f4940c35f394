"""Words of the specs that LaTeX or a figure cannot show, and names of macros that two numbers would share."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from replicate.errors import Fault
from replicate.figures.load import figure_files
from replicate.figures.spec import all_cells
from replicate.render.macros import macro_of
from replicate.render.symbols import SYMBOLS
from replicate.specs.file import dotted, read_spec, shown_path
from replicate.specs.load import AS_WRITTEN, Specs, scale_files, table_files
from replicate.text import named

NOT_IN_TEX = frozenset({"source", "tolerance_reason", "unit", "within_source", "quote", "not_run"})
"""Keys of a table whose words stand in HTML, Markdown and JSON alone, or in TeX comments."""
NOT_DRAWN = frozenset({"caption"})
"""Keys of a figure whose words stand beside the drawing."""
OF_A_SCALE = frozenset({"banner"})
"""Keys of a scale whose words stand in tables and figures."""

Text = tuple[str, str]
"""Its place in a file, and what it says."""


def unprintable(folder: Path) -> Iterator[Fault]:
    """The faults of all words of the specs in ``folder``, each with its place."""
    for path in table_files(folder):
        for place, text in _texts(path, NOT_IN_TEX):
            yield from _of_tex(place, text)
    for path in figure_files(folder):
        for place, text in _texts(path, NOT_DRAWN):
            yield from _of_figure(place, text)
    for path in scale_files(folder).values():
        for place, text in _texts(path, (), OF_A_SCALE):
            yield from _of_tex(place, text)


def shared_macros(specs: Specs) -> Iterator[Fault]:
    """The faults of cells whose TeX macros would have one name."""
    owners: dict[str, object] = {}
    for table_id, spec in specs.tables.items():
        for ref in all_cells(spec):
            name = macro_of(specs.runs.paper.macros, ref)
            other = owners.setdefault(name, ref)
            if other is not ref:
                what = f"two cells have the macro name \\{name}: '{other}' and '{ref}'"
                yield Fault(shown_path(specs.files[table_id]), what, ("give one of them another key",))


def _of_tex(place: str, text: str) -> Iterator[Fault]:
    if unknown := _unknown(text):
        help = ("write it in words, or map it in replicate/render/symbols.py",)
        yield Fault(place, f"LaTeX cannot print {', '.join(map(named, unknown))}", help)


def _of_figure(place: str, text: str) -> Iterator[Fault]:
    # The fonts have whatever LaTeX has, and are read only where a figure has more than that.
    if absent := [character for character in _unknown(text) if ord(character) not in _glyphs()]:
        yield Fault(place, f"a figure cannot show {', '.join(map(named, absent))}", ("write it in words",))


def _unknown(text: str) -> list[str]:
    return [] if text.isascii() else [character for character in dict.fromkeys(text) if character not in SYMBOLS]


@cache
def _glyphs() -> Collection[int]:
    """The characters that a figure can show; all of them where matplotlib is not installed, which draws none."""
    if find_spec("matplotlib") is None:
        return range(sys.maxunicode + 1)
    from replicate.figures.style import glyphs

    return glyphs()


def _texts(path: Path, without: Collection[str], only: Collection[str] = ()) -> Iterator[Text]:
    """The words in a file, with their places. What is wrong with the file itself is said where it is read."""
    if not _suspicious(path):
        return
    raw = read_spec(path, [], AS_WRITTEN) or {}
    chosen = {name: value for name, value in raw.items() if name in only} if only else raw
    for loc, text in _strings(chosen, (), without):
        yield f"{shown_path(path)}: {dotted(loc)}", text


def _suspicious(path: Path) -> bool:
    """Whether a file has other characters than LaTeX. Any other one need not be parsed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return "\\u" in text.casefold() or not {*text} <= {*SYMBOLS, "\n", "\t", "\r"}


def _strings(value: Any, loc: tuple[int | str, ...], without: Collection[str]) -> Iterator[tuple[Any, str]]:
    match value:
        case str():
            yield loc, value
        case Mapping():
            for name, item in value.items():
                if name not in without:
                    yield from _strings(item, (*loc, name), without)
        case list():
            for index, item in enumerate(value):
                yield from _strings(item, (*loc, index), without)
