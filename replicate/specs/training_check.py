"""Faults that only a whole training shows: its recipe as all files together make it, on its data at the scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from replicate.errors import Fault
from replicate.specs.recipe import Recipe, epoch_length
from replicate.specs.run import RunsFile, RunSpec, chain_of
from replicate.specs.scale import Scale

Layer = tuple[str, Mapping[str, Any]]
"""A place in a file and the fields it writes."""


def check_trainings(file: str, spec: RunsFile, scale: Scale) -> Iterator[Fault]:
    """Of every recipe, and of every run with its own changes. A field that is wrong by itself is not said again."""
    layers = {name: _layers(file, name, spec, scale) for name in spec.recipes}
    recipes = {name: _recipe(found) for name, found in layers.items()}
    for name, recipe in recipes.items():
        if recipe is not None:
            yield from _fields(recipe, layers[name])
    for name, run in spec.runs.items():
        if run.recipe not in layers:
            continue
        where, found, recipe = f'{file}: runs."{name}"', layers[run.recipe], recipes[run.recipe]
        if run.change:
            found = [*found, (f"{where}.change", run.change)]
            recipe = _recipe(found)
            if recipe is not None:
                yield from _fields(recipe, found)
        if recipe is not None and run.trained:
            yield from _images(where, run, recipe, found, scale)
            yield from _weights(file, where, run, recipe, spec)


def _layers(file: str, name: str, spec: RunsFile, scale: Scale) -> list[Layer]:
    """As `replicate.plan.expand` puts them together: each base as written, then what the scale changes of it."""
    layers: list[Layer] = []
    for base in chain_of(name, spec.extends, list(spec.recipes)):
        layers.append((f"{file}: recipes.{base}", spec.written[base]))
        layers.append((f"scales/{scale.id}.toml: recipes.{base}", scale.recipes.get(base, {})))
    return layers


def _recipe(layers: Sequence[Layer]) -> Recipe | None:
    values: dict[str, Any] = {}
    for _, written in layers:
        values |= written
    try:
        return Recipe.model_validate(values)
    except ValidationError:
        return None


def _last(layers: Sequence[Layer], *fields: str) -> tuple[str, str]:
    """The field of ``fields`` that was written last, and its place: what made them disagree."""
    return next((where, field) for where, written in reversed(layers) for field in fields if field in written)


def _fields(recipe: Recipe, layers: Sequence[Layer]) -> Iterator[Fault]:
    if recipe.batch % recipe.mix_batch:
        where, field = _last(layers, "mix_batch", "batch")
        what = (
            f"should divide the batch of {recipe.batch}, got {recipe.mix_batch}"
            if field == "mix_batch"
            else f"should be a multiple of the mix_batch of {recipe.mix_batch}, got {recipe.batch}"
        )
        yield Fault(f"{where}.{field}", what, ("mix_batch is the batch of one GPU in the official code",))
    if recipe.warmup_epochs > recipe.epochs:
        where, field = _last(layers, "warmup_epochs", "epochs")
        what = (
            f"should be at most the {recipe.epochs} epochs there are, got {recipe.warmup_epochs}"
            if field == "warmup_epochs"
            else f"should be at least the {recipe.warmup_epochs} epochs of the warm-up, got {recipe.epochs}"
        )
        yield Fault(f"{where}.{field}", what)


def _images(where: str, run: RunSpec, recipe: Recipe, layers: Sequence[Layer], scale: Scale) -> Iterator[Fault]:
    data = scale.data.get(run.data)
    if data is None:
        return
    if data.source == "real" or data.source == "real-json":
        yield Fault(f"{where}.data", f"'{run.data}' has labels only at the scale '{scale.id}': nothing learns from it")
    elif data.train == 0:
        yield Fault(f"{where}.data", f"'{run.data}' has no training images at the scale '{scale.id}'")
    elif recipe.batch > epoch_length(data.train):
        place = "{}.{}".format(*_last(layers, "batch"))
        most = f"should be at most {epoch_length(data.train)}, the images of an epoch of '{run.data}'"
        here = "" if place.startswith("scales/") else f" at the scale '{scale.id}'"
        yield Fault(place, f"{most}{here}, got {recipe.batch}")


def _weights(file: str, where: str, run: RunSpec, recipe: Recipe, spec: RunsFile) -> Iterator[Fault]:
    if recipe.ema == 0 and (run.weights or spec.evaluation.weights) == "ema":
        place = f"{where}.weights" if run.weights else f"{file}: evaluation.weights"
        help = (f"give the recipe '{run.recipe}' an 'ema', or evaluate its last weights",)
        yield Fault(place, f"the training of '{run.recipe}' averages no weights, got 'ema'", help)
