"""How a recipe is put together: each base, then what the scale changes of it, and last what the run changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from replicate.errors import suggestion

Fields = Mapping[str, object]
NO_CHANGES: Mapping[str, Fields] = {}


@dataclass(frozen=True, slots=True)
class Layer:
    """Fields that one place of the specs writes: the ``recipe`` of that name in runs.toml, what the ``scale`` changes
    of it, or what the ``run`` of that name changes."""

    by: Literal["recipe", "scale", "run"]
    name: str
    fields: Fields


def layers(
    recipe: str,
    extends: Mapping[str, str],
    written: Mapping[str, Fields],
    scaled: Mapping[str, Fields] = NO_CHANGES,
    run: str = "",
    change: Fields | None = None,
) -> list[Layer]:
    """All layers of ``recipe``, the furthest base first: a later one replaces what an earlier one writes.

    written, scaled: the fields of each recipe in runs.toml, and in the scale. change: what ``run`` changes.
    Raises ValueError where the bases lead nowhere, or in a circle.
    """
    stack = []
    for name in chain_of(recipe, extends, list(written)):
        stack.append(Layer("recipe", name, written[name]))
        if name in scaled:
            stack.append(Layer("scale", name, scaled[name]))
    return [*stack, Layer("run", run, change)] if change else stack


def merged(layers: Sequence[Layer]) -> dict[str, object]:
    """The values that are used."""
    values: dict[str, object] = {}
    for layer in layers:
        values |= layer.fields
    return values


def last(layers: Sequence[Layer], *fields: str) -> tuple[Layer, str]:
    """The layer that writes one of ``fields`` last, and which of them: its value is used."""
    return next((layer, field) for layer in reversed(layers) for field in fields if field in layer.fields)


def chain_of(name: str, extends: Mapping[str, str], known: Sequence[str]) -> list[str]:
    """The recipes that ``name`` is made of, its furthest base first."""
    chain = [name]
    while chain[0] in extends:
        base = extends[chain[0]]
        where = f"recipes.{chain[0]}.extends"
        if not isinstance(base, str):
            raise ValueError(f"{where}: should be the name of a recipe, got {base!r}")
        if base not in known:
            near = suggestion(base, sorted(known), plural="recipes")
            raise ValueError("\n  ".join([f"{where}: there is no recipe '{base}'", *near]))
        if base in chain:
            raise ValueError(f"{where}: the recipe extends itself: {' -> '.join([*reversed(chain), base])}")
        chain.insert(0, base)
    return chain
