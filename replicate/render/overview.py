"""One line for each table: the paper's headline number, ours, the difference, how the numbers were made, verdicts.

The same lines open the report and the README, where they stand between two markers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from replicate.errors import UserError
from replicate.judge.table import Cell, Claim, ClaimVerdict, Origin, Table, Verdict
from replicate.render import layout, wording
from replicate.render.format_md import escape
from replicate.text import plural

BEGIN = "<!-- overview:begin -->"
END = "<!-- overview:end -->"

HEADLINE = (
    "The headline number of a table is the one the paper ranks first in the last column that it ranks; where it "
    "ranks nothing, the first number that its first claim is about, else the first it prints. The column 'here' is "
    "the same cell, whatever came out. Numbers that are set in a recipe are no headline."
)


ORIGINS: tuple[Origin, ...] = get_args(Origin)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
CLAIMS: tuple[ClaimVerdict, ...] = get_args(ClaimVerdict)
"""The order in which counts stand."""


@dataclass(frozen=True, slots=True)
class Line:
    """A table in one line. Counters are over the printed cells that hold numbers.

    ``label`` says which cell the headline is; ``headline`` is None where the paper prints no number, or where all are
    set in a recipe.
    """

    table: Table
    headline: Cell | None
    label: str
    origins: Mapping[str, int]
    verdicts: Mapping[str, int]
    reversed: int

    @property
    def here(self) -> str:
        """Our headline number with its error, or in words why there is none."""
        if self.headline is None:
            return layout.ABSENT
        error = f" ± {self.headline.error_shown}" if self.headline.error_shown else ""
        if self.headline.shown:
            return self.headline.shown + error
        return {"paper-only": "not made here", "pending": "not run"}.get(self.headline.state, self.headline.state)

    @property
    def difference(self) -> str:
        if self.headline is None or not self.headline.shown:
            return layout.ABSENT
        return self.headline.difference_shown or "not compared"


def summarise(table: Table) -> Line:
    """``table`` in one line, as it stands now."""
    cells = [cell for ref, cell in table.cells.items() if not ref.is_reference and cell.state != "text"]
    ranked = headline(table)
    return Line(
        table=table,
        headline=ranked,
        label=f"{layout.row_label(table, ranked.ref)}, {layout.column_header(table, ranked.ref)}" if ranked else "",
        origins=Counter(_origin(cell) for cell in cells),
        verdicts=Counter(wording.verdict(table, cell) for cell in cells),
        reversed=sum(claim.reversed for claim in table.claims),
    )


def headline(table: Table) -> Cell | None:
    """Return the number that stands for ``table`` in its line: see ``HEADLINE``."""
    columns = [column.key for column in table.columns if not column.text]
    grid = [[table.cell(row.key, column) for row in table.rows] for column in columns]
    ranked = [cell for cells in grid for cell in cells if cell.paper_bold and _made(cell)]
    if ranked:
        return ranked[-1]
    claimed = {comparison.left for claim in table.claims[:1] for comparison in claim.comparisons}
    by_row = [cell for cells in zip(*grid, strict=True) for cell in cells if cell.paper_shown and _made(cell)]
    return next((cell for cell in by_row if cell.ref in claimed), next(iter(by_row), None))


def _made(cell: Cell) -> bool:
    """Whether the number comes out of something: one that the recipe sets agrees with the paper by being copied."""
    return cell.origin != "set in the recipe"


def counted(counts: Mapping[str, int], order: Sequence[str] = ()) -> str:
    """``18 trained here, 6 not run``; the names of ``order`` first."""
    names = [*(name for name in order if name in counts), *sorted(set(counts) - set(order))]
    return ", ".join(f"{counts[name]} {name}" for name in names) or layout.ABSENT


def made_from(tables: Sequence[Table]) -> str:
    """The commits and processors that made the numbers, and a warning where commits do not hold all of the code."""
    commits = sorted({commit[:12] for table in tables for commit in table.commits})
    if not commits:
        return ""
    processors = sorted({processor for table in tables for processor in table.processors})
    on = f" on {', '.join(processors)}" if processors else ""
    names = ", ".join(f"`{commit}`" for commit in commits)
    text = f"Made from {'commit' if len(commits) == 1 else 'commits'} {names}{on}."
    dirty = sum(table.uncommitted for table in tables)
    if not dirty:
        return text
    return (
        f"{text} **Warning: results behind {dirty} of the {len(tables)} tables were made with changes that were not "
        "committed, or where git did not say: no commit is known to hold all of the code that made them.**"
    )


def claims_said_apart(claims: Iterable[Claim]) -> str:
    """``of 64 sentences 40 hold, 3 fail; of 37 readings 30 hold``: what the paper says, and what its tables show."""
    nouns = {wording.SENTENCES: "sentence", wording.READINGS: "reading"}
    parts = [
        f"of {plural(len(entries), nouns[heading])} {claims_said(Counter(claim.verdict for claim in entries))}"
        for heading, entries in wording.claims_apart(claims)
    ]
    return "; ".join(parts) or layout.ABSENT


def claims_said(counts: Mapping[str, int]) -> str:
    """``12 hold, 1 fails, 2 undecided``."""
    verbs = {"holds": "hold", "fails": "fail"}
    verbal = {name if number == 1 else verbs.get(name, name): number for name, number in counts.items()}
    return counted(verbal, list(dict.fromkeys(word for name in CLAIMS for word in (name, verbs.get(name, name)))))


def markdown(tables: Sequence[Table]) -> str:
    """The lines of all ``tables`` as a Markdown table, with what must be known to read it."""
    banner = next((table.banner for table in tables if table.banner), "")
    comparable = all(table.comparable for table in tables)
    paper = "paper" if comparable else f"paper {wording.OTHER_EXPERIMENT}"
    lines = [summarise(table) for table in tables]
    compared = any(line.headline is not None and line.headline.difference_shown for line in lines)
    difference = ["difference"] if compared else []
    rows = [
        ["table", "of the paper", "headline number", paper, "here", *difference, "numbers", "claims"],
        ["---", "---", "---", "--:", "--:", *("--:" for _ in difference), "---", "---"],
    ]
    for line in lines:
        table = line.table
        marks = {mark: line.verdicts[name] for name, mark in wording.VERDICT_MARKS.items() if name in line.verdicts}
        numbers = counted(line.origins, ORIGINS)
        if marks:
            numbers += f" ({', '.join(f'{count} {mark}' for mark, count in marks.items())})"
        rows.append(
            [
                f"[{table.id}]({table.spec})",
                wording.title(table),
                escape(line.label) or layout.ABSENT,
                escape(line.headline.paper_shown if line.headline else "") or layout.ABSENT,
                escape(line.here),
                *([escape(line.difference)] if compared else []),
                escape(numbers),
                escape(claims_said_apart(table.claims)),
            ]
        )
    blocks = [f"> **{escape(banner)}**"] if banner else []
    blocks.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    blocks.append(f"<sub>{escape(headline_note(lines, comparable))}</sub>")
    if made := made_from(tables):
        blocks.append(made)
    return "\n\n".join(blocks)


def headline_note(lines: Sequence[Line], comparable: bool) -> str:
    """The sentences below the lines: which number stands for a table, what its ± is, and what is not compared."""
    errors = wording.error_meaning(line.headline for line in lines if line.headline)
    other = "" if comparable else f"{wording.OTHER_EXPERIMENT} {wording.OTHER_MEANING}."
    return " ".join(part for part in (HEADLINE, f"{errors}." if errors else "", other) if part)


def updated(text: str, tables: Sequence[Table], where: str) -> str:
    """``text`` with what stands between the markers replaced. Raises UserError where they are not there once each."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in before + after:
        raise UserError(f"{where}: needs these two lines, once each and in this order\n  {BEGIN}\n  {END}")
    return f"{before}{BEGIN}\n\n{markdown(tables)}\n\n{END}{after}"


def _origin(cell: Cell) -> str:
    return cell.origin if cell.shown or cell.state == "paper-only" else "not run"
