"""The formats by name, and ``write``: one table into files beside each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from replicate.errors import UnknownName
from replicate.judge.table import Table
from replicate.render import csv_file, html_page, json_file, latex, markdown, standalone, terminal
from replicate.render.layout import Variant
from replicate.store.files import write_text


@dataclass(frozen=True, slots=True)
class Format:
    """``varies``: the file of the ``compare`` variant is another one, with ``-compare`` in its name."""

    suffix: str
    render: Callable[[Table, Variant], str]
    varies: bool = True


def _csv(table: Table, _: Variant) -> str:
    return csv_file.render(table)


def _json(table: Table, _: Variant) -> str:
    return json_file.render(table)


FORMATS: Mapping[str, Format] = {
    "tex": Format(".tex", latex.render),
    "pdf": Format("-standalone.tex", standalone.render),
    "md": Format(".md", markdown.render),
    "csv": Format(".csv", _csv, varies=False),
    "html": Format(".html", html_page.render),
    "json": Format(".json", _json, varies=False),
    "txt": Format(".txt", terminal.render),
}
"""``pdf`` writes the document that it typesets too, so that a reader can change it and run pdflatex again."""


VARIANTS: tuple[Variant, ...] = ("paper", "compare")


def write(table: Table, folder: Path, formats: Iterable[str], variant: Variant = "paper") -> list[Path]:
    """Write ``table`` into ``folder`` in each of ``formats``; the paths that were written, in that order."""
    names = list(dict.fromkeys(formats))
    for name in names:
        if name not in FORMATS:
            raise UnknownName("format", name, FORMATS)
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for name in names:
        kind = FORMATS[name]
        stem = f"{table.id}-compare" if kind.varies and variant == "compare" else table.id
        path = folder / f"{stem}{kind.suffix}"
        write_text(path, kind.render(table, variant))
        paths.append(path)
        if name == "pdf":
            paths.append(standalone.pdf(path, folder / f"{stem}.pdf"))
    return paths
