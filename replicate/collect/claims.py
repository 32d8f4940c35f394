"""Judges the claims of a table on the paper's numbers and on ours."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import cast

from replicate.collect.margin import Margin, fact, margin_of
from replicate.collect.readings import Measured
from replicate.collect.rounding import exact, half_up, signed
from replicate.collect.statistics import NONE, Error, SeedNoise
from replicate.collect.table import Claim, ClaimVerdict, Comparison
from replicate.collect.verdict import Relation, claim_verdict, margin_verdict
from replicate.spec.sides import CellRef, pairs, relation
from replicate.spec.table import ClaimSpec, TableSpec


def judge(
    spec: TableSpec,
    claim: ClaimSpec,
    paper: Mapping[CellRef, float],
    ours: Mapping[CellRef, Measured],
    noise: SeedNoise,
    decimals: int,
    rates: bool = False,
) -> Claim:
    """``paper`` and ``ours`` hold the cells that have a number there.

    ``rates``: they are images/s, which "above" compares by their ratio: the rates of two devices have no common unit.
    """
    kind = cast(Relation, relation(claim)[0])
    by_ratio = kind == "times" or (rates and kind == "above")
    both = pairs(spec, claim)
    printed = [_paper_margin(paper, left, right, claim.factor if by_ratio else None) for left, right in both]
    measured = [(_side(ours, left), _side(ours, right)) for left, right in both]
    comparisons = []
    for (left, right), theirs, (one, other) in zip(both, printed, measured, strict=True):
        alone: Margin | None = None
        single: ClaimVerdict = "not run"
        if one is not None and other is not None:
            alone = margin_of([(one, other)], claim.factor if by_ratio else None, noise)
            single = margin_verdict(kind, alone.value, alone.error, claim.within)
        comparisons.append(
            Comparison(
                str(left),
                str(right),
                alone.value if alone else None,
                alone.error.standard if alone and alone.error else None,
                None if theirs is None else float(theirs),
                single,
            )
        )
    sides = [(one, other) for one, other in measured if one is not None and other is not None]
    mean: Margin | None = None
    verdict: ClaimVerdict = "not run"
    reason = "not all of its cells have a value yet"
    if len(sides) == len(both):
        mean = margin_of(sides, claim.factor if by_ratio else None, noise)
        decided = margin_verdict(kind, mean.value, mean.error, claim.within)
        verdict, reason = claim_verdict(decided, [comparison.verdict for comparison in comparisons])
        reason = f"{reason}; {mean.note}" if mean.note else reason
    error = mean.error if mean else None
    theirs_known = [value for value in printed if value is not None]
    return Claim(
        text=claim.text,
        relation=kind,
        within=claim.within,
        see=claim.see,
        comparisons=tuple(comparisons),
        margin=mean.value if mean else None,
        error=error.standard if error else None,
        margin_shown=_shown(exact(mean.value), claim.factor if by_ratio else None, decimals) if mean else "",
        error_shown=_error_shown(error, claim.factor if by_ratio else None, decimals) if error else "",
        paper_margin_shown=_shown(
            sum(theirs_known, Fraction()) / len(theirs_known), claim.factor if by_ratio else None, decimals
        )
        if theirs_known
        else "",
        paper_verdict=_paper_verdict(kind, printed, claim.within),
        verdict=verdict,
        reversed=kind == "above" and mean is not None and error is not None and mean.value + error.half < 0,
        reason=reason,
        half=error.half if error else None,
        note=mean.note if mean else "",
    )


def _shown(margin: Fraction, factor: float | None, decimals: int) -> str:
    """A margin with its sign; of a ratio the ratio itself, ``×8.68``."""
    if factor is not None:
        return f"×{half_up((margin + 1) * exact(factor), 2)}"
    return signed(margin, decimals)


def _error_shown(error: Error, factor: float | None, decimals: int) -> str:
    if factor is not None:
        return half_up(exact(error.standard) * exact(factor), 2)
    return half_up(exact(error.standard), decimals)


def _side(ours: Mapping[CellRef, Measured], ref: CellRef) -> Measured | None:
    if ref.row == "=":
        return fact(float(ref.column))
    found = ours.get(ref)
    return found if found is not None and found.values else None


def _paper_margin(
    paper: Mapping[CellRef, float], left: CellRef, right: CellRef, factor: float | None
) -> Fraction | None:
    values = [float(ref.column) if ref.row == "=" else paper.get(ref) for ref in (left, right)]
    if values[0] is None or values[1] is None:
        return None
    one, other = exact(values[0]), exact(values[1])
    return one - other if factor is None else one / other / exact(factor) - 1


def _paper_verdict(kind: Relation, margins: list[Fraction | None], within: float) -> ClaimVerdict:
    """The printed numbers taken at their word, since the paper gives no errors for most of them.

    So each comparison must hold: no noise would excuse one that does not, as it may among ours (`claim_verdict`).
    """
    known = [margin for margin in margins if margin is not None]
    if len(known) < len(margins):
        return "not run"
    single = [margin_verdict(kind, float(margin), NONE, within) for margin in known]
    return "holds" if all(verdict == "holds" for verdict in single) else "fails"
