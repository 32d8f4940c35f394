"""The formats of a table by name, and ``write``: one table into files beside each other.

A format is a module of this folder, ``format_NAME.py``, with a `Format` called ``FORMAT``; it is found by its name, in
which a ``-`` is a ``_`` of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from replicate.errors import UnknownName
from replicate.judge.table import Table
from replicate.render import format_names
from replicate.render.layout import Variant
from replicate.store.files import write_text


@dataclass(frozen=True, slots=True)
class Format:
    """A format of a table. ``suffix`` follows the id of the table in the name of its file.

    varies: the ``compare`` variant is another file, with ``-compare`` in its name. typeset: makes a second file from
    the one that was written, and returns where it is.
    """

    suffix: str
    render: Callable[[Table, Variant], str]
    varies: bool = True
    typeset: Callable[[Path], Path] | None = None


_REGISTERED: dict[str, Format] = {}


def register(name: str, kind: Format) -> Format:
    """Add a format from outside this package. Raises ValueError for a name that another format has."""
    if name in names():
        raise ValueError(f"format '{name}': another format has this name")
    _REGISTERED[name] = kind
    return kind


def names() -> tuple[str, ...]:
    return (*format_names(), *_REGISTERED)


def find(name: str) -> Format:
    """Return the format ``name``. Raises UnknownName."""
    if name not in names():
        raise UnknownName("format", name, names())
    if name in _REGISTERED:
        return _REGISTERED[name]
    found = import_module(f"replicate.render.format_{name.replace('-', '_')}").FORMAT
    assert isinstance(found, Format), f"format {name}: FORMAT should be a Format, got {found!r}"
    return found


def write(table: Table, folder: Path, formats: Iterable[str], variant: Variant = "paper") -> list[Path]:
    """Write ``table`` into ``folder`` in each of ``formats``. Return the written paths, in that order."""
    kinds = [find(name) for name in dict.fromkeys(formats)]
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for kind in kinds:
        stem = f"{table.id}-compare" if kind.varies and variant == "compare" else table.id
        path = folder / f"{stem}{kind.suffix}"
        write_text(path, kind.render(table, variant))
        paths.append(path)
        if kind.typeset is not None:
            paths.append(kind.typeset(path))
    return paths
