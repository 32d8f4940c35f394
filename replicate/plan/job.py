"""A job: one thing to compute, named by a hash of what it computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import Any, Literal

from replicate.store.files import canonical_text

Kind = Literal["data", "weights", "train", "predict", "measure", "probe"]
"""``weights`` are published ones: they stand where a ``train`` would."""

SOURCES = frozenset[Kind]({"data", "weights"})
"""Kinds that an experiment begins with: images and published weights. Neither is made again to see if it still agrees.
"""

RESUMABLE = frozenset[Kind]({"train"})
"""Kinds that ask whether to stop, write a checkpoint then, and go on from it: the others have one life."""

NEUTRAL: Mapping[str, Any] = {"init_weights": "last", "recipe": {"clip_norm": 0.0}}
"""Fields that came later, nested as in the payload, with the value that means "as before".

A field is left out of the hash while it has its neutral value, so adding one moves no published key.
(A key of the values that differ from a default would collide as soon as the default is edited.)
"""


@dataclass(frozen=True, slots=True)
class Job:
    """``payload`` is all that decides the result; ``inputs`` are the keys it reads (role -> key).

    ``seconds`` is the expected cost on one processor of the scale. It is no part of the key.
    """

    key: str
    kind: Kind
    payload: Mapping[str, Any] = field(compare=False)
    inputs: Mapping[str, str] = field(compare=False)
    run: str = field(compare=False, default="")
    seed: int | None = field(compare=False, default=None)
    seconds: float = field(compare=False, default=0.0)


class Part(dict[str, Any]):
    """What stands under ``name`` in the payloads of many jobs, or nearly so; not to be changed once it is made.

    Its canonical ``text`` is written once, and of one that differs in a field only that field is: writing out one
    recipe with 100,000 learning rates was a third of planning as many trainings.
    """

    __slots__ = ("_items", "name", "text")

    def __init__(self, name: str, values: Mapping[str, Any], text: str = "") -> None:
        super().__init__(values)
        self.name = name
        self._items: dict[str, str] = {}
        self.text = text or self._written({})

    def changed(self, change: Mapping[str, Any]) -> Part:
        """This part with other values for some fields."""
        values = {**self, **change}
        return Part(self.name, values, self._written(change) if len(values) == len(self) else "")

    def _written(self, change: Mapping[str, Any]) -> str:
        neutral = NEUTRAL.get(self.name)
        fields = neutral if isinstance(neutral, Mapping) else {}
        if not self._items:
            self._items = {field: _item(field, self[field], fields) for field in sorted(self)}
        changed = {field: _item(field, value, fields) for field, value in change.items()}
        return f"{_quoted(self.name)}:{_object({**self._items, **changed}.values())}"

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        # The process that a job is sent to needs its values only.
        return dict, (dict(self),)


def key_of(payload: Mapping[str, Any], label: str) -> str:
    """``<kind>-<label>-<12 hex digits>``: the label is for people, the digits are what counts.

    48 bits: among 100,000 jobs the chance of any collision is 2e-5, and the store compares payloads anyway.
    """
    digits = sha256(written(payload)).hexdigest()[:12]
    return "-".join(part for part in (payload["kind"], label, digits) if part)


def written(payload: Mapping[str, Any]) -> bytes:
    """``canonical(without_neutral(payload))``, with the texts that parts have: what a key is the hash of."""
    return _object([_item(name, payload[name], NEUTRAL) for name in sorted(payload)]).encode()


def without_neutral(payload: Mapping[str, Any], neutral: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """``payload`` without the fields of `NEUTRAL` that have their neutral value: what decides the result."""
    kept = dict(payload)
    for name, value in (NEUTRAL if neutral is None else neutral).items():
        if isinstance(value, Mapping):
            if isinstance(kept.get(name), Mapping):
                kept[name] = without_neutral(kept[name], value)
        elif name in kept and kept[name] == value:
            del kept[name]
    return kept


def _object(items: Iterable[str]) -> str:
    return f"{{{','.join(filter(None, items))}}}"


_NOTHING: Mapping[str, Any] = {}


def _item(name: str, value: Any, neutral: Mapping[str, Any]) -> str:
    """``"name":value`` in canonical JSON; empty where ``neutral`` has that value."""
    if type(value) is Part and value.name == name:
        return value.text
    within = neutral.get(name, _NOTHING)
    if isinstance(value, dict):
        fields = within if isinstance(within, Mapping) else _NOTHING
        return f"{_quoted(name)}:{_object([_item(field, value[field], fields) for field in sorted(value)])}"
    if value == within:
        return ""
    # Most values are numbers and words; a JSON encoder for each int costs ten times its text.
    return f"{_quoted(name)}:{value if type(value) is int else canonical_text(value)}"


@cache
def _quoted(name: str) -> str:
    return canonical_text(name)
