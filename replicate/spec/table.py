"""A table of a paper, as its spec file says it: columns, rows, the paper's values, claims and notes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from replicate.spec.recipe import NonNegative, Strict

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
Number = Annotated[float, Field()]
Metric = Literal["top1", "top5"]
Head = Literal["class", "distillation", "softmax-sum", "logit-mean"]


class TableHead(Strict):
    """The ``[table]`` block."""

    id: Name
    number: int | None = None
    source: str
    """Version of the paper that every ``paper`` value was copied from."""
    caption: str
    metric: Metric
    unit: str = "%"
    decimals: Annotated[int, Field(ge=0, le=6)] = 1
    bold: Literal["none", "column-max", "column-min"] = "none"
    corner: str = ""
    head: Head | None = None
    """Which head answers where neither row nor column says so; networks without a token have ``class`` only."""
    tolerance: dict[str, NonNegative]
    """Largest difference from the paper that counts as replicated: ``default``, or by column key."""
    tolerance_reason: str
    columns: tuple[ColumnSpec, ...] = Field(min_length=1)


class ColumnSpec(Strict):
    """One column. ``run`` fills the ``{column}`` of the rows' run names; ``text`` columns hold words."""

    key: Name
    header: str
    group: str = ""
    text: bool = False
    run: str | None = None


class RowSpec(Strict):
    """One row. ``paper`` holds the printed values, as numbers, by column; a column left out is a dash there."""

    key: Name
    label: str
    run: str | None = None
    head: Head | None = None
    metric: Metric | None = None
    rule: bool = False
    group: str = ""
    text: dict[str, str] = {}
    paper: dict[str, Number] = {}


class ReferenceSpec(Strict):
    """A number that claims need and the table does not print, such as the accuracy of the teacher."""

    key: Name
    label: str
    run: str
    head: Head = "class"
    metric: Metric | None = None
    paper: Number | None = None
    source: str = ""


class ClaimSpec(Strict):
    """A sentence of the paper, as comparisons of cells.

    A side is ``row`` (one comparison for each column in ``where``), ``row.column``, ``*.column`` (one comparison
    for each row in ``where``), or ``@reference``.
    """

    text: str
    left: str
    above: str | None = None
    """The paper says left > this."""
    not_below: str | None = None
    """The paper says left is at least as good as this; ``within`` is how much worse still counts."""
    about: str | None = None
    """The paper says left and this agree to ``within``."""
    within: NonNegative = 0.0
    where: tuple[str, ...] = ()
    see: str = ""


class NoteSpec(Strict):
    """A footnote for some rows or columns (both empty: the whole table), with its evidence."""

    text: str
    see: str = ""
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


class TableSpec(Strict):
    """One file of tables/."""

    table: TableHead
    rows: tuple[RowSpec, ...] = Field(min_length=1)
    references: tuple[ReferenceSpec, ...] = ()
    claims: tuple[ClaimSpec, ...] = ()
    notes: tuple[NoteSpec, ...] = ()


TableHead.model_rebuild()
