"""A table as JSON, for other programs: the dump of its model, so that a new field appears by itself (docs/json.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction

from replicate.judge.table import Table
from replicate.render import layout, wording
from replicate.render.formats import Format
from replicate.render.layout import Variant
from replicate.specs.cell import CellRef
from replicate.text import Printed

SCHEMA = 2
"""Raised when a field is renamed or removed; new fields do not raise it."""


def render(table: Table, variant: Variant = "paper") -> str:
    in_order = [table.cell(row.key, column.key) for row in table.rows for column in table.columns]
    in_order += [cell for cell in layout.numbers(table) if cell.ref.is_reference]
    cells = {cell.ref: replace(cell, verdict=wording.verdict(table, cell)) for cell in in_order}
    document = {"schema": SCHEMA, **dump(replace(table, cells=cells))}
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def dump(model: object) -> dict[str, object]:
    """The fields of a dataclass, then its properties, as JSON knows them."""
    assert is_dataclass(model)
    values: dict[str, object] = {}
    for field in fields(model):
        value = getattr(model, field.name)
        values[field.name] = _plain(value)
        if "Fraction" in str(field.type):
            # A float cannot hold most percentages.
            values["exact" if field.name == "value" else f"{field.name}_exact"] = None if value is None else str(value)
    computed = [name for name, member in vars(type(model)).items() if isinstance(member, property)]
    return values | {name: _plain(getattr(model, name)) for name in computed}


def _plain(value: object) -> object:
    match value:
        case CellRef():
            return str(value)
        case Printed():
            return value.number
        case Fraction():
            return float(value)
        case Mapping():
            return [_plain(item) for item in value.values()]
        case tuple():
            return [_plain(item) for item in value]
        case _ if is_dataclass(value):
            return dump(value)
        case _:
            return value


FORMAT = Format(".json", render, varies=False)
