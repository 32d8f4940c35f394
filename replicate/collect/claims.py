"""Judges the claims of a table on the paper's numbers and on ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import numpy as np
from numpy.typing import NDArray

from replicate.collect.rounding import exact, half_up, signed
from replicate.collect.statistics import Z, paired_image_error, seed_error
from replicate.collect.table import Claim, ClaimVerdict, Comparison
from replicate.collect.verdict import Relation, claim_verdict, margin_verdict
from replicate.spec.sides import CellRef, pairs, relation
from replicate.spec.table import ClaimSpec, TableSpec


@dataclass(frozen=True, slots=True)
class Measured:
    """A cell as claims need it: by seed, the decisions [N] (correct or not) and the training behind them."""

    correct: Mapping[int, NDArray[np.bool_]]
    training: Mapping[int, str]


def judge(
    spec: TableSpec,
    claim: ClaimSpec,
    paper: Mapping[CellRef, float],
    ours: Mapping[CellRef, Measured],
    seed_sd: float,
) -> Claim:
    """``paper`` and ``ours`` hold the cells that have a value there."""
    kind = cast(Relation, relation(claim)[0])
    both = pairs(spec, claim)
    printed = [_paper_margin(paper, left, right) for left, right in both]
    comparisons = []
    for (left, right), theirs in zip(both, printed, strict=True):
        margin = error = None
        single: ClaimVerdict = "not run"
        if left in ours and right in ours:
            margin, error = _margin([(ours[left], ours[right])], seed_sd)
            single = margin_verdict(kind, margin, error, claim.within)
        shown = None if theirs is None else float(theirs)
        comparisons.append(Comparison(str(left), str(right), margin, error, shown, single))
    sides = [(ours[left], ours[right]) for left, right in both if left in ours and right in ours]
    margin = error = None
    verdict: ClaimVerdict = "not run"
    reason, reverse = "not all of its cells have a value yet", False
    if len(sides) == len(both):
        margin, error = _margin(sides, seed_sd)
        mean = margin_verdict(kind, margin, error, claim.within)
        verdict, reason = claim_verdict(mean, [comparison.verdict for comparison in comparisons])
        reverse = kind == "above" and margin + Z * error < 0
    known = [value for value in printed if value is not None]
    decimals = spec.table.decimals
    return Claim(
        text=claim.text,
        relation=kind,
        within=claim.within,
        see=claim.see,
        comparisons=tuple(comparisons),
        margin=margin,
        error=error,
        margin_shown="" if margin is None else signed(exact(margin), decimals),
        error_shown="" if error is None else half_up(exact(error), decimals),
        paper_margin_shown=signed(sum(known, Fraction()) / len(known), decimals) if known else "",
        paper_verdict=_paper_verdict(kind, printed, claim.within),
        verdict=verdict,
        reversed=reverse,
        reason=reason,
    )


def _paper_margin(paper: Mapping[CellRef, float], left: CellRef, right: CellRef) -> Fraction | None:
    if left not in paper or right not in paper:
        return None
    return exact(paper[left]) - exact(paper[right])


def _paper_verdict(kind: Relation, margins: list[Fraction | None], within: float) -> ClaimVerdict:
    """The printed numbers taken at their word: the paper gives no errors for most of them."""
    known = [margin for margin in margins if margin is not None]
    if len(known) < len(margins):
        return "not run"
    single = [margin_verdict(kind, float(margin), 0.0, within) for margin in known]
    return "holds" if all(verdict == "holds" for verdict in single) else "fails"


def _margin(sides: list[tuple[Measured, Measured]], seed_sd: float) -> tuple[float, float]:
    """Mean margin [%] over comparisons and seeds, and its standard error over images and over seeds."""
    seeds = sorted(set.intersection(*(set(side.correct) for both in sides for side in both)))
    by_seed = []
    weights: dict[str, float] = {}
    for seed in seeds:
        differences = [
            left.correct[seed].astype(np.float64) - right.correct[seed].astype(np.float64) for left, right in sides
        ]
        by_seed.append(np.mean(differences, axis=0))
    for left, right in sides:
        weights[left.training[seeds[0]]] = weights.get(left.training[seeds[0]], 0.0) + 1 / len(sides)
        weights[right.training[seeds[0]]] = weights.get(right.training[seeds[0]], 0.0) - 1 / len(sides)
    images = np.mean(by_seed, axis=0)
    per_seed = [100.0 * float(difference.mean()) for difference in by_seed]
    over_images = paired_image_error(images)
    over_seeds = seed_error(weights, seed_sd, per_seed)
    return 100.0 * float(images.mean()), float(np.hypot(over_images, over_seeds))
