"""Judges the claims of a table on the paper's numbers and on ours."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import cast

import numpy as np

from replicate.collect.readings import Measured
from replicate.collect.rounding import exact, half_up, signed
from replicate.collect.statistics import Z, paired_image_error, seed_error
from replicate.collect.table import Claim, ClaimVerdict, Comparison
from replicate.collect.verdict import Relation, claim_verdict, margin_verdict
from replicate.spec.sides import CellRef, pairs, relation
from replicate.spec.table import ClaimSpec, TableSpec

Sides = list[tuple[Measured, Measured]]


def judge(
    spec: TableSpec,
    claim: ClaimSpec,
    paper: Mapping[CellRef, float],
    ours: Mapping[CellRef, Measured],
    seed_sd: float,
    decimals: int,
) -> Claim:
    """``paper`` and ``ours`` hold the cells that have a number there."""
    kind = cast(Relation, relation(claim)[0])
    both = pairs(spec, claim)
    printed = [_paper_margin(paper, left, right, claim) for left, right in both]
    measured = [(_side(ours, left), _side(ours, right)) for left, right in both]
    comparisons = []
    for (left, right), theirs, (one, other) in zip(both, printed, measured, strict=True):
        margin = error = None
        single: ClaimVerdict = "not run"
        if one is not None and other is not None:
            margin, error = _margin([(one, other)], claim, kind, seed_sd)
            single = margin_verdict(kind, margin, error, claim.within)
        shown = None if theirs is None else float(theirs)
        comparisons.append(Comparison(str(left), str(right), margin, error, shown, single))
    sides = [(one, other) for one, other in measured if one is not None and other is not None]
    margin = error = None
    verdict: ClaimVerdict = "not run"
    reason, reverse = "not all of its cells have a value yet", False
    if len(sides) == len(both):
        margin, error = _margin(sides, claim, kind, seed_sd)
        mean = margin_verdict(kind, margin, error, claim.within)
        verdict, reason = claim_verdict(mean, [comparison.verdict for comparison in comparisons])
        reverse = kind == "above" and margin + Z * error < 0
    known = [value for value in printed if value is not None]
    return Claim(
        text=claim.text,
        relation=kind,
        within=claim.within,
        see=claim.see,
        comparisons=tuple(comparisons),
        margin=margin,
        error=error,
        margin_shown="" if margin is None else _shown(kind, exact(margin), claim.factor, decimals),
        error_shown="" if error is None else half_up(exact(error), 2 if kind == "times" else decimals),
        paper_margin_shown=_shown(kind, sum(known, Fraction()) / len(known), claim.factor, decimals) if known else "",
        paper_verdict=_paper_verdict(kind, printed, claim.within),
        verdict=verdict,
        reversed=reverse,
        reason=reason,
    )


def _shown(kind: Relation, margin: Fraction, factor: float, decimals: int) -> str:
    """A margin with its sign; of a ratio the ratio itself, ``×8.68``."""
    if kind == "times":
        return f"×{half_up((margin + 1) * exact(factor), 2)}"
    return signed(margin, decimals)


def _side(ours: Mapping[CellRef, Measured], ref: CellRef) -> Measured | None:
    if ref.row == "=":
        return Measured({0: exact(float(ref.column))}, None, 1, {}, error=0.0)
    found = ours.get(ref)
    return found if found is not None and found.values else None


def _paper_margin(paper: Mapping[CellRef, float], left: CellRef, right: CellRef, claim: ClaimSpec) -> Fraction | None:
    values = [float(ref.column) if ref.row == "=" else paper.get(ref) for ref in (left, right)]
    if values[0] is None or values[1] is None:
        return None
    one, other = exact(values[0]), exact(values[1])
    return one / other / exact(claim.factor) - 1 if claim.times else one - other


def _paper_verdict(kind: Relation, margins: list[Fraction | None], within: float) -> ClaimVerdict:
    """The printed numbers taken at their word: the paper gives no errors for most of them."""
    known = [margin for margin in margins if margin is not None]
    if len(known) < len(margins):
        return "not run"
    single = [margin_verdict(kind, float(margin), 0.0, within) for margin in known]
    return "holds" if all(verdict == "holds" for verdict in single) else "fails"


def _margin(sides: Sides, claim: ClaimSpec, kind: Relation, seed_sd: float) -> tuple[float, float]:
    """Mean margin over comparisons and seeds with its standard error.

    The margin is left minus right in the table's unit; for ``times`` it is the relative departure of left / right
    from the factor.
    """
    if kind == "times":
        return _ratio(sides, claim.factor)
    if all(left.hits and right.hits and left.images == right.images for left, right in sides):
        return _paired(sides, seed_sd)
    margins = [_mean(left) - _mean(right) for left, right in sides]
    errors = [_error(side, seed_sd) for both in sides for side in both]
    return float(np.mean(margins)), float(np.sqrt(np.sum(np.square(errors)))) / len(sides)


def _paired(sides: Sides, seed_sd: float) -> tuple[float, float]:
    """Both sides of each comparison are counts over the same test images, so each image is compared with itself.

    Comparisons on other test sets (ImageNet and V2, say) are independent draws of images.
    """
    seeds = sorted(set.intersection(*(set(side.hits or {}) for both in sides for side in both)))
    scale = sides[0][0].scale
    per_seed = [scale * float(np.mean([_difference(both, seed).mean() for both in sides])) for seed in seeds]
    over_images = 0.0
    for images in dict.fromkeys(left.images for left, _ in sides):
        same = [both for both in sides if both[0].images == images]
        differences = np.mean([_difference(both, seed) for both in same for seed in seeds], axis=0)
        over_images = float(np.hypot(over_images, paired_image_error(differences, scale) * len(same) / len(sides)))
    over_seeds = seed_error(_weights(sides, seeds[0]), seed_sd * scale / 100, per_seed)
    return float(np.mean(per_seed)), float(np.hypot(over_images, over_seeds))


def _weights(sides: Sides, seed: int) -> dict[str, float]:
    """By training, its share in the mean margin."""
    weights: dict[str, float] = {}
    for left, right in sides:
        for side, sign in ((left, 1.0), (right, -1.0)):
            networks = side.networks[seed]
            for network in networks:
                weights[network] = weights.get(network, 0.0) + sign / len(sides) / len(networks)
    return weights


def _difference(both: tuple[Measured, Measured], seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return _hits(both[0], seed) - _hits(both[1], seed)


def _hits(side: Measured, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    assert side.hits is not None
    return side.hits[seed].astype(np.float64)


def _ratio(sides: Sides, factor: float) -> tuple[float, float]:
    ratios = [_quotient(left, right) / factor for left, right in sides]
    relative = [np.hypot((left.error or 0) / _mean(left), (right.error or 0) / _mean(right)) for left, right in sides]
    error = float(np.sqrt(np.sum(np.square(np.multiply(ratios, relative))))) / len(sides)
    return float(np.mean(ratios)) - 1.0, error


def _quotient(left: Measured, right: Measured) -> float:
    """Of two throughputs by way of the reference network, since the machine may have been busier for one of them."""
    if left.relative is not None and right.relative is not None:
        return left.relative / right.relative
    return _mean(left) / _mean(right)


def _mean(side: Measured) -> float:
    return float(sum(side.values.values(), Fraction()) / len(side.values))


def _error(side: Measured, seed_sd: float) -> float:
    """Standard error of a value by itself: over images and seeds for a count, else as its job states it."""
    if side.hits is None:
        return side.error or 0.0
    over_images = paired_image_error(np.mean([_hits(side, seed) for seed in side.hits], axis=0), side.scale)
    per_seed = [float(value) for value in side.values.values()]
    return float(np.hypot(over_images, seed_error({"": 1.0}, seed_sd * side.scale / 100, per_seed)))
