"""A table of a paper, as its spec file says it: columns, rows, the paper's values, claims and notes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from replicate import metrics
from replicate.metrics.metric import Head
from replicate.specs.recipe import NonNegative, Strict

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
Written = float | str
"""A number of the paper; or the text of it where the digits are not all there is: see `replicate.text.Printed`."""


def _known_metric(name: str) -> str:
    if name not in metrics.names():
        known = {"name": name, "plural": "metrics", "known": metrics.names()}
        raise PydanticCustomError("unknown_name", "there is no metric '{name}'", known)
    return name


MetricName = Annotated[str, AfterValidator(_known_metric)]
"""What a cell reads: `replicate.metrics` has an entry for each."""


class CellSource(Strict):
    """What a cell reads. A row overrides its column, which overrides the table.

    ``run``: the network; ``{column}`` in a row's stands for the column's, ``{row}`` in a column's for the row's.
    ``on``: another data set than the run's.
    """

    run: str | None = None
    head: Head | None = None
    metric: MetricName | None = None
    on: str | None = None
    field: str | None = None


class ColumnSpec(CellSource):
    """One column; ``text`` columns hold words."""

    key: Name
    header: str
    group: str = ""
    text: bool = False
    unit: str | None = None
    decimals: Annotated[int, Field(ge=0, le=6)] | None = None
    factor: float = 1.0
    """The printed number is the measured one times this: 1e-6 for millions of parameters."""
    bold: Literal["none", "max", "min"] | None = None


class RowSpec(CellSource):
    """One row. ``paper`` holds the printed values by column; a column left out is a dash there."""

    key: Name
    label: str
    rule: bool = False
    group: str = ""
    runs: dict[str, str] = {}
    """The network by column, where it is not the one that ``run`` says."""
    text: dict[str, str] = {}
    paper: dict[str, Written] = {}
    source: str | None = None
    """Where the paper took this row from, if not from its own networks."""
    not_run: str | None = None
    """Why nothing here makes the accuracies of this row; its columns of other metrics are still made."""


class TableHead(CellSource):
    """The ``[table]`` block."""

    id: Name
    number: int | None = None
    after: int | None = None
    """For numbers that the paper gives in its text: the table that they follow."""
    source: str
    """Version of the paper that every ``paper`` value was copied from."""
    caption: str
    unit: str = "%"
    decimals: Annotated[int, Field(ge=0, le=6)] = 1
    bold: Literal["none", "max", "min"] = "none"
    corner: str = ""
    tolerance: dict[str, NonNegative]
    """Largest difference from the paper that counts as replicated: ``default``, or by column key."""
    tolerance_reason: str
    columns: tuple[ColumnSpec, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _as_the_metric_is_printed(cls, raw: Any) -> Any:
        """Unit and digits of the table's metric, where the table says none."""
        metric = raw.get("metric") if isinstance(raw, dict) else None
        if metric not in metrics.names():
            return raw
        facts = metrics.find(metric)
        return {"unit": facts.unit, "decimals": facts.digits} | raw

    def places(self, column: ColumnSpec) -> int:
        """The digits after the point of the numbers in ``column``."""
        return self.decimals if column.decimals is None else column.decimals

    @property
    def place(self) -> float:
        """Where the table stands in the paper: after Table 7 is 7.5, and unknown is last."""
        if self.number is not None:
            return float(self.number)
        return float("inf") if self.after is None else self.after + 0.5


class ReferenceSpec(CellSource):
    """A number that claims need and the table does not print, such as the accuracy of the teacher."""

    key: Name
    label: str
    paper: Written | None = None
    source: str = ""
    not_run: str | None = None
    """Why nothing here makes it; the claims that need it are judged on the paper's numbers alone."""


Relation = Literal["above", "not-below", "about", "times"]
"""What a claim says of its two sides."""

QUOTED_WORDS = 15
"""A claim quotes no more words of the paper than these."""

Scope = Literal["average", "every"]
"""Whether a claim with several comparisons speaks of their mean, or of each: then the weakest one decides."""


class ClaimSpec(Strict):
    """A sentence of the paper, or a reading of its table, as comparisons of cells.

    A side is ``row`` (one comparison for each column in ``where``), ``row.column``, ``*.column`` (one comparison
    for each row in ``where``), ``@reference``, or a plain number.
    """

    text: str
    left: str
    above: str | None = None
    """The paper says left > this."""
    not_below: str | None = None
    """The paper says left is at least as good as this; ``within`` is how much worse still counts."""
    about: str | None = None
    """The paper says left and this agree to ``within``."""
    times: str | None = None
    """The paper says left is ``factor`` times this; ``within`` is the relative error that still counts."""
    factor: Annotated[float, Field(gt=0.0)] = 1.0
    within: NonNegative = 0.0
    within_source: str = ""
    """Where ``within`` is from, other than from the numbers it is used on: the noise of a rerun that an author states,
    one standard error of the test set, the printed rounding. Empty: it was chosen after the paper's numbers."""
    where: tuple[str, ...] = ()
    neighbours: bool = False
    """True for what rises along ``where``: left at each place is compared with right at the place before it.

    Places that a network does not have, such as its twelfth block, are left out.
    """
    scope: Scope = "average"
    quote: str | None = None
    """The paper's own words without its citation marks, at most `QUOTED_WORDS` of them."""
    reading: bool = False
    """True for a reading of a table that no sentence of the paper makes."""
    see: str = ""
    """The place in the paper: section, caption or table."""


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
