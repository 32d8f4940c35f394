"""A figure, as its spec file says it: the block ``[figure]``, and one block whose name says the kind of drawing.

Each kind is a class of its own, in `replicate.figures.kinds`: its block, the cells it reads, its faults, its points.
A cell is named ``table/row/column`` (``table/@/reference`` for a reference).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self, TypeVar

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from replicate.errors import Fault, UserError, suggestion, unknown_name
from replicate.jobs.job import Job
from replicate.plan.cells import Plan
from replicate.specs.cell import REFERENCE, CellRef
from replicate.specs.file import read_spec, shown_path, validated
from replicate.specs.load import Specs
from replicate.specs.recipe import Strict
from replicate.specs.run import RunsFile
from replicate.specs.scale import Scale
from replicate.specs.table import Name, TableSpec

# What is drawn is read with numpy; a command that only plans need import neither that nor the model of a drawing.
if TYPE_CHECKING:
    from replicate.figures.model import Axis, Panel
    from replicate.figures.source import Source


def _place(text: object) -> CellRef:
    return text if isinstance(text, CellRef) else CellRef.parse(text if isinstance(text, str) else "")


Place = Annotated[CellRef, PlainValidator(_place), PlainSerializer(str), WithJsonSchema({"type": "string"})]
"""``table/row/column``."""


class FigureHead(Strict):
    """The ``[figure]`` block. ``number``: in the paper, none for a figure that the paper does not have."""

    id: Name
    number: int | None = None
    source: str = ""
    """Where the paper's values that no table holds were taken from."""
    caption: str
    notes: tuple[str, ...] = ()
    """Printed small below the drawing."""


class AxisSpec(Strict):
    """``relative_to`` divides by the value of that cell, ours by ours and the paper's by the paper's.

    Images/s need it: those of two devices say nothing about each other, ratios between networks do.
    """

    label: str
    log: bool = False
    relative_to: Place | None = None
    ticks: tuple[float, ...] = ()

    @property
    def axis(self) -> Axis:
        from replicate.figures.model import Axis

        return Axis(self.label, self.log, tuple((tick, f"{tick:g}") for tick in self.ticks))


class FigureSpec(Strict):
    """One file of figures/. A kind adds a field for its block, which has the name of the kind."""

    kind: ClassVar[str]
    figure: FigureHead

    @abstractmethod
    def cells(self, specs: Specs) -> list[CellRef]:
        """The places of all cells that it draws; some may stand twice."""

    @abstractmethod
    def faults(self, names: Names) -> Iterator[Fault]:
        """References to what ``names`` lacks; ``where`` is the place in the file."""

    @abstractmethod
    def panels(self, source: Source) -> tuple[Panel, ...]:
        """What is drawn, from the values in ``source``."""

    def printed(self) -> list[CellRef]:
        """The places of cells of which only the paper's value is drawn: nothing has to run for them."""
        return []

    def jobs(self, plan: Plan) -> list[Job]:
        """Jobs that it reads without a cell, added to the graph of ``plan``."""
        return []

    def own_table(self) -> TableSpec | None:
        """Points that no table prints, as a table that is never printed either."""
        return None

    def notes(self, scale: Scale) -> tuple[str, ...]:
        """Further notes on what the drawing lacks at ``scale``."""
        return ()

    def of_runs(self, runs: tuple[str, ...], known: RunsFile) -> Self:
        """The same figure of other runs of ``known``. Raises UserError for a kind that does not name its runs."""
        raise UserError(f"figure {self.figure.id}: --run is for figures of curves, got a figure of kind '{self.kind}'")


F = TypeVar("F", bound=FigureSpec)

KINDS: dict[str, type[FigureSpec]] = {}


def register(kind: type[F]) -> type[F]:
    """Read the figures that have the block ``kind.kind`` as ``kind``. Raises ValueError for a second such kind."""
    if kind.kind in KINDS:
        raise ValueError(f"two kinds of figure are called '{kind.kind}'")
    if kind.kind not in kind.model_fields:
        raise ValueError(f"the kind of figure '{kind.kind}' has no field of that name, which holds its block")
    KINDS[kind.kind] = kind
    return kind


def read_figure(path: Path, faults: list[Fault]) -> FigureSpec | None:
    """The file as a figure of its kind, or None with its faults added to ``faults``."""
    raw = read_spec(path, faults)
    if raw is None:
        return None
    given = [name for name in raw if name in KINDS]
    if len(given) == 1:
        return validated(path, KINDS[given[0]], raw, faults)
    what = f"a figure has exactly one of the blocks {', '.join(KINDS)}, got {' and '.join(given) or 'none'}"
    near = [line for name in raw if name != "figure" for line in suggestion(name, list(KINDS), "blocks")[:-1]]
    faults.append(Fault(shown_path(path), what, tuple(near)))
    return None


@dataclass(frozen=True, slots=True)
class Names:
    """What a figure can refer to. Each method yields the fault of one reference that leads nowhere."""

    tables: Mapping[str, TableSpec]
    runs: RunsFile
    scale: Scale | None

    def table(self, where: str, table: str) -> Iterator[Fault]:
        yield from unknown_name(where, "table", table, self.tables)

    def row(self, where: str, table: str, row: str) -> Iterator[Fault]:
        """Of a table that exists."""
        if table in self.tables:
            yield from unknown_name(where, "row", row, [spec.key for spec in self.tables[table].rows])

    def column(self, where: str, table: str, column: str) -> Iterator[Fault]:
        """Of a table that exists; it must hold numbers."""
        columns = self.tables[table].table.columns if table in self.tables else ()
        if any(spec.text and spec.key == column for spec in columns):
            yield Fault(where, f"column '{column}' holds words")
        elif columns:
            yield from unknown_name(where, "column", column, [spec.key for spec in columns if not spec.text])

    def cell(self, where: str, ref: CellRef | None) -> Iterator[Fault]:
        """Of a cell that may be left out."""
        if ref is None:
            return
        yield from self.table(where, ref.table)
        if not ref.is_reference:
            yield from self.row(where, ref.table, ref.row)
            yield from self.column(where, ref.table, ref.column)
        elif ref.table in self.tables:
            references = [spec.key for spec in self.tables[ref.table].references]
            yield from unknown_name(where, "reference", ref.column, references)

    def run(self, where: str, run: str) -> Iterator[Fault]:
        yield from unknown_name(where, "run", run, self.runs.runs)


def all_cells(spec: TableSpec) -> list[CellRef]:
    """The places of all numbers of a table, then its references."""
    numbers = [column.key for column in spec.table.columns if not column.text]
    cells = [CellRef(spec.table.id, row.key, column) for row in spec.rows for column in numbers]
    return cells + [CellRef(spec.table.id, REFERENCE, reference.key) for reference in spec.references]
