"""The comments beside the values of the specs: they say where each value comes from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from replicate.specs.file import read_toml
from replicate.specs.load import Specs

Place = tuple[str, ...]
"""Dotted place of a value in a file, such as ``("recipes", "deit", "lr")``, or of a table."""

UNKNOWN = "unknown"
"""A comment that starts so says that nobody published the value."""


@dataclass(frozen=True, slots=True)
class Sources:
    """``comments`` by file name (``runs.toml``, ``mini.toml``) and place.

    ``scale_files`` are the file of the scale and that of the scale it extends, the nearest first.
    """

    comments: Mapping[str, Mapping[Place, str]] = field(default_factory=dict)
    scale_files: tuple[str, ...] = ()

    def of(self, file: str, *place: str) -> str:
        """What stands beside that value or header; empty where nothing does."""
        return self.comments.get(file, {}).get(place, "")


def read_sources(specs: Specs) -> Sources:
    """Of runs.toml, of the scale and of every scale that it extends, by the name of the file."""
    found = {"runs.toml": comments(_text(specs.folder / "runs.toml"))}
    files = _scale_files(specs)
    for name in files:
        found[name] = comments(_text(specs.folder / "scales" / name))
    return Sources(found, tuple(files))


def _scale_files(specs: Specs) -> list[str]:
    names = [f"{specs.scale.id}.toml"]
    raw = read_toml(specs.folder / "scales" / names[0], [])
    base = raw.get("extends") if raw else None
    return [*names, f"{base}.toml"] if isinstance(base, str) else names


def comments(text: str) -> dict[Place, str]:
    """Place to comment, of values and headers that stand on one line with it."""
    found: dict[Place, str] = {}
    table: Place = ()
    for line in text.splitlines():
        code, comment = split(line)
        if code.startswith("[") and not code.startswith("[["):
            table = _place(f"{code}\n_ = 0")[:-1]
            place = table
        elif "=" in code and not code.startswith("["):
            name = _place(f"{code.partition('=')[0]} = 0")
            place = table + name if name else ()
        else:
            continue
        if comment and place:
            found[place] = comment
    return found


def split(line: str) -> tuple[str, str]:
    """Code and comment of a line of TOML; a ``#`` inside quotes starts no comment."""
    quote = ""
    escaped = False
    for index, character in enumerate(line):
        if quote:
            if escaped:
                escaped = False
            elif character == "\\" and quote == '"':
                escaped = True
            elif character == quote:
                quote = ""
        elif character in "\"'":
            quote = character
        elif character == "#":
            return line[:index].strip(), line[index + 1 :].strip()
    return line.strip(), ""


def _place(code: str) -> Place:
    """The one place that a piece of TOML sets; empty for what is not a whole one, such as a line of a list."""
    try:
        value: object = tomllib.loads(code)
    except tomllib.TOMLDecodeError:
        return ()
    place: list[str] = []
    while isinstance(value, dict) and len(value) == 1:
        name, value = next(iter(value.items()))
        place.append(name)
    return tuple(place)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
