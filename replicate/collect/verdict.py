"""Numbers to verdicts: the rules, and nothing else."""

from __future__ import annotations

from typing import Literal

from replicate.collect.statistics import Error
from replicate.collect.table import ClaimVerdict, Verdict

Relation = Literal["above", "not-below", "about", "times"]

_DUST = 1e-9
"""Binary noise of a difference of decimals: 83.1 - 83.0 must count as 0.1."""


def cell_verdict(difference: float, tolerance: float, half_unit: float, error: Error | None) -> tuple[Verdict, str]:
    """Does our value agree with the printed one?

    difference: ours minus the paper's. half_unit: grace for the paper's own rounding. error: over seeds, where
    they vary by more than one rerun, for which ``tolerance`` allows; the test images are the paper's, so their draw
    does not enter.
    """
    allowed = tolerance + half_unit + _DUST
    half = 0.0 if error is None else error.half
    interval = "" if error is None else f" (95 % interval ±{half:.2f}: its seeds vary more than a rerun is known to)"
    why = f"{difference:+.2f} against ±{tolerance:g} allowed{interval}"
    if abs(difference) + half <= allowed:
        return "replicated", why
    if abs(difference) - half > allowed:
        return "not replicated", why
    return "undecided", why


def margin_verdict(relation: Relation, margin: float, error: Error | None, within: float) -> ClaimVerdict:
    """Does a margin (left minus right) bear out the relation? By its 95 % interval; without one nobody knows."""
    if error is None:
        return "undecided"
    low, high = margin - error.half, margin + error.half
    if relation == "above":
        return "holds" if low > _DUST else "fails" if high <= _DUST else "undecided"
    if relation == "not-below":
        return "holds" if low >= -within - _DUST else "fails" if high < -within - _DUST else "undecided"
    if low >= -within - _DUST and high <= within + _DUST:
        return "holds"
    return "fails" if low > within + _DUST or high < -within - _DUST else "undecided"


def claim_verdict(mean: ClaimVerdict, single: list[ClaimVerdict]) -> tuple[ClaimVerdict, str]:
    """A claim about several cells: the mean margin decides, unless a single comparison clearly contradicts it."""
    against = single.count("fails")
    if mean == "holds" and against:
        return "undecided", f"holds on the mean, but {against} of {len(single)} comparisons clearly fail"
    return mean, f"{single.count('holds')} of {len(single)} comparisons hold by themselves, {against} fail"
