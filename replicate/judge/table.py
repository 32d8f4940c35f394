"""A finished table: everything a renderer prints, already rounded, and what each number rests on.

Renderers lay this out and escape it; they never compute, round or decide. So the digits of every format agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from replicate.specs.cell import REFERENCE, CellRef, Side
from replicate.specs.table import Scope
from replicate.text import Printed

State = Literal["done", "pending", "running", "failed", "paper-only", "text"]
"""``pending``: its jobs have not run. ``paper-only``: nothing here makes it, the paper's value is all there is."""

Origin = Literal[
    "trained here",
    "measured here",
    "counted here",
    "set in the recipe",
    "released weights",
    "printed in the paper only",
    "not run",
]
"""``counted``: a fact of the data or of a network as it is built. ``set in the recipe``: copied there from the paper,
so that its agreement says nothing.
"""

ErrorOf = Literal["seeds and test images", "test images", "times", ""]
"""What a ± counts in: what a rerun would move, or less of it where nobody knows the rest."""

Verdict = Literal["replicated", "differs", "undecided", "not run", "not compared"]
"""``not compared``: another experiment than the paper's (the mini scale)."""

ClaimVerdict = Literal["holds", "fails", "undecided", "not decidable", "not run"]
"""``not decidable``: undecided, and these are too few seeds to decide a margin as large as the paper's."""


@dataclass(frozen=True, slots=True)
class SeedValue:
    """What one seed gave: ``value`` in the table's unit, exact; ``correct`` of ``images`` where it is a count.

    ``seed`` is None for released weights: theirs is unknown.
    """

    seed: int | None
    value: Fraction
    correct: int | None
    images: int | None
    jobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table.

    ``shown`` is what a reader sees for our value: a rounded number, a text, or empty when there is no value yet
    (renderers then print the mark of ``state``). ``error_shown`` is half of the 95 % interval in the table's unit and
    decimals, empty when unknown. ``difference_shown`` (ours minus paper, signed) likewise.
    ``bold`` was decided after rounding, ties included; ``paper_bold`` is the same for the paper's numbers.
    """

    ref: CellRef
    state: State
    shown: str
    bold: bool = False
    value: Fraction | None = None
    error: float | None = None
    """One standard error."""
    freedom: float | None = None
    """Degrees of freedom that it was measured with; None where it is as good as known."""
    half: float | None = None
    """Half of its 95 % interval."""
    error_shown: str = ""
    error_of: ErrorOf = ""
    spread: float | None = None
    """Sample standard deviation over seeds; None with one seed."""
    seeds: tuple[SeedValue, ...] = ()
    paper: Printed | None = None
    """As printed, for example ``83.10`` stays ``83.10``."""
    paper_bold: bool = False
    paper_source: str = ""
    difference_shown: str = ""
    tolerance: str = ""
    origin: Origin = "not run"
    verdict: Verdict = "not run"
    reason: str = ""
    jobs: tuple[str, ...] = ()
    """Keys of the jobs the value is read from; empty for text and paper-only cells."""

    @property
    def row(self) -> str:
        return self.ref.row

    @property
    def column(self) -> str:
        return self.ref.column

    @property
    def paper_shown(self) -> str:
        return self.paper.text if self.paper else ""

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's as it is shown, rounded."""
        return Printed(self.difference_shown).number


@dataclass(frozen=True, slots=True)
class Column:
    """``group`` heads neighbouring columns with one spanner; ``text`` columns hold words, not numbers."""

    key: str
    header: str
    group: str = ""
    text: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """``rule`` asks for a thin line above the row. ``group`` is printed once, spanning its rows, where not empty."""

    key: str
    label: str
    rule: bool = False
    group: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A footnote: ``mark`` is its sign (a, b, ...), ``see`` its evidence, such as ``deit#215``.

    ``rows`` and ``columns`` are the keys it is attached to, ``cells`` single ones. All empty: the whole
    table; such a note has no mark.
    """

    mark: str
    text: str
    see: str = ""
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    cells: tuple[CellRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One pair of cells of a claim: margins are left minus right, in the table's unit."""

    left: Side
    right: Side
    margin: float | None
    error: float | None
    paper_margin: float | None
    verdict: ClaimVerdict


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of the paper about these numbers, or a reading of them, judged on the paper's and on ours."""

    text: str
    relation: Literal["above", "not-below", "about", "times"]
    within: float
    see: str
    comparisons: tuple[Comparison, ...]
    margin: float | None
    """Mean over the comparisons; of a claim about every one of them, that of the weakest."""
    error: float | None
    """Its paired standard error (over images, and over seeds; see judge/statistics.py)."""
    margin_shown: str
    error_shown: str
    paper_margin_shown: str
    as_printed: ClaimVerdict
    """Whether each comparison of the paper's numbers bears it out, taken at their word."""
    paper_verdict: ClaimVerdict
    """By the same rule as ours: each printed number is one training, rounded."""
    paper_note: str
    """Why nothing is known of its error, where nothing is."""
    verdict: ClaimVerdict
    reversed: bool
    """Ours points clearly the other way; of a claim about every comparison, at least one does."""
    reason: str
    scope: Scope = "average"
    quote: str = ""
    """The paper's own words; empty for a reading."""
    reading: bool = False
    """A reading of a table, which no sentence of the paper makes."""
    within_source: str = ""
    """Where ``within`` is from, other than from the numbers that it is used on."""
    half: float | None = None
    """Half-width of the 95 % interval of the margin."""
    note: str = ""
    """What its error leaves out, such as ``one seed, no interval``."""
    p: float | None = None
    """How often a margin comes out this clear where the claim is only just not true; None where nobody knows."""
    p_holm: float | None = None
    """Corrected for the number of claims about the table that have one."""
    seeds_needed: int | None = None
    """That decide it in 80 % of cases if the margin is the paper's; None where nobody knows, or it is above 1,000."""
    needs: str = ""
    """What would decide it, in words."""
    half_planned: float | None = None
    """Half-width of the 95 % interval that these seeds are to give, without test images where nothing is run yet."""
    possible: bool = True
    """False where a number it rests on is made by nothing here, so that it is never judged."""

    @property
    def chosen_after(self) -> bool:
        """Whether ``within`` was chosen after the paper's numbers, which it has no source but."""
        return bool(self.within) and not self.within_source


@dataclass(frozen=True, slots=True)
class Table:
    id: str
    number: int | None
    """Number in the paper; None for numbers the paper gives in its text."""
    caption: str
    metric: str
    unit: str
    source: str
    scale: str
    banner: str
    """Printed above the table and in its caption, unless it is empty."""
    corner: str
    """Header of the column of row labels."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    cells: Mapping[CellRef, Cell]
    seeds: tuple[int, ...]
    claims: tuple[Claim, ...] = ()
    notes: tuple[Note, ...] = ()
    references: tuple[Row, ...] = ()
    """Numbers that claims need and the table does not print: see `reference`."""
    spec: str = ""
    """Path of the spec, relative to the repository."""
    digest: str = ""
    """Hash of the spec and of every result behind the table: the same inputs give the same digest."""
    commits: tuple[str, ...] = ()
    """Of the code that made the results behind the table."""
    processors: tuple[str, ...] = ()
    """That they were computed on: each rounds in its own way, and a training amplifies that."""
    uncommitted: bool = False
    """Some of them were made with changes that no commit holds."""
    comparable: bool = True
    """False when this is another experiment than the paper's, so that no number is compared with it."""
    macros: str = "Deit"
    """What the names of its TeX macros begin with."""

    def cell(self, row: str, column: str) -> Cell:
        return self.cells[CellRef(self.id, row, column)]

    def reference(self, key: str) -> Cell:
        return self.cell(REFERENCE, key)

    @property
    def complete(self) -> bool:
        return all(cell.state in ("done", "text", "paper-only") for cell in self.cells.values())


MARKS: Mapping[str, str] = {"pending": "○", "running": "◐", "failed": "⚠"}
"""What stands in a cell without a value; a paper-only cell shows the paper's value in brackets, or a dash beside it."""

MARK_MEANINGS: Mapping[str, str] = {
    "○": "not run yet",
    "◐": "running",
    "⚠": "failed",
}
PAPER_ONLY = "printed in the paper, nothing here makes it"
"""The meaning of the brackets."""
