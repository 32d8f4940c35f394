"""Faults that only a whole training shows: its recipe as all files together make it, on its data at the scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from pydantic import ValidationError

from replicate.errors import Fault
from replicate.specs.recipe import Recipe, epoch_length
from replicate.specs.resolve import Layer, last, merged
from replicate.specs.run import RunsFile, RunSpec
from replicate.specs.scale import Scale


def check_trainings(file: str, spec: RunsFile, scale: Scale) -> Iterator[Fault]:
    """Of every recipe, and of every run with its own changes. A field that is wrong by itself is not said again."""
    recipes = {name: _Layered(file, scale.id, spec.layers(name, scale.recipes)) for name in spec.recipes}
    for layered in recipes.values():
        if layered.recipe is not None:
            yield from _fields(layered.recipe, layered)
    for name, run in spec.runs.items():
        if run.recipe not in recipes:
            continue
        where, layered = f'{file}: runs."{name}"', recipes[run.recipe]
        if run.change:
            layered = _Layered(file, scale.id, spec.layers(run.recipe, scale.recipes, name))
            if layered.recipe is not None:
                yield from _fields(layered.recipe, layered)
        if layered.recipe is not None and run.trained:
            yield from _images(where, run, layered.recipe, layered, scale)
            yield from _weights(file, where, run, layered.recipe, spec)


class _Layered:
    """A recipe with the places of its values. ``recipe`` is None where a field is wrong by itself."""

    def __init__(self, file: str, scale: str, layers: Sequence[Layer]) -> None:
        self.file, self.scale, self.layers = file, scale, layers
        try:
            self.recipe: Recipe | None = Recipe.model_validate(merged(layers))
        except ValidationError:
            self.recipe = None

    def last(self, *fields: str) -> tuple[str, str]:
        """The place that wrote one of ``fields`` last, and which field: what made them disagree."""
        layer, field = last(self.layers, *fields)
        match layer.by:
            case "recipe":
                return f"{self.file}: recipes.{layer.name}", field
            case "scale":
                return f"scales/{self.scale}.toml: recipes.{layer.name}", field
            case "run":
                return f'{self.file}: runs."{layer.name}".change', field
            case _:
                assert_never(layer.by)


def _fields(recipe: Recipe, layers: _Layered) -> Iterator[Fault]:
    if recipe.batch % recipe.mix_batch:
        where, field = layers.last("mix_batch", "batch")
        what = (
            f"should divide the batch of {recipe.batch}, got {recipe.mix_batch}"
            if field == "mix_batch"
            else f"should be a multiple of the mix_batch of {recipe.mix_batch}, got {recipe.batch}"
        )
        yield Fault(f"{where}.{field}", what, ("mix_batch is the batch of one GPU in the official code",))
    if recipe.warmup_epochs > recipe.epochs:
        where, field = layers.last("warmup_epochs", "epochs")
        what = (
            f"should be at most the {recipe.epochs} epochs there are, got {recipe.warmup_epochs}"
            if field == "warmup_epochs"
            else f"should be at least the {recipe.warmup_epochs} epochs of the warm-up, got {recipe.epochs}"
        )
        yield Fault(f"{where}.{field}", what)


def _images(where: str, run: RunSpec, recipe: Recipe, layers: _Layered, scale: Scale) -> Iterator[Fault]:
    data = scale.data.get(run.data)
    if data is None:
        return
    if data.source == "real" or data.source == "real-json":
        yield Fault(f"{where}.data", f"'{run.data}' has labels only at the scale '{scale.id}': nothing learns from it")
    elif data.train == 0:
        yield Fault(f"{where}.data", f"'{run.data}' has no training images at the scale '{scale.id}'")
    elif recipe.batch > epoch_length(data.train):
        place = "{}.{}".format(*layers.last("batch"))
        most = f"should be at most {epoch_length(data.train)}, the images of an epoch of '{run.data}'"
        here = "" if place.startswith("scales/") else f" at the scale '{scale.id}'"
        yield Fault(place, f"{most}{here}, got {recipe.batch}")


def _weights(file: str, where: str, run: RunSpec, recipe: Recipe, spec: RunsFile) -> Iterator[Fault]:
    if recipe.ema == 0 and (run.weights or spec.evaluation.weights) == "ema":
        place = f"{where}.weights" if run.weights else f"{file}: evaluation.weights"
        help = (f"give the recipe '{run.recipe}' an 'ema', or evaluate its last weights",)
        yield Fault(place, f"the training of '{run.recipe}' averages no weights, got 'ema'", help)
