"""The key of a job: a hash of the canonical JSON of everything that decides its result."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from hashlib import sha256
from json.encoder import encode_basestring
from typing import Any

from pydantic import BaseModel

# Without the search for cycles it is a tenth faster; a cycle raises RecursionError.
_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
)

quoted = encode_basestring
"""The canonical JSON of a word."""

NOTHING: Mapping[str, object] = {}


def canonical_text(value: Any) -> str:
    """Return the canonical JSON text of ``value``; `canonical` returns its bytes."""
    return _CANONICAL.encode(value)


def canonical(value: Any) -> bytes:
    """Return the canonical JSON bytes of ``value``, which keys and checksums are hashes of."""
    return _CANONICAL.encode(value).encode()


def key_of(kind: str, label: str, written: bytes) -> str:
    """``<kind>-<label>-<12 hex digits>``: the label is for people, the digits are what counts.

    48 bits: among 100,000 jobs the chance of any collision is 2e-5, and the store compares payloads anyway.
    """
    digits = sha256(written).hexdigest()[:12]
    return f"{kind}-{label}-{digits}" if label else f"{kind}-{digits}"


def plain(value: Any) -> Any:
    """``value`` as JSON has it: models, and dataclasses in one another, are dictionaries of their fields."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    return value


def without_neutral(payload: Mapping[str, object], neutral: Mapping[str, object]) -> Mapping[str, object]:
    """``payload`` without the fields that have the value ``neutral`` gives them: what decides the result."""
    kept = dict(payload)
    for name, value in neutral.items():
        if isinstance(value, Mapping):
            if isinstance(part := kept.get(name), Mapping):
                kept[name] = without_neutral(part, value)
        elif name in kept and kept[name] == value:
            del kept[name]
    return kept


@dataclass(slots=True)
class Texts:
    """The canonical texts of the parts that many payloads share, each written once.

    Writing out one recipe with 100,000 learning rates was a third of planning as many trainings, so of a part that
    differs from another one in a field only that field is written (`derive`). Parts are told apart by identity, and
    kept alive for it; they are not to be changed once they are made.
    """

    shared: dict[int, tuple[Any, Mapping[str, object], str]] = field(default_factory=dict)
    """By the identity of a part: the part, the neutral values it was last written without, and that text."""
    _items: dict[tuple[int, int], dict[str, str]] = field(default_factory=dict)
    _derived: dict[int, tuple[Any, Any, Mapping[str, object]]] = field(default_factory=dict)

    def derive(self, part: Any, base: Any, change: Mapping[str, object]) -> None:
        """Note that ``part`` is ``base`` but for the fields in ``change``, all of which ``base`` has too."""
        self._derived[id(part)] = (part, base, change)

    def written(self, part: Any, neutral: Mapping[str, object]) -> str:
        """The canonical text of ``part`` (a mapping, model or dataclass) without its ``neutral`` fields."""
        written = self.shared.get(id(part))
        if written is not None and written[1] is neutral:
            return written[2]
        derived = self._derived.pop(id(part), None)
        if derived is not None:
            _, base, change = derived
            changed = {name: item(name, value, neutral) for name, value in change.items()}
            text = joined({**self._items_of(base, neutral), **changed}.values())
        else:
            values = plain(part)
            if type(values) is not dict:
                return canonical_text(values)
            text = joined(self._items_of(part, neutral).values())
        self.shared[id(part)] = part, neutral, text
        return text

    def _items_of(self, part: Any, neutral: Mapping[str, object]) -> dict[str, str]:
        items = self._items.get((id(part), id(neutral)))
        if items is None:
            values = plain(part)
            items = {name: item(name, values[name], neutral) for name in sorted(values)}
            self._items[id(part), id(neutral)] = items
            # Keeps the part alive, so that no other object gets its identity.
            self.shared.setdefault(id(part), (part, neutral, joined(items.values())))
        return items


def joined(items: Iterable[str]) -> str:
    """A JSON object of ``"name":value`` texts, the empty ones left out."""
    return "{" + ",".join(filter(None, items)) + "}"


def mapping(values: Mapping[str, object], neutral: Mapping[str, object]) -> str:
    """``values`` in canonical JSON, without the ``neutral`` ones."""
    if neutral:
        return joined([item(name, values[name], neutral) for name in sorted(values)])
    items = [
        f"{quoted(name)}:{quoted(value)}" if type(value := values[name]) is str else item(name, value, NOTHING)
        for name in sorted(values)
    ]
    return "{" + ",".join(items) + "}"


def item(name: str, value: Any, neutral: Mapping[str, object]) -> str:
    """``"name":value`` in canonical JSON; empty where ``neutral`` has that value."""
    kind = type(value)
    within = neutral.get(name, NOTHING) if neutral else NOTHING
    if kind is dict:
        inner = within if isinstance(within, Mapping) else NOTHING
        return f"{quoted(name)}:{mapping(value, inner)}"
    if within is not NOTHING and value == within:
        return ""
    # Most values are words and numbers; a JSON encoder for each costs ten times its text.
    if kind is str:
        return f"{quoted(name)}:{quoted(value)}"
    return f"{quoted(name)}:{value if kind is int else canonical_text(value)}"
