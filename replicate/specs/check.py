"""Faults that no single entry of a spec shows: unknown names, missing heads, circles, claims that compare nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import assert_never

from pydantic import ValidationError

from replicate import metrics
from replicate.errors import Fault, suggestion, unknown_name
from replicate.specs.cell import (
    REFERENCE,
    CellRef,
    ResolvedSource,
    Side,
    UnknownSide,
    heads_of,
    is_number,
    pairs,
    relation,
    resolve_source,
)
from replicate.specs.noise import Noise
from replicate.specs.recipe import Recipe, epoch_length
from replicate.specs.resolve import Layer, last, merged
from replicate.specs.run import RunsFile, RunSpec
from replicate.specs.scale import Scale
from replicate.specs.sources import ImageData
from replicate.specs.table import QUOTED_WORDS, ClaimSpec, TableSpec, Written
from replicate.text import Printed

_QUOTED = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
"""A plain number, which needs no quotes."""
_WANTED = "should be a number, or one with a mark or a spread such as '4.3*' or '79.9 ± 0.1'"


def check_runs(file: str, spec: RunsFile, scale: Scale | None) -> list[Fault]:
    if scale is None:
        return [*_runs(file, spec, None)]
    return [*_runs(file, spec, scale), *_scale(spec, scale), *_trainings(file, spec, scale)]


def check_table(file: str, spec: TableSpec, runs: RunsFile, scale: Scale | None) -> list[Fault]:
    return [*_layout(file, spec), *_cells(file, spec, runs, scale), *check_claims(file, spec)]


def _runs(file: str, spec: RunsFile, scale: Scale | None) -> Iterator[Fault]:
    for name, run in spec.runs.items():
        where = f'{file}: runs."{name}"'
        if run.recipe is not None:
            yield from unknown_name(f"{where}.recipe", "recipe", run.recipe, spec.recipes)
        for field, other in (("init", run.init), ("teacher", run.teacher)):
            if other is not None:
                yield from unknown_name(f"{where}.{field}", "run", other, spec.runs)
                yield from _trainable(f"{where}.{field}", other, spec)
        if run.distillation is not None:
            yield from unknown_name(f"{where}.distillation", "distillation", run.distillation, spec.distillation)
        how = spec.distillation.get(run.distillation) if run.distillation else None
        if run.teacher is not None and run.distillation is None:
            yield Fault(where, "'teacher' needs 'distillation': how the student learns from it")
        if how is not None and (run.teacher is None) != (how.method == "label"):
            what = "takes no" if run.teacher else "needs a"
            yield Fault(where, f"the distillation '{run.distillation}' {what} teacher")
        yield from _circle(where, name, spec)
        if run.recipe is not None and run.recipe in spec.recipes:
            yield from _changes(f"{where}.change", spec.recipes[run.recipe], run.change)
        if scale is not None:
            yield from _bound(where, run, scale, needs_token=how is not None and how.token)


def _scale(spec: RunsFile, scale: Scale) -> Iterator[Fault]:
    """What a scale says of recipes and runs that runs.toml does not have."""
    yield from _noise(f"scales/{scale.id}.toml: noise", scale.noise, scale)
    for name, change in scale.recipes.items():
        where = f"scales/{scale.id}.toml: recipes.{name}"
        yield from unknown_name(where, "recipe", name, spec.recipes, f"runs.toml has no recipe '{name}'")
        if name in spec.recipes:
            yield from _changes(where, spec.recipes[name], change)
    for name in scale.released:
        where = f'scales/{scale.id}.toml: released."{name}"'
        yield from unknown_name(where, "run", name, spec.runs, f"runs.toml has no run '{name}'")
        yield from _trainable(where, name, spec)
        if name in spec.runs and spec.runs[name].weights == "ema":
            yield Fault(where, f"the run '{name}' is read by its averaged weights, and a published file has one set")


def _noise(where: str, noise: Sequence[Noise], scale: Scale) -> Iterator[Fault]:
    """Names in the entries at ``where`` that ``scale`` does not bind: such an entry would silently fit nothing."""
    for index, entry in enumerate(noise):
        for field, what, names, known in (
            ("models", "model", entry.models, scale.models),
            ("data", "data set", entry.data, scale.data),
            ("resolutions", "resolution", map(str, entry.resolutions), scale.resolutions),
        ):
            for name in names:
                fault = f"the scale '{scale.id}' does not bind the {what} '{name}'"
                yield from unknown_name(f"{where}[{index}].{field}", what, name, known, fault)


def _trainable(where: str, name: str, spec: RunsFile) -> Iterator[Fault]:
    if name not in spec.runs or spec.runs[name].trainable:
        return
    if spec.runs[name].recipe is None:
        help = ("give it one in runs.toml, or say with 'not_run' why the number is not made",)
        yield Fault(where, f"the run '{name}' has no recipe, so it is measured but not trained", help)
    else:
        yield Fault(where, f"the run '{name}' has trained = false: its recipe is only read out")


def _changes(where: str, recipe: Recipe, change: dict[str, object]) -> Iterator[Fault]:
    try:
        Recipe.model_validate(recipe.model_dump() | change)
    except ValidationError as errors:
        for error in errors.errors(include_url=False):
            field = ".".join(map(str, error["loc"]))
            if error["type"] == "extra_forbidden":
                yield from unknown_name(
                    f"{where}.{field}", "field", field, Recipe.model_fields, f"unknown key '{field}'"
                )
            else:
                message = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
                # The message of a pair holds the pair already.
                got = "" if isinstance(error["input"], tuple) else f", got {error['input']!r}"
                yield Fault(f"{where}.{field}", f"{message}{got}")


def _circle(where: str, name: str, spec: RunsFile) -> Iterator[Fault]:
    for field in ("init", "teacher"):
        first = getattr(spec.runs[name], field)
        paths, seen = [[name, first]] if first in spec.runs else [], set()
        while paths:
            path = paths.pop()
            if path[-1] == name:
                yield Fault(f"{where}.{field}", f"the run starts from itself: {' -> '.join(path)}")
                break
            if path[-1] not in seen:
                seen.add(path[-1])
                at = spec.runs[path[-1]]
                paths += [[*path, other] for other in (at.teacher, at.init) if other in spec.runs]


def _bound(where: str, run: RunSpec, scale: Scale, needs_token: bool) -> Iterator[Fault]:
    size = str(run.resolution)
    for field, what, name, known in (
        ("model", "model", run.model, scale.models),
        ("data", "data set", run.data, scale.data),
        ("resolution", "resolution", size, scale.resolutions),
    ):
        fault = f"the scale '{scale.id}' does not bind the {what} '{name}'"
        yield from unknown_name(f"{where}.{field}", what, name, known, fault)
    if needs_token and run.model in scale.models and scale.models[run.model].timm_distilled is None:
        yield Fault(
            f"{where}.distillation",
            f"the model '{run.model}' has no distillation token at the scale '{scale.id}'",
            ("name its twin with a token there as 'timm_distilled', or use a distillation without token",),
        )


def _trainings(file: str, spec: RunsFile, scale: Scale) -> Iterator[Fault]:
    """Faults of every recipe, and of every run with its own changes, that no single field shows."""
    recipes = {name: _Layered(file, scale.id, spec.layers(name, scale.recipes)) for name in spec.recipes}
    for layered in recipes.values():
        if layered.recipe is not None:
            yield from _agreeing(layered.recipe, layered)
    for name, run in spec.runs.items():
        if run.recipe not in recipes:
            continue
        where, layered = f'{file}: runs."{name}"', recipes[run.recipe]
        if run.change:
            layered = _Layered(file, scale.id, spec.layers(run.recipe, scale.recipes, name))
            if layered.recipe is not None:
                yield from _agreeing(layered.recipe, layered)
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


def _agreeing(recipe: Recipe, layers: _Layered) -> Iterator[Fault]:
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
    if not isinstance(data, ImageData):
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


def _layout(file: str, spec: TableSpec) -> Iterator[Fault]:
    rows = [row.key for row in spec.rows]
    for what, keys in (
        ("table.columns", [column.key for column in spec.table.columns]),
        ("rows", rows),
        ("references", [reference.key for reference in spec.references]),
    ):
        for index, key in enumerate(keys):
            if key in keys[:index]:
                yield Fault(f"{file}: {what}[{index}].key", f"'{key}' stands twice")
    for index, key in enumerate(rows):
        if is_number(key):
            help = (f"a claim would compare with that number; name the row 'at_{key}', for example",)
            yield Fault(f"{file}: rows[{index}].key", f"the key '{key}' is a number", help)
    numbers = [column.key for column in spec.table.columns if not column.text]
    words = [column.key for column in spec.table.columns if column.text]
    if "default" not in spec.table.tolerance:
        yield Fault(f"{file}: table.tolerance.default", "this key is required")
    for key in spec.table.tolerance.keys() - {"default"}:
        yield from _names(f"{file}: table.tolerance.{key}", "column", key, numbers)
    for index, row in enumerate(spec.rows):
        for field, given, known in (
            ("paper", row.paper, numbers),
            ("runs", row.runs, numbers),
            ("text", row.text, words),
        ):
            for key in sorted(given):
                where = f"{file}: rows[{index}].{field}.{key}"
                fault = f"column '{key}' holds {'words' if key in words else 'numbers'}"
                if key not in numbers + words:
                    fault = f"the table has no column '{key}'"
                yield from unknown_name(where, "column", key, known, fault)
    for index, note in enumerate(spec.notes):
        for key in note.rows:
            yield from _names(f"{file}: notes[{index}].rows", "row", key, rows)
        for key in note.columns:
            yield from _names(f"{file}: notes[{index}].columns", "column", key, numbers + words)


def _names(where: str, what: str, name: str, known: Iterable[str]) -> list[Fault]:
    return unknown_name(where, what, name, known, f"the table has no {what} '{name}'")


def _cells(file: str, spec: TableSpec, runs: RunsFile, scale: Scale | None) -> Iterator[Fault]:
    for index, row in enumerate(spec.rows):
        for column in spec.table.columns:
            printed = row.paper.get(column.key)
            metric = row.metric or column.metric or spec.table.metric
            if isinstance(printed, str) and metric and metrics.find(metric).plain and not _marked(printed):
                yield Fault(f"{file}: rows[{index}].paper.{column.key}", f"{_WANTED}, got {printed!r}")
            read = None if column.text else resolve_source(spec.table, row, column)
            if read is not None:
                yield from check_source(f"{file}: rows[{index}]", f"cell {row.key}.{column.key}", read, runs, scale)
    for index, reference in enumerate(spec.references):
        read = resolve_source(spec.table, reference)
        where = f"{file}: references[{index}]"
        if read is None:
            if reference.not_run is None:
                help = ("or say with 'not_run' why nothing here makes it",)
                yield Fault(where, "has nothing to read: 'run' and 'metric' are needed", help)
        else:
            yield from check_source(where, f"reference {reference.key}", read, runs, scale)


def _marked(printed: str) -> bool:
    """Whether a text holds a number and more than a number."""
    return Printed(printed).number is not None and not _QUOTED.fullmatch(printed)


def check_source(where: str, what: str, read: ResolvedSource, runs: RunsFile, scale: Scale | None) -> Iterator[Fault]:
    """Faults of one reading: its run, head, field and data set."""
    metric = metrics.find(read.metric)
    for name, head in ((read.run, read.head), read.against or (None, read.head)):
        if name is None:
            continue
        if name not in runs.runs:
            yield from unknown_name(f"{where}.run", "run", name, runs.runs, f"{what}: there is no run '{name}'")
        elif head != "truth" and head not in heads_of(runs.runs[name], runs):
            known: tuple[str, ...] = heads_of(runs.runs[name], runs)
            yield Fault(
                f"{where}.head",
                f"{what}: the network of run '{name}' has no head '{head}'",
                (f"heads: {', '.join(known)}", "only runs with a distillation token have the other heads"),
            )
        elif metric.trained:
            yield from _trainable(f"{where}.run", name, runs)
            if metric.two_tokens and len(heads_of(runs.runs[name], runs)) == 1:
                yield Fault(f"{where}.run", f"{what}: the network of run '{name}' has one token, got '{metric.name}'")
        elif metric.of_recipe and runs.runs[name].recipe is None:
            yield Fault(f"{where}.run", f"{what}: the run '{name}' has no recipe to be read")
    fields = (*sorted(Recipe.model_fields), *metric.fields) if metric.of_recipe else metric.fields
    if not metric.takes(read.field) and read.field not in fields:
        fault = f"{what}: the metric '{metric.name}' needs a field" + (f", got '{read.field}'" if read.field else "")
        yield Fault(f"{where}.field", fault, tuple(suggestion(read.field or "", fields, plural="fields")))
    if metric.on and read.on is None:
        yield Fault(f"{where}.on", f"{what}: the metric '{metric.name}' needs the data set it is about")
    if read.on is not None and scale is not None:
        fault = f"{what}: the scale '{scale.id}' does not bind the data set '{read.on}'"
        yield from unknown_name(f"{where}.on", "data set", read.on, scale.data, fault)


def check_claims(file: str, spec: TableSpec) -> Iterator[Fault]:
    """Names of a claim that lead nowhere, ratios that cannot be taken, and words that are not the paper's."""
    # Made once a table, not once a claim: of claims there are a hundred.
    written, read = _written(spec), _metrics(spec)
    for index, claim in enumerate(spec.claims):
        where = f"{file}: claims[{index}]"
        yield from _words(where, claim)
        try:
            both = pairs(spec, claim)
            yield from _ratios(where, claim, both, written, read)
            yield from _unusable(file, index, both, written, read)
        except UnknownSide as error:
            yield from _names(where, error.what, error.name, error.known)
        except ValueError as error:
            yield Fault(where, str(error))


def _words(where: str, claim: ClaimSpec) -> Iterator[Fault]:
    """A claim is either quoted or a reading of a table, and has its place; a margin's source needs a margin."""
    words = (claim.quote or "").split()
    if len(words) > QUOTED_WORDS:
        yield Fault(f"{where}.quote", f"should have at most {QUOTED_WORDS} words of the paper, got {len(words)}")
    if claim.reading == bool(words):
        both = "is quoted and a reading" if claim.reading else "is neither quoted nor a reading"
        help = ("quote the paper's words, or say 'reading = true' where no sentence of it says so",)
        yield Fault(where, f"{both}: should have 'quote' or 'reading = true'", help)
    if not claim.see:
        yield Fault(f"{where}.see", "names no place: give the section, caption or table of the paper")
    if claim.within_source and not claim.within:
        yield Fault(f"{where}.within_source", "is the source of no margin: give 'within', or leave it out")


def _written(spec: TableSpec) -> dict[CellRef, tuple[str, Written]]:
    """The place in the file and the value of each number of the paper."""
    cells = {
        CellRef(spec.table.id, row.key, column): (f"rows[{place}].paper.{column}", value)
        for place, row in enumerate(spec.rows)
        for column, value in row.paper.items()
    }
    references = {
        CellRef(spec.table.id, REFERENCE, reference.key): (f"references[{place}].paper", reference.paper)
        for place, reference in enumerate(spec.references)
        if reference.paper is not None
    }
    return cells | references


def _metrics(spec: TableSpec) -> dict[CellRef, metrics.Metric]:
    """What each cell reads, but for references."""
    return {
        CellRef(spec.table.id, row.key, column.key): metrics.find(metric)
        for row in spec.rows
        for column in spec.table.columns
        if (metric := row.metric or column.metric or spec.table.metric)
    }


Pairs = Sequence[tuple[Side, Side]]


def _unusable(
    file: str,
    index: int,
    both: Pairs,
    written: Mapping[CellRef, tuple[str, Written]],
    read: Mapping[CellRef, metrics.Metric],
) -> Iterator[Fault]:
    """Values of the paper that the claim compares and no number can be read of, so that it could not be judged."""
    for side in dict.fromkeys(side for pair in both for side in pair if isinstance(side, CellRef)):
        # Of a plain metric, the cell itself is at fault.
        if side in written and not (side in read and read[side].plain) and Printed(written[side][1]).number is None:
            place, printed = written[side]
            yield Fault(f"{file}: {place}", f"{_WANTED}, since claims[{index}] compares it, got {printed!r}")


def _ratios(
    where: str,
    claim: ClaimSpec,
    both: Pairs,
    written: Mapping[CellRef, tuple[str, Written]],
    read: Mapping[CellRef, metrics.Metric],
) -> Iterator[Fault]:
    """Of a comparison by ratio, as of two rates, the right side is what is divided by."""
    kind = relation(claim)[0]
    rates = (side in read and read[side].rate for pair in both for side in pair if isinstance(side, CellRef))
    if kind == "times" or (kind == "above" and any(rates)):
        for right in dict.fromkeys(right for _, right in both):
            printed = right if isinstance(right, Printed) else Printed(written[right][1] if right in written else "")
            if printed.number == 0:
                yield Fault(where, f"compares by ratio: the right side should not be 0, got '{right}'")
