"""Reads the folder ``figures`` beside a folder of tables; its faults are reported together with those of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from replicate.errors import Fault, UserError
from replicate.figures import kinds as kinds
from replicate.figures.spec import FigureSpec, Names, read_figure
from replicate.specs import toml_files
from replicate.specs.caption import filled
from replicate.specs.file import shown_path
from replicate.specs.load import Specs, load, misnamed, unknown_spec
from replicate.specs.run import RunsFile
from replicate.specs.scale import Scale
from replicate.specs.table import TableSpec

TABLES, FIGURES = "tables", "figures"
"""Figures are read beside a folder of the first name only: beside any other one, ``figures`` is somebody's own."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figure specs beside the tables in ``folder``, and their files, by id."""

    folder: Path
    specs: Mapping[str, FigureSpec] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)

    def spec(self, figure_id: str) -> FigureSpec:
        """Raises UserError for an unknown id."""
        if not self.specs:
            raise UserError(
                f"unknown figure '{figure_id}': there are none for the tables of {self.folder}\n"
                "  put figure specs into a folder 'figures' beside a folder of tables that is called 'tables'"
            )
        if figure_id not in self.specs:
            numbers = {spec.figure.number: name for name, spec in self.specs.items()}
            raise unknown_spec("figure", figure_id, list(self.specs), numbers)
        return self.specs[figure_id]


def load_with_figures(folder: Path, scale: str, released: bool = False) -> Specs:
    """As `replicate.specs.load.load`, with the figures, which `figures_of` returns."""
    return load(folder, scale, released, [read_figures])


def figures_of(specs: Specs) -> Figures:
    """The figures that were read with ``specs`` by `load_with_figures`."""
    for part in specs.beside:
        if isinstance(part, Figures):
            return part
    raise LookupError("these specs were read without figures; call load_with_figures")


def figure_files(folder: Path) -> list[Path]:
    """The files of the figures beside the tables in ``folder``."""
    # Made absolute for ``--tables .``, which has a name and a parent only then.
    whole = folder.absolute()
    return toml_files(whole.parent / FIGURES) if whole.name == TABLES else []


def read_figures(
    folder: Path, tables: Mapping[str, TableSpec], runs: RunsFile | None, scale: Scale | None, faults: list[Fault]
) -> Figures:
    """The figures beside the tables in ``folder``, often none; adds to ``faults``."""
    specs: dict[str, FigureSpec] = {}
    files: dict[str, Path] = {}
    # What a figure names cannot be looked up in tables that were not read.
    complete = not faults
    for path in figure_files(folder):
        spec = read_figure(path, faults)
        if spec is None:
            continue
        faults += misnamed(path, "figure.id", spec.figure.id)
        if runs is not None and scale is not None:
            caption = filled(f"{shown_path(path)}: figure.caption", spec.figure.caption, runs, scale, faults)
            spec = spec.model_copy(update={"figure": spec.figure.model_copy(update={"caption": caption})})
        specs[spec.figure.id], files[spec.figure.id] = spec, path
        if complete and runs is not None:
            for fault in spec.faults(Names(tables, runs, scale)):
                faults.append(replace(fault, where=f"{shown_path(path)}: {fault.where}"))
    return Figures(folder, specs, files)
