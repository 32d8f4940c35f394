"""Faults that no single entry shows: names that lead nowhere, heads a network does not have, circles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pydantic import ValidationError

from replicate.errors import Fault, suggestion
from replicate.spec.recipe import Recipe
from replicate.spec.run import RunsFile, RunSpec
from replicate.spec.scale import Scale
from replicate.spec.sides import UnknownSide, pairs
from replicate.spec.table import Head, RowSpec, TableSpec

TOKEN_HEADS: tuple[Head, ...] = ("class", "distillation", "softmax-sum", "logit-mean")


def check_runs(file: str, spec: RunsFile, scale: Scale | None) -> list[Fault]:
    return list(_runs(file, spec, scale))


def check_table(file: str, spec: TableSpec, runs: RunsFile) -> list[Fault]:
    return [*_layout(file, spec), *_cells(file, spec, runs), *_claims(file, spec)]


def heads_of(run: RunSpec, runs: RunsFile) -> tuple[Head, ...]:
    """The heads that a network can be read at."""
    how = runs.distillation.get(run.distillation) if run.distillation else None
    return TOKEN_HEADS if how is not None and how.token else ("class",)


def run_name(row: RowSpec, column_run: str | None) -> str | None:
    """The run behind a cell: the row's, with the column's in place of ``{column}``; or the column's alone."""
    if row.run is None:
        return column_run
    if "{column}" not in row.run:
        return row.run
    return None if column_run is None else row.run.replace("{column}", column_run)


def _unknown(where: str, what: str, name: str, known: Iterable[str], fault: str) -> Iterator[Fault]:
    names = sorted(known)
    if name not in names:
        yield Fault(where, fault, tuple(suggestion(name, names, plural=what)))


def _runs(file: str, spec: RunsFile, scale: Scale | None) -> Iterator[Fault]:
    for name, run in spec.runs.items():
        where = f'{file}: runs."{name}"'
        yield from _unknown(
            f"{where}.recipe", "recipes", run.recipe, spec.recipes, f"there is no recipe '{run.recipe}'"
        )
        for field, other in (("init", run.init), ("teacher", run.teacher)):
            if other is not None:
                yield from _unknown(f"{where}.{field}", "runs", other, spec.runs, f"there is no run '{other}'")
        if run.distillation is not None:
            yield from _unknown(
                f"{where}.distillation",
                "distillation",
                run.distillation,
                spec.distillation,
                f"there is no distillation '{run.distillation}'",
            )
        if (run.teacher is None) != (run.distillation is None):
            yield Fault(where, "'teacher' and 'distillation' are given together or not at all")
        yield from _circle(where, name, spec)
        if run.recipe in spec.recipes:
            yield from _changes(f"{where}.change", spec.recipes[run.recipe], run.change)
        if scale is not None:
            yield from _bound(where, run, scale)
    if scale is not None:
        for name, change in scale.recipes.items():
            where = f"scales/{scale.id}.toml: recipes.{name}"
            if name in spec.recipes:
                yield from _changes(where, spec.recipes[name], change)
            else:
                yield from _unknown(where, "recipes", name, spec.recipes, f"runs.toml has no recipe '{name}'")


def _changes(where: str, recipe: Recipe, change: dict[str, object]) -> Iterator[Fault]:
    try:
        Recipe.model_validate(recipe.model_dump() | change)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            field = ".".join(map(str, one["loc"]))
            if one["type"] == "extra_forbidden":
                known = tuple(suggestion(field, sorted(Recipe.model_fields), plural="fields"))
                yield Fault(f"{where}.{field}", f"unknown key '{field}'", known)
            else:
                message = one["msg"].removeprefix("Input ")
                yield Fault(f"{where}.{field}", f"{message}, got {one['input']!r}")


def _circle(where: str, name: str, spec: RunsFile) -> Iterator[Fault]:
    for field in ("init", "teacher"):
        seen = [name]
        at: str | None = getattr(spec.runs[name], field)
        while at is not None and at in spec.runs and at not in seen:
            seen.append(at)
            at = spec.runs[at].init or spec.runs[at].teacher
        if at == name:
            path = " -> ".join([*seen, name])
            yield Fault(f"{where}.{field}", f"the run starts from itself: {path}")


def _bound(where: str, run: RunSpec, scale: Scale) -> Iterator[Fault]:
    at = f"the scale '{scale.id}' does not bind"
    yield from _unknown(f"{where}.model", "models", run.model, scale.models, f"{at} the model '{run.model}'")
    yield from _unknown(f"{where}.data", "data sets", run.data, scale.data, f"{at} the data set '{run.data}'")
    size = str(run.resolution)
    yield from _unknown(f"{where}.resolution", "resolutions", size, scale.resolutions, f"{at} the resolution {size}")


def _layout(file: str, spec: TableSpec) -> Iterator[Fault]:
    for what, keys in (
        ("table.columns", [column.key for column in spec.table.columns]),
        ("rows", [row.key for row in spec.rows]),
        ("references", [reference.key for reference in spec.references]),
    ):
        for index, key in enumerate(keys):
            if key in keys[:index]:
                yield Fault(f"{file}: {what}[{index}].key", f"'{key}' stands twice")
    numbers = [column.key for column in spec.table.columns if not column.text]
    words = [column.key for column in spec.table.columns if column.text]
    for key in spec.table.tolerance:
        if key != "default":
            yield from _unknown(
                f"{file}: table.tolerance.{key}", "columns", key, numbers, f"the table has no column '{key}'"
            )
    if "default" not in spec.table.tolerance:
        yield Fault(f"{file}: table.tolerance.default", "this key is required")
    for index, row in enumerate(spec.rows):
        for field, given, known in (("paper", set(row.paper), numbers), ("text", set(row.text), words)):
            for key in sorted(given):
                yield from _unknown(
                    f"{file}: rows[{index}].{field}.{key}",
                    "columns",
                    key,
                    known,
                    f"the table has no column '{key}'"
                    if key not in numbers + words
                    else f"column '{key}' holds " + ("words" if key in words else "numbers"),
                )
    for index, note in enumerate(spec.notes):
        for field, named, known in (
            ("rows", note.rows, [row.key for row in spec.rows]),
            ("columns", note.columns, numbers + words),
        ):
            for key in named:
                yield from _unknown(
                    f"{file}: notes[{index}].{field}",
                    field,
                    key,
                    known,
                    f"the table has no {field[:-1]} '{key}'",
                )


def _cells(file: str, spec: TableSpec, runs: RunsFile) -> Iterator[Fault]:
    for index, row in enumerate(spec.rows):
        for column in spec.table.columns:
            if column.text:
                continue
            name = run_name(row, column.run)
            if name is None:
                continue
            head = row.head or spec.table.head or "class"
            yield from _head(f"{file}: rows[{index}]", f"cell {row.key}.{column.key}", name, head, runs)
    for index, reference in enumerate(spec.references):
        where = f"{file}: references[{index}]"
        yield from _head(where, f"reference {reference.key}", reference.run, reference.head, runs)


def _head(where: str, what: str, name: str, head: Head, runs: RunsFile) -> Iterator[Fault]:
    if name not in runs.runs:
        yield from _unknown(f"{where}.run", "runs", name, runs.runs, f"{what}: there is no run '{name}'")
        return
    known: Sequence[Head] = heads_of(runs.runs[name], runs)
    if head not in known:
        yield Fault(
            f"{where}.head",
            f"{what}: the network of run '{name}' has no head '{head}'",
            (f"heads: {', '.join(known)}", "only runs with a distillation token have the other heads"),
        )


def _claims(file: str, spec: TableSpec) -> Iterator[Fault]:
    for index, claim in enumerate(spec.claims):
        where = f"{file}: claims[{index}]"
        try:
            pairs(spec, claim)
        except UnknownSide as error:
            known = tuple(suggestion(error.name, error.known, plural=f"{error.what}s"))
            yield Fault(where, f"the table has no {error.what} '{error.name}'", known)
        except ValueError as error:
            yield Fault(where, str(error))
