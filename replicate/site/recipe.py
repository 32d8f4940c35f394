"""The recipe of a run, value by value: what is used here, what the paper's scale uses, and who says so.

The comment beside a value in the specs says where the value comes from. tomllib drops comments; tomlkit keeps them, but
would be one more package for the forty lines below.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from pydantic import BaseModel

from replicate.plan.cells import Plan
from replicate.specs.load import Specs, scale_files
from replicate.specs.resolve import Layer, last
from replicate.specs.run import RunSpec
from replicate.text import value

RUNS = "runs.toml"

Place = tuple[str, ...]
"""Dotted place of a value in a file, such as ``("recipes", "deit", "lr")``, or of a table."""

UNKNOWN = "unknown"
"""A comment that starts so says that nobody published the value."""


@dataclass(frozen=True, slots=True)
class Sources:
    """``comments`` by file name (``runs.toml``, ``mini.toml``) and place.

    ``scale_files`` are the file of the scale and that of the scale it extends, the nearest first.
    """

    comments: Mapping[str, Mapping[Place, str]]
    scale_files: tuple[str, ...]

    def of(self, file: str, *place: str) -> str:
        """The comment beside a value or a header; empty where there is none."""
        return self.comments.get(file, {}).get(place, "")


def read_sources(specs: Specs) -> Sources:
    """The comments of runs.toml, of the scale and of the scale that it extends."""
    files = _scale_files(specs)
    paths = [specs.folder / RUNS, *(specs.folder / "scales" / name for name in files)]
    return Sources({path.name: comments_of(_text(path)) for path in paths}, tuple(files))


def _scale_files(specs: Specs) -> list[str]:
    files = scale_files(specs.folder)
    own, base = files[specs.scale.id], files.get(specs.scale.extends or "")
    return [own.name, base.name] if base is not None else [own.name]


@dataclass(frozen=True, slots=True)
class Ingredient:
    """One value. ``paper`` is what runs.toml writes down, ``source`` the comment beside it.

    ``here`` is empty where nothing here uses it: the weights were published. ``changed`` names what replaces it (the
    scale, the run itself) and ``why`` is the comment there; both are empty where the paper's value is used.
    """

    name: str
    here: str
    paper: str
    source: str
    changed: str = ""
    why: str = ""

    @property
    def unknown(self) -> bool:
        """Whether nobody published the value."""
        return self.source.lower().startswith(UNKNOWN)


@dataclass(frozen=True, slots=True)
class Block:
    """A group of values: the recipe, how the teacher is used, the evaluation. ``comment`` stands at its head.

    ``used``: False where it is only what the paper says of a network whose published weights are read.
    """

    title: str
    place: str
    comment: str
    rows: tuple[Ingredient, ...]
    used: bool = True


def blocks(plan: Plan, sources: Sources, name: str) -> list[Block]:
    """Everything that decides how run ``name`` is trained and evaluated; of published weights, how the paper did it."""
    runs = plan.specs.runs
    run = runs.runs[name]
    used = [_recipe(plan, sources, name, run)] if run.recipe else []
    if run.distillation:
        values = runs.distillation[run.distillation]
        used.append(_plain(sources, "Distillation", values, "distillation", run.distillation))
    if name in plan.specs.scale.released:
        used = [_unused(block) for block in used]
    evaluation = _plain(sources, "Evaluation", runs.evaluation, "evaluation")
    return [*used, _changed(evaluation, "weights", run.weights)]


def _recipe(plan: Plan, sources: Sources, name: str, run: RunSpec) -> Block:
    assert run.recipe is not None
    runs, scale = plan.specs.runs, plan.specs.scale
    paper, here = runs.recipes[run.recipe].model_dump(), plan.expander.recipe(name).model_dump()
    layers = runs.layers(run.recipe, scale.recipes, name)
    bases = [layer.name for layer in reversed(layers) if layer.by == "recipe"]
    rows = []
    for key, given in paper.items():
        # A value that is written down once more, as it was, is no change.
        changed, why = _change(sources, layers, key) if here[key] != given else ("", "")
        source = _first(sources, [RUNS], [("recipes", base, key) for base in bases])
        rows.append(Ingredient(key, value(here[key]), value(given), source, changed, why))
    comment = sources.of(RUNS, "recipes", run.recipe)
    extended = f"; extends {runs.extends[run.recipe]}" if run.recipe in runs.extends else ""
    return Block(f"Recipe {run.recipe}", f"tables/runs.toml, [recipes.{run.recipe}]{extended}", comment, tuple(rows))


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
    comments = (sources.of(file, *place) for place in places for file in files)
    return next((comment for comment in comments if comment), "")


def _plain(sources: Sources, title: str, values: BaseModel, *place: str) -> Block:
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


def comments_of(text: str) -> dict[Place, str]:
    """The comments of a TOML file by the place of the value or the header that they share a line with."""
    comments: dict[Place, str] = {}
    table: Place = ()
    for line in text.splitlines():
        code, comment = split(line)
        if code.startswith("[") and not code.startswith("[["):
            place = table = _place(f"{code}\n_ = 0")[:-1]
        elif "=" in code and not code.startswith("["):
            name = _place(f"{code.partition('=')[0]} = 0")
            place = table + name if name else ()
        else:
            continue
        if comment and place:
            comments[place] = comment
    return comments


_CODE = re.compile(r"""(?:[^#"']|"(?:\\.|[^"\\])*"|'[^']*'|["'].*)*""")
"""Up to the first ``#`` outside quotes; a quote that is not closed reaches to the end of the line."""


def split(line: str) -> tuple[str, str]:
    """The code and the comment of a line of TOML."""
    code = match[0] if (match := _CODE.match(line)) else ""
    return code.strip(), line[len(code) + 1 :].strip()


def _place(code: str) -> Place:
    """The place that a piece of TOML sets; empty where it is not whole, such as a line of a list."""
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
