"""The recipe of a run, value by value: what is used here, what the paper's scale uses, and who says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

from pydantic import BaseModel

from replicate.plan.cells import Plan
from replicate.site.sources import UNKNOWN, Place, Sources
from replicate.specs.resolve import Layer, last
from replicate.specs.run import RunSpec
from replicate.text import value

RUNS = "runs.toml"


@dataclass(frozen=True, slots=True)
class Ingredient:
    """One value. ``paper`` is what runs.toml writes down, ``source`` the comment beside it.

    ``here`` is empty where nothing here uses it: the weights were published. ``changed`` says what replaces it (the
    scale, the run itself) and ``why`` is the comment beside that; both are empty where the value here is the paper's.
    ``unknown``: nobody published it.
    """

    name: str
    here: str
    paper: str
    source: str
    changed: str = ""
    why: str = ""

    @property
    def unknown(self) -> bool:
        return self.source.lower().startswith(UNKNOWN)


@dataclass(frozen=True, slots=True)
class Block:
    """A group of values: the recipe, how the teacher is used, the evaluation. ``said`` is the comment at its head.

    ``used``: False where it is only what the paper says of a network whose published weights are read.
    """

    title: str
    place: str
    said: str
    rows: tuple[Ingredient, ...]
    used: bool = True


def blocks(plan: Plan, sources: Sources, name: str) -> list[Block]:
    """Everything that decides how run ``name`` is trained and evaluated; of published weights, how the paper did it."""
    runs = plan.specs.runs
    run = runs.runs[name]
    found = [_recipe(plan, sources, name, run)] if run.recipe else []
    if run.distillation:
        found.append(_plain(sources, "Distillation", ("distillation", run.distillation), _of(runs, run.distillation)))
    if name in plan.specs.scale.released:
        found = [_unused(block) for block in found]
    evaluation = _plain(sources, "Evaluation", ("evaluation",), runs.evaluation)
    return [*found, _changed(evaluation, "weights", run.weights)]


def _of(runs: Any, name: str) -> BaseModel:
    found: BaseModel = runs.distillation[name]
    return found


def _recipe(plan: Plan, sources: Sources, name: str, run: RunSpec) -> Block:
    assert run.recipe is not None
    runs, scale = plan.specs.runs, plan.specs.scale
    paper, here = runs.recipes[run.recipe].model_dump(), plan.expander.recipe(name).model_dump()
    layers = runs.layers(run.recipe, scale.recipes, name)
    bases = [layer.name for layer in reversed(layers) if layer.by == "recipe"]
    rows = []
    for field in paper:
        # A value that is written down once more, as it was, is no change.
        changed, why = _change(sources, layers, field) if here[field] != paper[field] else ("", "")
        source = _first(sources, [RUNS], [("recipes", base, field) for base in bases])
        rows.append(Ingredient(field, value(here[field]), value(paper[field]), source, changed, why))
    said = sources.of(RUNS, "recipes", run.recipe)
    extended = f"; extends {runs.extends[run.recipe]}" if run.recipe in runs.extends else ""
    return Block(f"Recipe {run.recipe}", f"tables/runs.toml, [recipes.{run.recipe}]{extended}", said, tuple(rows))


def _change(sources: Sources, layers: Sequence[Layer], field: str) -> tuple[str, str]:
    """What replaced the paper's value, and the comment beside the replacement."""
    layer, _ = last(layers, field)
    match layer.by:
        case "recipe":
            return "", ""
        case "scale":
            files = sources.scale_files
            return f"scale {files[0].removesuffix('.toml')}", _first(sources, files, [("recipes", layer.name, field)])
        case "run":
            place = ("runs", layer.name)
            return "this run", sources.of(RUNS, *place, "change", field) or sources.of(RUNS, *place)
        case _:
            assert_never(layer.by)


def _first(sources: Sources, files: Sequence[str], places: Sequence[Place]) -> str:
    said = (sources.of(file, *place) for place in places for file in files)
    return next((text for text in said if text), "")


def _plain(sources: Sources, title: str, place: Place, values: BaseModel) -> Block:
    rows = tuple(
        Ingredient(field, value(given), value(given), sources.of(RUNS, *place, field))
        for field, given in values.model_dump().items()
    )
    return Block(title, f"tables/runs.toml, [{'.'.join(place)}]", sources.of(RUNS, *place), rows)


def _unused(block: Block) -> Block:
    """``block`` as the paper has it: whatever the scale changes of it, nothing is trained with it."""
    rows = tuple(replace(row, here="", changed="", why="") for row in block.rows)
    return replace(block, rows=rows, used=False)


def _changed(block: Block, field: str, given: str | None) -> Block:
    """``block`` with one value as the run itself says."""
    if given is None:
        return block
    rows = tuple(
        Ingredient(row.name, value(given), row.paper, row.source, "this run") if row.name == field else row
        for row in block.rows
    )
    return replace(block, rows=rows)
