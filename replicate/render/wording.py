"""The sentences around a table: title, caption, legend, verdicts. The same words in every format.

A table that is not comparable is another experiment than the paper's. Then no cell is judged against the paper, and
no format says that a number or a claim was confirmed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, assert_never, get_args

from replicate.judge.table import (
    MARK_MEANINGS,
    PAPER_ONLY,
    Cell,
    Claim,
    ClaimVerdict,
    ErrorOf,
    Note,
    Origin,
    SeedValue,
    Table,
    Verdict,
)
from replicate.render.layout import ABSENT, Variant, column_header, face, here, row_label, shown
from replicate.specs.cell import Side
from replicate.text import Printed, plural

T = TypeVar("T")

OTHER_EXPERIMENT = "†"
RELEASED = "‡"

VERDICT_MARKS: Mapping[Verdict, str] = {"replicated": "✓", "differs": "✗", "undecided": "?"}
CLAIM_MARKS: Mapping[ClaimVerdict, str] = {
    "holds": "✓", "fails": "✗", "undecided": "?", "not decidable": "?", "not run": "○",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClaimGroup:
    """A part of a list of claims. ``name``: its anchor. ``full``: each claim stands there with all that is known."""

    name: str
    heading: str
    full: bool = False


CLAIM_GROUPS: Mapping[ClaimVerdict, ClaimGroup] = {
    "fails": ClaimGroup("fails", "Fail here", full=True),
    "undecided": ClaimGroup("undecided", "Undecided here", full=True),
    "not decidable": ClaimGroup("not-decidable", "Not decidable here with these seeds", full=True),
    "holds": ClaimGroup("holds", "Hold here"),
    "not run": ClaimGroup("not-run", "Not run here"),
}
"""In the order in which they answer what is not borne out here; claims that nothing here can judge come last."""

NEVER_JUDGED = ClaimGroup("never", "Never judged here: nothing here makes a number that they need")

SENTENCES = "sentences of the paper"
EDGE = 0.025
"""The p-value at which a claim holds."""

READINGS = "readings of its tables"
CHOSEN_AFTER = "chosen after the paper's numbers"
"""Said of an allowance that has no source but the numbers that it is used on."""

MARK_CLASSES: Mapping[str, str] = {"✓": "good", "✗": "bad", "?": "open", "○": "open"}
"""What a mark is to a style sheet."""

OTHER_MEANING = "another experiment: the paper's networks and data, for orientation only"
_VERDICT_MEANINGS = {
    "✓": "replicated: the mean over reruns is known to lie within the tolerance of the paper's number",
    "✗": "differs: by more than another training moves it in 19 of 20 cases, or where none lies between, the tolerance",
    "?": "undecided: it may be the paper's number, and these seeds cannot show it",
}


_ERRORS: Mapping[ErrorOf, str] = {
    "seeds and test images": "seeds and test images",
    "test images": "test images alone where nobody knows what another seed does",
    "times": "repeated measurements",
}


def title(table: Table) -> str:
    return f"Table {table.number}" if table.number is not None else "Numbers in the text"


def banner(table: Table) -> str:
    """The sentence above the numbers of another experiment, whether or not its scale says it in words of its own."""
    return table.banner or ("" if table.comparable else f"another experiment than the paper's (scale {table.scale})")


def dagger(table: Table) -> str:
    """The mark of the paper's numbers beside those of another experiment; empty where the two may be compared."""
    return "" if table.comparable else OTHER_EXPERIMENT


def verdict(table: Table, cell: Cell) -> Verdict:
    """The verdict that may be printed: of another experiment, no value is ever compared with the paper's."""
    if not table.comparable and cell.verdict != "not run":
        return "not compared"
    return cell.verdict


def verdict_mark(table: Table, cell: Cell) -> str:
    return VERDICT_MARKS.get(verdict(table, cell), "")


def claim_text(claim: Claim) -> str:
    """A claim with the paper's words and their place, as one line."""
    said = claim_said(claim)
    return f"{claim.text}. {said[:1].upper()}{said[1:]}" if said else claim.text


def claim_said(claim: Claim) -> str:
    """``“Hard distillation outperforms soft” (Section 5.2)``, or ``a reading of Table 3``."""
    if claim.quote:
        return f"“{claim.quote}” ({claim.see})"
    return f"a reading of {claim.see}" if claim.reading else claim.see


def claim_scope(claim: Claim) -> str:
    """The margin that decides among several comparisons: ``on average over 4``, ``weakest of 3 comparisons``."""
    count = len(claim.comparisons)
    if count < 2:
        return ""
    match claim.scope:
        case "average":
            return f"on average over {count}"
        case "every":
            return f"weakest of {count} comparisons"
        case _:
            assert_never(claim.scope)


def claim_within(claim: Claim) -> str:
    """The difference that a claim allows, and its source: ``within 0.2 (Table 8: ±0.2)``; empty for none."""
    if not claim.within:
        return ""
    allowed = f"{claim.within * 100:g} %" if claim.relation == "times" else f"{claim.within:g}"
    return f"within {allowed}, {CHOSEN_AFTER}" if claim.chosen_after else f"within {allowed} ({claim.within_source})"


def would_decide(claim: Claim) -> str:
    """What an undecided claim waits for; empty of any other."""
    match claim.verdict:
        case "undecided" | "not decidable":
            needs = f"needs {claim.needs}" if claim.needs else ""
            return "; ".join(part for part in (claim.note, needs) if part)
        case "holds" | "fails" | "not run":
            return ""
        case _:
            assert_never(claim.verdict)


def claim_groups(claims: Iterable[T], of: Callable[[T], Claim]) -> list[tuple[ClaimGroup, list[T]]]:
    """The groups that have claims, each with them; ``of`` gives the claim of an entry."""
    groups: dict[ClaimGroup, list[T]] = {group: [] for group in (*CLAIM_GROUPS.values(), NEVER_JUDGED)}
    for entry in claims:
        claim = of(entry)
        groups[CLAIM_GROUPS[claim.verdict] if claim.possible else NEVER_JUDGED].append(entry)
    return [(group, entries) for group, entries in groups.items() if entries]


def claim_here(claim: Claim) -> str:
    """Our side of a claim, for example ``fails (reversed)``."""
    return f"{claim.verdict} (reversed)" if claim.reversed else claim.verdict


AS_PRINTED = "as printed"


def claim_paper(claim: Claim) -> str:
    """The paper's side in few words: ``holds (+1.3)`` by the rule that ours is judged by, or ``as printed (+0.2)``."""
    if claim.as_printed == "not run":
        return "too few numbers"
    match claim.paper_verdict:
        case "holds" | "fails":
            return f"{claim.paper_verdict} ({claim.paper_margin_shown})"
        case "undecided" | "not decidable" | "not run":
            negated = "not " if claim.as_printed == "fails" else ""
            return f"{negated}{AS_PRINTED} ({claim.paper_margin_shown})"
        case _:
            assert_never(claim.paper_verdict)


def claim_paper_why(claim: Claim) -> str:
    """`claim_paper`, and where the paper's numbers are not clear of another seed, why."""
    said = claim_paper(claim)
    return f"{said}, {claim.paper_note or 'within seed noise'}" if AS_PRINTED in said else said


def paper_meaning(claims: Iterable[Claim]) -> str:
    """What "as printed" says, where it stands beside one of the claims; else empty."""
    if not any(AS_PRINTED in claim_paper(claim) for claim in claims):
        return ""
    return (
        f"Paper, {AS_PRINTED}: its numbers say so, but another seed could move them past each other, or how far it "
        "moves them is not known."
    )


def claim_margin(claim: Claim) -> str:
    """``+0.3 ± 0.1``, and in brackets what must be known of it."""
    return " ".join(part for part in (margin(claim), claim_note(claim)) if part)


def decided_by(claims: Sequence[Claim]) -> str:
    """What would decide the undecided claims of a table, as a sentence below them; empty where there are none."""
    waiting = [claim for claim in claims if claim.verdict in ("undecided", "not decidable")]
    if not waiting:
        return ""
    seeds = sorted(claim.seeds_needed for claim in waiting if claim.seeds_needed)
    beyond = [claim for claim in waiting if claim.error is not None and claim.needs and not claim.seeds_needed]
    unknown = [claim for claim in waiting if claim.error is None]
    parts = []
    if seeds:
        span = f"{seeds[0]:,} to {seeds[-1]:,} seeds" if seeds[-1] > seeds[0] else plural(seeds[0], "seed")
        parts.append(f"{len(seeds)} with {span}")
    if beyond:
        parts.append(f"{len(beyond)} with {beyond[0].needs}")
    said = [f"{plural(len(waiting), 'claim is', 'claims are')} undecided."]
    if parts:
        said.append(f"At this noise, margins like the paper's are decided in 80 % of cases: {', '.join(parts)}.")
    if unknown:
        said.append(f"Of {len(unknown)} no error is known.")
    return " ".join(said)


def by_chance(claims: Sequence[Claim]) -> str:
    """How many claims would hold although there is nothing to them, and how many still do after Holm's correction."""
    judged = [claim for claim in claims if claim.p_holm is not None]
    if not judged:
        return ""
    holding = [claim for claim in judged if claim.verdict == "holds"]
    sure = sum(claim.p_holm is not None and claim.p_holm <= EDGE for claim in holding)
    return (
        f"{len(holding)} of {plural(len(judged), 'judged claim')} hold; of as many about nothing, up to "
        f"{len(judged) * EDGE:.1f} would. Corrected for their number (Holm): {sure}."
    )


def claims_below(claims: Sequence[Claim]) -> list[str]:
    """The sentences that stand below a list of claims."""
    return [said for said in (by_chance(claims), decided_by(claims), paper_meaning(claims)) if said]


def claims_apart(claims: Iterable[Claim]) -> list[tuple[str, list[Claim]]]:
    """The sentences of the paper and the readings of its tables, each with its heading; none that is empty."""
    parts: dict[str, list[Claim]] = {SENTENCES: [], READINGS: []}
    for claim in claims:
        parts[READINGS if claim.reading else SENTENCES].append(claim)
    return [(heading, entries) for heading, entries in parts.items() if entries]


def margin(claim: Claim) -> str:
    return f"{claim.margin_shown} ± {claim.error_shown}" if claim.error_shown else claim.margin_shown


def claim_note(claim: Claim) -> str:
    """``(on average over 4; 95 % interval ±6.5)``: what must be known of a margin, in brackets."""
    notes = claim_notes(claim)
    return f"({'; '.join(notes)})" if notes else ""


def claim_p(claim: Claim) -> str:
    """``p 0.012 (Holm 0.06)``: by itself, and corrected for the claims of its table; empty where it has none."""
    if claim.p is None or claim.p_holm is None:
        return ""
    return f"p {_p_value(claim.p)} (Holm {_p_value(claim.p_holm)})"


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def claim_notes(claim: Claim) -> list[str]:
    """Over how many comparisons a margin is, its p-value, what is allowed for no reason but the result, what would
    decide."""
    if not claim.margin_shown:
        return []
    allowed = claim_within(claim) if claim.chosen_after else ""
    notes = [claim_scope(claim), claim_p(claim), allowed, would_decide(claim) or claim.note]
    return [note for note in notes if note]


def note_text(note: Note) -> str:
    return f"{sentence(note.text)} See {note.see}." if note.see else note.text


def has_errors(table: Table, variant: Variant) -> bool:
    """Whether a ± is printed beside a cell: in a comparison only. The lists of claims have their own heading."""
    cells = (table.cell(row.key, column.key) for row in table.rows for column in table.columns)
    return variant == "compare" and any(cell.shown and cell.error_shown for cell in cells)


def error_meaning(cells: Iterable[Cell]) -> str:
    """What ± is beside these numbers, and what it leaves out; empty where none has one."""
    cells = list(cells)
    counted = [of for of in _ERRORS if any(cell.error_shown and cell.error_of == of for cell in cells)]
    return f"± is half of the 95 % interval, over {listed([_ERRORS[of] for of in counted])}" if counted else ""


def mixed_origin(table: Table) -> bool:
    return {cell.origin for cell in table.cells.values()} >= {"trained here", "released weights"}


def origin_mark(table: Table, cell: Cell) -> str:
    """The mark of an origin that is the exception: where all numbers have one origin, the caption says it once."""
    return RELEASED if cell.origin == "released weights" and mixed_origin(table) else ""


def caption(table: Table, variant: Variant, *, banner: bool = True) -> str:
    """The caption after ``Table N:``: the banner, where the numbers come from, n and the meaning of ±.

    ``banner=False`` where the banner stands directly above and cannot be cut off.
    """
    parts = [sentence(table.caption), sentence(table.banner) if banner else "", origins(table, variant)]
    return " ".join(part for part in parts if part)


def origins(table: Table, variant: Variant) -> str:
    """The origins of the numbers, n and the meaning of ±; empty where there is no number."""
    present = {cell.origin for cell in table.cells.values() if cell.state == "done"}
    origins = [origin for origin in get_args(Origin) if origin in present]
    parts = []
    if origins:
        seeds = f"; {_seeds(table)}" if "trained here" in origins else ""
        parts.append(f"Numbers: {listed(origins)}{seeds}.")
    if has_errors(table, variant):
        parts.append(f"{error_meaning(table.cells.values())}.")
    return " ".join(parts)


def of_seed(seed: SeedValue, text: str) -> str:
    """``seed 0: 41 of 50``; of released weights, whose seed is unknown, ``text`` alone."""
    return text if seed.seed is None else f"seed {seed.seed}: {text}"


def counts(cell: Cell) -> list[str]:
    """The number of images that were decided right, by seed."""
    seeds = [seed for seed in cell.seeds if seed.correct is not None and seed.images]
    return [of_seed(seed, f"{seed.correct:,} of {seed.images:,}") for seed in seeds]


def facts(table: Table, cell: Cell) -> list[str]:
    """Short phrases with all that is known of one cell."""
    phrases = [
        f"here {here(cell)}",
        f"paper {cell.paper_shown}" if cell.paper_shown else "",
        f"difference {cell.difference_shown}" if cell.difference_shown else "",
        *counts(cell),
        f"±{cell.error_shown} (95 %, {cell.error_of})" if cell.error_shown else "",
        *(cell.origin, verdict(table, cell), cell.reason),
    ]
    # Each once: of a cell that was not run, origin and verdict are the same words.
    return list(dict.fromkeys(phrase for phrase in phrases if phrase))


def shared_reason(table: Table) -> str:
    """The reason that all finished numbers have, so that it can be printed once."""
    reasons = {cell.reason for cell in table.cells.values() if cell.state == "done"}
    return reasons.pop() if len(reasons) == 1 else ""


def signed(margin: float | None) -> str:
    """``−0.35``; empty where there is no margin."""
    return "" if margin is None else f"{margin:+.2f}".replace("-", "−")


def side(table: Table, side: Side) -> str:
    """A side of a comparison in the words of the table: ``DeiT hard distillation, B 224``, or a plain number."""
    if isinstance(side, Printed):
        return side.text
    label = row_label(table, side)
    return label if side.is_reference else f"{label}, {column_header(table, side)}"


def references_line(table: Table) -> str:
    """The numbers that claims use and the table does not print: ``the teacher: 97.9 (paper 82.9)``."""
    parts = []
    for reference in table.references:
        cell = table.reference(reference.key)
        paper = f" (paper{dagger(table)} {cell.paper_shown})" if cell.paper_shown and cell.state != "paper-only" else ""
        parts.append(f"{reference.label}: {face(cell)}{paper}")
    return "; ".join(parts)


def legend(table: Table, variant: Variant) -> list[tuple[str, str]]:
    """The marks that occur in this table, with their meanings."""
    cells = list(table.cells.values())
    faces = {face(cell) if cell.ref.is_reference else shown(cell, variant) for cell in cells}
    marked = [(mark, text) for mark, text in MARK_MEANINGS.items() if mark in faces]
    bracketed = {cell.ref.is_reference or variant == "paper" for cell in cells if cell.state == "paper-only"}
    marked += [("[ ]" if printed else f"[{ABSENT}]", PAPER_ONLY) for printed in sorted(bracketed)]
    if mixed_origin(table):
        marked.append((RELEASED, "released weights (unmarked: trained here)"))
    if variant == "compare":
        marks = {verdict_mark(table, cell) for cell in cells}
        marked += [(mark, text) for mark, text in _VERDICT_MEANINGS.items() if mark in marks]
    if not table.comparable and (variant == "compare" or table.claims):
        marked.append((OTHER_EXPERIMENT, OTHER_MEANING))
    return marked


def legend_line(table: Table, variant: Variant) -> str:
    return "; ".join(f"{mark} {meaning}" for mark, meaning in legend(table, variant))


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _seeds(table: Table) -> str:
    count = len(table.seeds)
    if count == 1:
        return f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}1 seed ({table.seeds[0]})"
    return (
        f"mean of n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{count} seeds ({', '.join(map(str, table.seeds))})"
        if count
        else "no seeds"
    )


def sentence(text: str) -> str:
    """``text`` on one line, with a full stop."""
    text = " ".join(text.split())
    return text if not text or text[-1] in ".!?" else f"{text}."
