"""Reads the folder of specs; every fault of every file is reported together, with its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from replicate.errors import Fault, SpecError, UnknownName, UserError, suggestion
from replicate.figures.check import check_figure
from replicate.figures.spec import FigureSpec
from replicate.specs.check import check_runs, check_table
from replicate.specs.file import read, read_toml, shown_path, validated
from replicate.specs.run import RunsFile
from replicate.specs.scale import Scale
from replicate.specs.table import TableSpec

NOT_TABLES = ("runs.toml",)
TABLES, FIGURES = "tables", "figures"
"""The folders of the specs. Figures are read beside a folder of the first name only: beside any other one, ``figures``
is a folder of somebody's own."""


@dataclass(frozen=True, slots=True)
class Specs:
    """Everything under tables/ and figures/, read at one scale.

    ``files`` maps a table id to its path, ``figure_files`` a figure id.
    """

    folder: Path
    tables: Mapping[str, TableSpec]
    files: Mapping[str, Path]
    runs: RunsFile
    scale: Scale
    figures: Mapping[str, FigureSpec] = field(default_factory=dict)
    figure_files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def world(self) -> str:
        """What its numbers, files and nights are kept under: the scale, and whether published weights are read."""
        return world(self.scale.id, bool(self.scale.released))

    def table(self, table_id: str) -> TableSpec:
        if table_id not in self.tables:
            numbers = {spec.table.number: name for name, spec in self.tables.items()}
            raise _unknown("table", table_id, list(self.tables), numbers)
        return self.tables[table_id]

    @property
    def ordered(self) -> list[str]:
        """The ids of all tables, in the order of the paper."""
        return sorted(self.tables, key=lambda name: (self.tables[name].table.place, name))

    def figure(self, figure_id: str) -> FigureSpec:
        if not self.figures:
            raise UserError(
                f"unknown figure '{figure_id}': there are none for the tables of {self.folder}\n"
                "  they are read from the folder 'figures' beside a folder of tables that is called 'tables'"
            )
        if figure_id not in self.figures:
            numbers = {spec.figure.number: name for name, spec in self.figures.items()}
            raise _unknown("figure", figure_id, list(self.figures), numbers)
        return self.figures[figure_id]


def world(scale: str, released: bool) -> str:
    """See `Specs.world`, of which the specs need not be read for this."""
    return f"{scale}-released" if released else scale


def _unknown(what: str, name: str, known: list[str], numbers: Mapping[int | None, str]) -> UserError:
    """The id is meant, and the paper's number of it may have been given: ``3``, ``Table 3``."""
    found = re.fullmatch(rf"(?:{what})?\s*(\d+)", name.strip(), re.IGNORECASE | re.ASCII)
    meant = numbers.get(int(found[1])) if found else None
    if found is None or meant is None:
        return UnknownName(what, name, known)
    lines = [f"unknown {what} '{name}'", f"  {what.capitalize()} {found[1]} of the paper is '{meant}'"]
    return UserError("\n".join([*lines, *(f"  {line}" for line in suggestion("", sorted(known), plural=f"{what}s"))]))


def load(folder: Path, scale: str, released: bool = False) -> Specs:
    """Read and check ``folder`` at ``scale``. Raises SpecError with all faults, UserError without any table.

    released: the scale's published weights are kept, and the plan reads them; otherwise every network is trained.
    """
    paths = sorted(path for path in folder.glob("*.toml") if path.name not in NOT_TABLES)
    if not paths:
        raise UserError(
            f"{folder}: no table specs, got a folder without *.toml files\n"
            "  expected one file a table beside runs.toml; name another folder with --tables DIR"
        )
    faults: list[Fault] = []
    bound = _scale(folder, scale, faults)
    runs = read(folder / "runs.toml", RunsFile, faults)
    specs = {path: read(path, TableSpec, faults) for path in paths}
    if runs is not None:
        faults += check_runs(shown_path(folder / "runs.toml"), runs, bound)
    tables: dict[str, TableSpec] = {}
    files: dict[str, Path] = {}
    for path, spec in specs.items():
        if spec is None:
            continue
        table_id = spec.table.id
        faults += _misnamed(path, "table.id", table_id)
        tables[table_id], files[table_id] = spec, path
        if runs is not None:
            faults += check_table(shown_path(path), spec, runs, bound)
    figures, figure_files = _figures(_beside(folder), tables, runs, bound, faults)
    if faults or runs is None or bound is None:
        raise SpecError(sorted(set(_attributed(faults, folder, scale, runs))))
    if not released:
        bound = bound.model_copy(update={"released": {}})
    elif not bound.released:
        raise UserError(
            f"--from released: a scale that names published weights, got '{scale}'\n"
            "  they stand under [released] in a file of tables/scales; paper.toml has the paper's"
        )
    return Specs(folder, tables, files, runs, bound, figures, figure_files)


def _beside(folder: Path) -> Path | None:
    # Made absolute for ``--tables .``, which has a name and a parent only then.
    whole = folder.absolute()
    return whole.parent / FIGURES if whole.name == TABLES else None


def _figures(
    folder: Path | None,
    tables: Mapping[str, TableSpec],
    runs: RunsFile | None,
    scale: Scale | None,
    faults: list[Fault],
) -> tuple[dict[str, FigureSpec], dict[str, Path]]:
    """The figures beside the tables; a folder without any is fine."""
    figures: dict[str, FigureSpec] = {}
    files: dict[str, Path] = {}
    # What a figure names cannot be looked up in tables that were not read.
    complete = not faults
    for path in sorted(folder.glob("*.toml")) if folder else ():
        spec = read(path, FigureSpec, faults)
        if spec is None:
            continue
        faults += _misnamed(path, "figure.id", spec.figure.id)
        figures[spec.figure.id], files[spec.figure.id] = spec, path
        if complete and runs is not None:
            faults += check_figure(shown_path(path), spec, tables, runs, scale)
    return figures, files


def _misnamed(path: Path, key: str, name: str) -> list[Fault]:
    """Commands ask for ids and people for files: one name for both, which no other file can have."""
    if name == path.stem:
        return []
    return [Fault(f"{shown_path(path)}: {key}", f"must be the name of the file, '{path.stem}', got '{name}'")]


def _attributed(faults: list[Fault], folder: Path, scale: str, runs: RunsFile | None) -> list[Fault]:
    """``faults``, with those that ``scale`` has from the one it extends said of that file."""
    path = folder / "scales" / f"{scale}.toml"
    base = path.with_name(f"{(read_toml(path, []) or {}).get('extends')}.toml")
    if not base.is_file():
        return faults
    known: list[Fault] = []
    raw = read_toml(base, known)
    found = validated(base, Scale, raw, known) if raw is not None else None
    if runs is not None:
        known += check_runs(shown_path(folder / "runs.toml"), runs, found)
    moved = [replace(fault, where=fault.where.replace(shown_path(path), shown_path(base), 1)) for fault in faults]
    return [other if other in known else fault for fault, other in zip(faults, moved, strict=True)]


def scales(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "scales").glob("*.toml"))


def _scale(folder: Path, name: str, faults: list[Fault]) -> Scale | None:
    path = folder / "scales" / f"{name}.toml"
    # By its name and not by looking: a path such as ../runs is a file too.
    if name not in scales(folder):
        if not scales(folder):
            raise UserError(
                f"{folder / 'scales'}: no scales, got no folder with *.toml files\n"
                "  expected one file a scale, which binds the names of runs.toml to data and networks"
            )
        raise UnknownName("scale", name, scales(folder))
    raw = read_toml(path, faults)
    base_name = raw.get("extends") if raw else None
    if raw and isinstance(base_name, str):
        base_path = path.with_name(f"{base_name}.toml")
        if not base_path.is_file():
            faults.append(
                Fault(
                    f"{shown_path(path)}: extends",
                    f"there is no scale '{base_name}'",
                    tuple(suggestion(base_name, scales(folder), plural="scales")),
                )
            )
            return None
        below = read_toml(base_path, faults)
        if below is None:
            return None
        raw = _merged(below, raw)
    found = validated(path, Scale, raw, faults) if raw is not None else None
    if found is not None:
        faults += _misnamed(path, "id", found.id)
    return found


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Tables merge two levels down: a data set, model or recipe is replaced field by field only in ``recipes``.

    Published weights are of the data and the networks of the scale that names them, so no other one inherits them.
    """
    merged = {key: value for key, value in base.items() if key != "released"}
    for key, value in over.items():
        old = merged.get(key)
        if key == "recipes" and isinstance(old, dict) and isinstance(value, dict):
            merged[key] = {name: {**old.get(name, {}), **value.get(name, {})} for name in {**old, **value}}
        elif isinstance(old, dict) and isinstance(value, dict):
            merged[key] = {**old, **value}
        else:
            merged[key] = value
    return merged
