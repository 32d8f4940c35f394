"""Rendered tables into the folder of their scale: which formats, and what is said where one cannot be written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from replicate.cli.workspace import Workspace
from replicate.errors import UnknownName, UserError

if TYPE_CHECKING:
    from replicate.judge.table import Table

DEFAULT = ("tex", "md", "csv", "html", "json")
MACROS = "macros"
NAMES = (*DEFAULT, "txt", "pdf", MACROS)


class Formats(click.ParamType[tuple[str, ...]]):
    """Names of formats with commas between."""

    name = "LIST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(part.strip() for part in str(value).split(",")))
        for one in names:
            if one not in NAMES:
                raise UnknownName("format", one, NAMES)
        return names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(f"{before}{comma}{one}") for one in NAMES if one.startswith(last)]


def write_tables(workspace: Workspace, tables: Sequence[Table], wanted: Iterable[str], macros: str) -> list[Path]:
    """Both variants of each table in the formats of ``wanted``; the numbers of all of them in the file ``macros``."""
    from replicate.render import formats
    from replicate.render import macros as macro_file
    from replicate.store.files import write_text

    folder = workspace.rendered
    wanted = tuple(wanted)
    kinds = [one for one in wanted if one != MACROS]
    paths: list[Path] = []
    try:
        for table in tables:
            for variant in formats.VARIANTS:
                paths += formats.write(table, folder, kinds, variant)
        if MACROS in wanted:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / macros, macro_file.render(tables))
            paths.append(folder / macros)
    except OSError as error:
        raise UserError(
            f"{folder}: the table cannot be written, got '{error.strerror}'\n"
            "  name a folder that you may write with --out DIR; results are not touched"
        ) from error
    # The formats without variants are written once more the second time.
    return list(dict.fromkeys(paths))
