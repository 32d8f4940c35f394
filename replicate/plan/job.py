"""A job: one thing to compute, named by a hash of what it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

from replicate.store.atomic import canonical

Kind = Literal["data", "train", "predict", "measure", "probe"]

NEUTRAL: Mapping[str, Any] = {"init_weights": "last", "recipe.clip_norm": 0.0}
"""Fields that came later, dotted from the payload's root, with the value that means "as before".

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


def key_of(payload: Mapping[str, Any], label: str) -> str:
    """``<kind>-<label>-<12 hex digits>``: the label is for people, the digits are what counts.

    48 bits: among 100,000 jobs the chance of any collision is 2e-5, and the store compares payloads anyway.
    """
    digits = sha256(canonical(without_neutral(payload))).hexdigest()[:12]
    return "-".join(part for part in (payload["kind"], label, digits) if part)


def without_neutral(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """``payload`` without the fields of `NEUTRAL` that have their neutral value: what decides the result."""
    # Copies only along the paths: going through all of 100,000 payloads costs seconds.
    for dotted, neutral in NEUTRAL.items():
        payload = _without(payload, dotted, neutral)
    return payload


def _without(value: Mapping[str, Any], dotted: str, neutral: Any) -> Mapping[str, Any]:
    name, _, rest = dotted.partition(".")
    if name not in value:
        return value
    item = value[name]
    if not rest:
        if item != neutral:
            return value
        kept = dict(value)
        del kept[name]
        return kept
    pruned = _without(item, rest, neutral) if isinstance(item, Mapping) else item
    return value if pruned is item else {**value, name: pruned}
