"""A figure, as its spec file says it: a kind of drawing and the cells it reads. No expressions.

A cell is named ``table/row/column`` (``table/@/reference`` for a reference). Where no table prints a number, a
point says what it reads by itself (``run``, ``head``, ...), with the paper's value beside it.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from replicate.specs.cell import CellRef
from replicate.specs.recipe import Positive, Strict
from replicate.specs.table import CellSource, ColumnSpec, MetricName, Name, RowSpec, TableHead, TableSpec, Written


def _place(text: object) -> CellRef:
    return text if isinstance(text, CellRef) else CellRef.parse(text if isinstance(text, str) else "")


Place = Annotated[CellRef, PlainValidator(_place), PlainSerializer(str), WithJsonSchema({"type": "string"})]
"""``table/row/column``."""

KINDS = ("scatter", "lines", "heatmap", "differences", "profile", "curves", "identity")


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


class ScatterAxis(AxisSpec):
    """``column``: what is read along this axis, for each row of a series."""

    column: str


class ScatterSeries(Strict):
    """A family of networks: one point a row. ``names`` are printed beside the points (empty: no name)."""

    label: str
    rows: tuple[str, ...] = Field(min_length=1)
    names: tuple[str, ...] = ()
    y: str | None = None
    """Another column than the figure's for this series."""
    joined: bool = True


class Scatter(Strict):
    """Two columns of one table against each other."""

    table: str
    x: ScatterAxis
    y: ScatterAxis
    series: tuple[ScatterSeries, ...] = Field(min_length=1)


class PointSpec(CellSource):
    """A value at ``x``: a ``cell`` of a table, or read by itself as the fields of a reading say."""

    x: float = 0.0
    cell: Place | None = None
    paper: float | None = None
    source: str = ""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        own = [name for name in ("run", "head", "metric", "on", "field", "paper") if getattr(self, name) is not None]
        if self.cell is not None and own:
            raise ValueError(f"'cell' already says what is read; '{own[0]}' cannot stand beside it")
        if self.cell is None and self.run is None and self.paper is None:
            raise ValueError("names nothing to be read: 'cell', 'run' or 'paper' is needed")
        return self


class LineSeries(Strict):
    label: str = ""
    """Empty where the panel's title says it: then the legend leaves it out."""
    points: tuple[PointSpec, ...] = Field(min_length=1)


class Level(PointSpec):
    """A horizontal line."""

    label: str


class LinePanel(Strict):
    title: str = ""
    x: AxisSpec
    y: AxisSpec
    series: tuple[LineSeries, ...] = Field(min_length=1)
    levels: tuple[Level, ...] = ()


class Lines(Strict):
    """Values over a number, in one or more panels."""

    metric: MetricName = "top1"
    """Of the points that are no cells."""
    panels: tuple[LinePanel, ...] = Field(min_length=1, max_length=3)


class Heatmap(Strict):
    """A table as a field of colours, its numbers printed in it."""

    table: str
    label: str
    names: tuple[str, ...] = ()
    """Of the columns, where their headers are too long or need their group to be understood."""


class Differences(Strict):
    """Every row of a table against the row ``base``: margins with their paired 95 % intervals."""

    table: str
    base: str
    columns: tuple[str, ...] = Field(min_length=1, max_length=2)
    rows: tuple[str, ...] = ()
    """Empty: all rows but the base."""
    label: str
    limit: Positive
    """Margins beyond this are drawn at the edge, with their value: one diverged run must not flatten the rest."""


class ProfileSeries(Strict):
    """Similarity of the two tokens of ``run``, layer by layer. ``paper``: printed values, by cell."""

    label: str
    run: str
    paper_input: Place | None = None
    paper_last: Place | None = None


class Profile(Strict):
    label: str
    series: tuple[ProfileSeries, ...] = Field(min_length=1)


class Curves(Strict):
    """Training loss by epoch of ``runs``, and the accuracy they end at; ``reference`` is drawn behind them."""

    runs: tuple[str, ...] = Field(min_length=1, max_length=6)
    reference: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All runs that are drawn, each once, the reference last."""
        return tuple(dict.fromkeys([*self.runs, *([self.reference] if self.reference else [])]))


class IdentityPanel(Strict):
    """All cells of these metrics, of all tables."""

    label: str
    metrics: tuple[MetricName, ...] = Field(min_length=1)
    log: bool = False
    relative_to_rows: dict[str, str] = {}
    """By table, the row that its numbers are divided by (images/s)."""


class Identity(Strict):
    """Every number of every table: the paper's against ours."""

    panels: tuple[IdentityPanel, ...] = Field(min_length=1, max_length=6)


class FigureSpec(Strict):
    """One file of figures/: ``[figure]`` and one block that says its kind."""

    figure: FigureHead
    scatter: Scatter | None = None
    lines: Lines | None = None
    heatmap: Heatmap | None = None
    differences: Differences | None = None
    profile: Profile | None = None
    curves: Curves | None = None
    identity: Identity | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            raise ValueError(f"a figure has exactly one of the blocks {', '.join(KINDS)}, got {got}")
        return self

    @property
    def kind(self) -> str:
        return next(name for name in KINDS if getattr(self, name) is not None)

    @property
    def own_id(self) -> str:
        """Id of the table that holds the points which no printed table has."""
        return f"figure_{self.figure.id}"

    def points(self) -> list[tuple[str, PointSpec]]:
        """All points of a ``lines`` figure with their places in the file, levels included."""
        found: list[tuple[str, PointSpec]] = []
        for index, panel in enumerate(self.lines.panels if self.lines else ()):
            at = f"lines.panels[{index}]"
            for number, series in enumerate(panel.series):
                found += [(f"{at}.series[{number}].points[{i}]", point) for i, point in enumerate(series.points)]
            found += [(f"{at}.levels[{number}]", level) for number, level in enumerate(panel.levels)]
        return found

    def places(self) -> list[CellRef]:
        """The cells of `points`, in the same order; a point that is no cell has its own in `own_table`."""
        places: list[CellRef] = []
        own = 0
        for _, point in self.points():
            places.append(point.cell or CellRef(self.own_id, f"p{own}", OWN_COLUMN))
            own += point.cell is None
        return places

    def own_table(self) -> TableSpec | None:
        """The points that are no cells, as a table that is never printed; None where there are none."""
        own = [point for _, point in self.points() if point.cell is None]
        if not own:
            return None
        assert self.lines is not None
        rows = tuple(_row(index, point) for index, point in enumerate(own))
        head: dict[str, Any] = {
            "id": self.own_id,
            "source": self.figure.source,
            "caption": self.figure.caption,
            "metric": self.lines.metric,
            "tolerance": {"default": 0.3},
            "tolerance_reason": "a rerun moves about 0.2 points (deit#32)",
            "columns": (ColumnSpec(key=OWN_COLUMN, header=""),),
        }
        return TableSpec(table=TableHead(**head), rows=rows)


OWN_COLUMN = "value"


def _row(index: int, point: PointSpec) -> RowSpec:
    read = point.model_dump(include=set(CellSource.model_fields))
    paper: dict[str, Written] = {} if point.paper is None else {OWN_COLUMN: point.paper}
    source = point.source or None
    return RowSpec(key=f"p{index}", label="", paper=paper, source=source, **read)
