"""The field names that a model allows at a place of a file, for suggestions. Only an unknown key needs it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, Field


class _Schema(BaseModel):
    """What is read of a JSON schema; that of a model has the named ones, which others refer to."""

    type: object = None
    const: object = None
    ref: str = Field(default="", alias="$ref")
    named: dict[str, _Schema] = Field(default={}, alias="$defs")
    properties: dict[str, _Schema] = {}
    items: _Schema | None = None
    others: _Schema | bool = Field(default=False, alias="additionalProperties")
    any_of: tuple[_Schema, ...] = Field(default=(), alias="anyOf")
    one_of: tuple[_Schema, ...] = Field(default=(), alias="oneOf")

    def resolved(self, node: _Schema) -> _Schema:
        for option in node.any_of:
            if option.type != "null":
                node = option
        while node.ref:
            node = self.named[node.ref.removeprefix("#/$defs/")]
        return node

    def constants(self, raw: Mapping[str, object]) -> int:
        return sum(each.const is not None and raw.get(name) == each.const for name, each in self.properties.items())


def fields_at(model: type[BaseModel], raw: Any, loc: tuple[int | str, ...]) -> list[str]:
    """Field names allowed at ``loc`` of ``raw``: walks the JSON schema, which knows about nesting, lists and unions."""
    schema = _Schema.model_validate(model.model_json_schema())
    node = schema
    for part in loc:
        node = schema.resolved(node)
        if isinstance(part, int):
            node = node.items or _Schema()
        elif part in node.properties:
            node = node.properties[part]
        elif isinstance(node.others, _Schema):
            node = node.others
        with suppress(LookupError, TypeError):  # a step of pydantic's own, such as the member of a union
            raw = raw[part]
    node = schema.resolved(node)
    # Of alternatives, the one with most of the constants that are written there.
    return sorted(max(node.one_of, key=lambda branch: branch.constants(raw), default=node).properties)
