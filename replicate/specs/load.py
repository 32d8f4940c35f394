"""Reads the folder of specs; every fault of every file is reported together, with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from replicate.errors import Fault, SpecError, UnknownName, UserError, suggestion
from replicate.specs import toml_files
from replicate.specs.caption import filled
from replicate.specs.check import check_runs, check_table
from replicate.specs.file import read, read_spec, shown_path, validated
from replicate.specs.noise import Noise
from replicate.specs.run import RunsFile
from replicate.specs.scale import Scale
from replicate.specs.table import TableSpec
from replicate.text import cleaned

NOT_TABLES = ("runs.toml",)
AS_WRITTEN = ("data", "models", "released")
"""Blocks of a scale that name files and networks: their values are in the keys of results."""

Reader = Callable[[Path, Mapping[str, TableSpec], RunsFile | None, Scale | None, list[Fault]], object]
"""Reads further specs that refer to the tables of a folder, and adds their faults to the list (see `figures.load`)."""


@dataclass(frozen=True, slots=True)
class Specs:
    """Everything under tables/, read at one scale. ``files`` maps a table id to its path."""

    folder: Path
    tables: Mapping[str, TableSpec]
    files: Mapping[str, Path]
    runs: RunsFile
    scale: Scale
    beside: tuple[object, ...] = ()
    """What the readers given to `load` returned; whoever reads it knows its own by type."""
    stored: Callable[[str], bool] = lambda key: False
    """Whether the results have the job of that key: an older version may have made what a fact can be read from."""

    @property
    def namespace(self) -> str:
        """What its numbers, files and nights are kept under: the scale, and whether published weights are read."""
        return namespace(self.scale.id, bool(self.scale.released))

    @property
    def noise(self) -> tuple[Noise, ...]:
        """What is stated of other seeds at this scale: where it repeats the paper's trainings, by those too."""
        return self.scale.noise or (self.runs.paper.noise if self.scale.comparable else ())

    def table(self, table_id: str) -> TableSpec:
        if table_id not in self.tables:
            numbers = {spec.table.number: name for name, spec in self.tables.items()}
            raise unknown_spec("table", table_id, list(self.tables), numbers)
        return self.tables[table_id]

    @property
    def ordered(self) -> list[str]:
        """The ids of all tables, in the order of the paper."""
        return sorted(self.tables, key=lambda name: (self.tables[name].table.place, name))


def namespace(scale: str, released: bool) -> str:
    """See `Specs.namespace`, of which the specs need not be read for this."""
    return f"{scale}-released" if released else scale


def unknown_spec(what: str, name: str, known: list[str], numbers: Mapping[int | None, str]) -> UserError:
    """The id is meant, and the paper's number of it may have been given: ``3``, ``Table 3``."""
    number = re.fullmatch(rf"(?:{what})?\s*(\d+)", name.strip(), re.IGNORECASE | re.ASCII)
    meant = numbers.get(int(number[1])) if number else None
    if number is None or meant is None:
        return UnknownName(what, name, known)
    lines = [f"unknown {what} '{name}'", f"  {what.capitalize()} {number[1]} of the paper is '{meant}'"]
    return UserError("\n".join([*lines, *(f"  {line}" for line in suggestion("", sorted(known), plural=f"{what}s"))]))


def load(folder: Path, scale: str, released: bool = False, readers: Sequence[Reader] = ()) -> Specs:
    """Read and check ``folder`` at ``scale``. Raises SpecError with all faults, UserError without any table.

    released: the scale's published weights are kept, and the plan reads them; otherwise every network is trained.
    readers: of further specs; their faults are reported together with those of the tables.
    """
    paths = table_files(folder)
    if not paths:
        raise UserError(
            f"{folder} has no table specs: no *.toml beside runs.toml\n"
            "  write one file a table, or name another folder with --tables DIR"
        )
    faults: list[Fault] = []
    bound = _scale(folder, scale, faults)
    runs = read(folder / "runs.toml", RunsFile, faults)
    specs = {path: read(path, TableSpec, faults) for path in paths}
    if runs is not None:
        faults += check_runs(shown_path(folder / "runs.toml"), runs, bound)
    tables: dict[str, TableSpec] = {}
    files: dict[str, Path] = {}
    for path, written in specs.items():
        if written is None:
            continue
        spec = written
        if runs is not None and bound is not None:
            caption = filled(f"{shown_path(path)}: table.caption", spec.table.caption, runs, bound, faults)
            spec = spec.model_copy(update={"table": spec.table.model_copy(update={"caption": caption})})
        table_id = spec.table.id
        faults += misnamed(path, "table.id", table_id)
        tables[table_id], files[table_id] = spec, path
        if runs is not None:
            faults += check_table(shown_path(path), spec, runs, bound)
    beside = tuple(reader(folder, tables, runs, bound, faults) for reader in readers)
    if faults or runs is None or bound is None:
        raise SpecError(sorted(set(_attributed(faults, folder, scale, runs))))
    if not released:
        bound = bound.model_copy(update={"released": {}})
    elif not bound.released:
        raise UserError(
            f"--from released: the scale '{scale}' names no published weights\n"
            "  they stand under [released] in a file of tables/scales; use --scale paper for those of the paper"
        )
    return Specs(folder, tables, files, runs, bound, beside)


def misnamed(path: Path, key: str, name: str) -> list[Fault]:
    """Commands ask for ids and people for files: one name for both, which no other file can have."""
    if name == cleaned(path.stem):
        return []
    return [Fault(f"{shown_path(path)}: {key}", f"must be the name of the file, '{path.stem}', got '{name}'")]


def _attributed(faults: list[Fault], folder: Path, scale: str, runs: RunsFile | None) -> list[Fault]:
    """``faults``; those that ``scale`` inherits name the file of the scale that it extends."""
    files = scale_files(folder)
    path = files.get(scale)
    base = files.get(str((read_spec(path, [], AS_WRITTEN) or {}).get("extends"))) if path is not None else None
    if path is None or base is None or not base.is_file():
        return faults
    inherited: list[Fault] = []
    raw = read_spec(base, inherited, AS_WRITTEN)
    scale_of_base = validated(base, Scale, raw, inherited) if raw is not None else None
    if runs is not None:
        inherited += check_runs(shown_path(folder / "runs.toml"), runs, scale_of_base)
    moved = [replace(fault, where=fault.where.replace(shown_path(path), shown_path(base), 1)) for fault in faults]
    return [other if other in inherited else fault for fault, other in zip(faults, moved, strict=True)]


def table_files(folder: Path) -> list[Path]:
    return [path for path in toml_files(folder) if path.name not in NOT_TABLES]


def scales(folder: Path) -> list[str]:
    return list(scale_files(folder))


def scale_files(folder: Path) -> dict[str, Path]:
    """The files of the scales by name, in whichever form of Unicode a disk has that."""
    return {cleaned(path.stem): path for path in toml_files(folder / "scales")}


def _scale(folder: Path, name: str, faults: list[Fault]) -> Scale | None:
    files = scale_files(folder)
    # By its name and not by looking: a path such as ../runs is a file too.
    if name not in files:
        if not files:
            raise UserError(
                f"{folder / 'scales'} has no scales: no *.toml there\n"
                "  write one file a scale, which binds the names of runs.toml to data and networks"
            )
        raise UnknownName("scale", name, files)
    path = files[name]
    if twins := [other for other in toml_files(path.parent) if other != path and cleaned(other.stem) == name]:
        names = " and ".join(ascii(other.name) for other in (*twins, path))
        faults.append(Fault(shown_path(path), f"two files have this name: {names}", ("rename one of them",)))
    raw = read_spec(path, faults, AS_WRITTEN)
    base_name = raw.get("extends") if raw else None
    if raw and isinstance(base_name, str):
        base_path = files.get(base_name)
        if base_path is None:
            faults.append(
                Fault(
                    f"{shown_path(path)}: extends",
                    f"there is no scale '{base_name}'",
                    tuple(suggestion(base_name, list(files), plural="scales")),
                )
            )
            return None
        below = read_spec(base_path, faults, AS_WRITTEN)
        if below is None:
            return None
        raw = _merged(below, raw)
    bound = validated(path, Scale, raw, faults) if raw is not None else None
    if bound is not None:
        faults += misnamed(path, "id", bound.id)
    return bound


def _merged(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    """Tables merge two levels down: a data set, model or recipe is replaced field by field only in ``recipes``.

    Published weights are of the data and the networks of the scale that names them, so no other one inherits them.
    """
    # Published weights are of the base's networks, and noise was measured on them.
    merged = {key: value for key, value in base.items() if key not in ("released", "noise")}
    for key, value in over.items():
        old = merged.get(key)
        if key == "recipes" and isinstance(old, dict) and isinstance(value, dict):
            merged[key] = {name: {**old.get(name, {}), **value.get(name, {})} for name in {**old, **value}}
        elif isinstance(old, dict) and isinstance(value, dict):
            merged[key] = {**old, **value}
        else:
            merged[key] = value
    return merged
