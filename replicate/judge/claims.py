"""Judges the claims of a table: the margin between its sides, how sure it is, and what that decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import sqrt
from typing import Any, NamedTuple, TypeVar, assert_never

import numpy as np

from replicate.judge.statistics import (
    NO_ERROR,
    NO_NOISE,
    Error,
    SeedNoise,
    claim_verdict,
    combined,
    margin_verdict,
    paired_image_error,
    seed_error,
)
from replicate.judge.table import Claim, ClaimVerdict, Comparison
from replicate.judge.values import CellValue
from replicate.specs.cell import CellRef, Side, pairs, relation
from replicate.specs.table import ClaimSpec, Relation, TableSpec
from replicate.text import Printed, exact, half_up, signed

T = TypeVar("T")

Sides = list[tuple[CellValue, CellValue]]
"""The pairs of a claim: left and right of each comparison."""

UNTIMED = "no times of single runs, no interval"
UNSTEADY = "unsteady"


class Margin(NamedTuple):
    """``value`` in the table's unit. ``error``: None where nobody knows it. ``note``: what the error leaves out."""

    value: float
    error: Error | None
    note: str = ""


def margin_of(sides: Sides, factor: float | None, noise: SeedNoise) -> Margin:
    """Mean margin over comparisons and seeds: left minus right in the table's unit.

    With a ``factor`` it is the relative departure of left / right from it.
    """
    if factor is not None:
        return _ratio(sides, factor, noise)
    if all(left.hits and right.hits and _same_images(left, right) for left, right in sides):
        return _paired(sides, noise)
    return _unpaired(sides, noise)


def _paired(sides: Sides, noise: SeedNoise) -> Margin:
    """Both sides of each comparison are counts over the same test images, so each image is compared with itself.

    ReaL corrects the labels of ImageNet's photographs, so these are paired too; V2 is another draw of photographs.
    """
    seeds = _seeds(sides)
    scale = sides[0][0].scale
    per_seed = [scale * float(np.mean([_difference(both, seed).mean() for both in sides])) for seed in seeds]
    over_images = 0.0
    for images in dict.fromkeys(left.images for left, _ in sides):
        same = [both for both in sides if both[0].images == images]
        differences = np.mean([_by_photograph(both, seed) for both in same for seed in seeds], axis=0)
        over_images = float(np.hypot(over_images, paired_image_error(differences, scale) * len(same) / len(sides)))
    over_seeds = _over_seeds(sides, seeds, per_seed, noise)
    error = None if over_seeds is None else combined([Error(over_images), over_seeds])
    return Margin(float(np.mean(per_seed)), error, "" if error else NO_NOISE)


def _unpaired(sides: Sides, noise: SeedNoise) -> Margin:
    """Sides that no image compares: cosines, rates, plain numbers, or counts over different images.

    Errors over images add up as of independent draws. Over seeds the margin of each seed is taken, so that what one
    network's training moves on both sides cancels, and what two networks' trainings move adds up.
    """
    every = [side for both in sides for side in both]
    trained = [side for side in every if any(side.networks.values())]
    seeds = _seeds([(side, side) for side in trained]) if trained else [0]
    per_seed = [float(np.mean([_at(left, seed) - _at(right, seed) for left, right in sides])) for seed in seeds]
    mean = float(np.mean(per_seed))
    own = [_own_error(side) for side in every]
    if None in own:
        return Margin(mean, None, NO_NOISE if trained else UNTIMED)
    over_images = Error(sqrt(sum((error or 0.0) ** 2 for error in own)) / len(sides))
    over_seeds = _over_seeds(sides, seeds, per_seed, noise) if trained else NO_ERROR
    if over_seeds is None:
        # What another seed does to a cosine is stated nowhere, and one seed does not show it.
        return Margin(mean, None, NO_NOISE)
    return Margin(mean, combined([over_images, over_seeds]))


def _seeds(sides: Sides) -> list[int]:
    """Those that all sides have, but for a network that has one for all, such as the teacher of students of each."""
    every = [set(side.values) for both in sides for side in both]
    several = [seeds for seeds in every if len(seeds) > 1]
    return sorted(set.intersection(*several)) if several else sorted(every[0])[:1]


def _same_images(left: CellValue, right: CellValue) -> bool:
    return left.images == right.images and (left.answered is None) == (right.answered is None)


def _at(side: CellValue, seed: int) -> float:
    """Of one seed; a number that no training moves is the same for all."""
    return float(_of_seed(side.values, seed)) if any(side.networks.values()) else _mean(side)


def _own_error(side: CellValue) -> float | None:
    """Standard error over images, or over time, of the mean over seeds; None where it is not known."""
    if side.hits is not None:
        return paired_image_error(np.mean([_hits(side, seed) for seed in side.hits], axis=0), side.scale)
    own = [side.errors.get(seed) for seed in side.values]
    if None in own:
        return None
    return sqrt(sum((error or 0.0) ** 2 for error in own)) / len(own)


def _over_seeds(sides: Sides, seeds: Sequence[int], per_seed: Sequence[float], noise: SeedNoise) -> Error | None:
    """How sure the mean margin is over other seeds; what all of them share, such as a teacher, is one draw.

    None where the scale states nothing of such numbers and one seed shows nothing.
    """
    units = {side.scale / 100 for both in sides for side in both if side.hits}
    if not units:
        return seed_error(None, per_seed)
    each = [_weights(sides, seed) for seed in seeds]
    networks, cells = _split([weights.networks for weights in each]), _split([weights.cells for weights in each])
    stated = noise.scaled(max(units))
    moving, fixed = (stated.of_sum(*weights) for weights in zip(networks, cells, strict=True))
    over = seed_error(moving.scaled(sqrt(len(seeds))), per_seed)
    return None if over is None else combined([over, fixed])


def _split(each: Sequence[Mapping[Any, float]]) -> tuple[list[float], list[float]]:
    """Mean weights over seeds: of what weighs something else at some, and of what weighs the same at all of several.

    The latter does not show in how the margins of the seeds differ.
    """
    moving: list[float] = []
    fixed: list[float] = []
    for key in dict.fromkeys(key for weights in each for key in weights):
        shares = [weights.get(key, 0.0) for weights in each]
        (fixed if len(each) > 1 and len(set(shares)) == 1 else moving).append(sum(shares) / len(each))
    return moving, fixed


class _Weights(NamedTuple):
    """How much a margin moves with each network, and with what each side's heads add of their own."""

    networks: dict[str, float]
    cells: dict[tuple[int, tuple[str, ...]], float]


def _weights(sides: Sides, seed: int) -> _Weights:
    """Of the mean margin at ``seed``; a network on both sides cancels."""
    weights = _Weights({}, {})
    for left, right in sides:
        for side, sign in ((left, 1.0), (right, -1.0)):
            names = _of_seed(side.networks, seed, ())
            if not side.hits or not names:
                continue
            share = sign / len(sides)
            weights.cells[id(side), names] = weights.cells.get((id(side), names), 0.0) + share
            for name in names:
                weights.networks[name] = weights.networks.get(name, 0.0) + share / len(names)
    return weights


def _of_seed(by_seed: Mapping[int, T], seed: int, none: T | None = None) -> T:
    """What ``by_seed`` has at ``seed``; of a network with one seed for all, what it has."""
    if seed in by_seed:
        return by_seed[seed]
    if len(by_seed) == 1:
        return next(iter(by_seed.values()))
    assert none is not None
    return none


def _difference(both: tuple[CellValue, CellValue], seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return _hits(both[0], seed) - _hits(both[1], seed)


def _hits(side: CellValue, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    assert side.hits is not None
    return _of_seed(side.hits, seed).astype(np.float64)


def _by_photograph(both: tuple[CellValue, CellValue], seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """[N]: what each photograph moves the margin by; one without a right label moves nothing."""
    difference = _difference(both, seed)
    answered = both[0].answered
    if answered is None:
        return difference
    moved = np.zeros(len(answered))
    moved[answered] = (difference - difference.mean()) * len(answered) / len(difference)
    return moved


def _ratio(sides: Sides, factor: float, noise: SeedNoise) -> Margin:
    """Two throughputs are ratios to one network that was measured beside each, so its rate cancels here."""
    ratios = [_mean(left) / _mean(right) / factor for left, right in sides]
    mean = float(np.mean(ratios)) - 1.0
    relative = []
    for ratio, both in zip(ratios, sides, strict=True):
        for side in both:
            own = _unpaired([(side, fact(0.0))], noise)
            if own.error is None:
                return Margin(mean, None, own.note)
            relative.append(own.error.scaled(ratio / own.value / len(sides)))
    if not all(side.steady for both in sides for side in both):
        return Margin(mean, None, UNSTEADY)
    return Margin(mean, combined(relative))


def _mean(side: CellValue) -> float:
    return float(sum(side.values.values(), Fraction()) / len(side.values))


def fact(value: float) -> CellValue:
    """A number that nothing moves."""
    return CellValue({0: exact(value)}, None, 1, {}, errors={0: 0.0})


def judge(
    spec: TableSpec,
    claim: ClaimSpec,
    paper: Mapping[CellRef, float],
    ours: Mapping[CellRef, CellValue],
    noise: SeedNoise,
    decimals: int,
    rates: bool = False,
) -> Claim:
    """``paper`` and ``ours`` hold the cells that have a number there.

    ``rates``: they are images/s, which "above" compares by their ratio: the rates of two devices have no common unit.
    """
    kind = relation(claim)[0]
    factor = claim.factor if kind == "times" or (rates and kind == "above") else None
    both = pairs(spec, claim, [ref for ref, value in ours.items() if value.text is not None])
    printed = [_paper_margin(paper, left, right, factor) for left, right in both]
    values = [_values(ours, left, right) for left, right in both]
    sides = [there for there in values if there is not None]
    single = [margin_of([there], factor, noise) if there else None for there in values]
    comparisons = tuple(
        _comparison(kind, claim.within, refs, theirs, ours)
        for refs, theirs, ours in zip(both, printed, single, strict=True)
    )
    whole = margin_of(sides, factor, noise) if len(sides) == len(both) else None
    verdict: ClaimVerdict = "not run"
    reason = "not all of its cells have a value yet"
    if whole is not None:
        decided = margin_verdict(kind, whole.value, whole.error, claim.within)
        verdicts = [comparison.verdict for comparison in comparisons]
        verdict, reason = claim_verdict(claim.scope, decided, verdicts, whole.note)
        if claim.scope == "every":
            whole = _weakest(kind, [ours for ours in single if ours], claim.within)
    error = whole.error if whole else None
    margins = [margin for margin in printed if margin is not None]
    paper_margin = sum(margins, Fraction()) / len(margins) if margins else None
    if margins and claim.scope == "every":
        paper_margin = min(margins, key=lambda margin: _favour(kind, float(margin)))
    return Claim(
        text=claim.text,
        relation=kind,
        within=claim.within,
        within_source=claim.within_source,
        scope=claim.scope,
        quote=claim.quote or "",
        reading=claim.reading,
        see=claim.see,
        comparisons=comparisons,
        margin=whole.value if whole else None,
        error=error.standard if error else None,
        margin_shown=_shown(exact(whole.value), factor, decimals) if whole else "",
        error_shown=_width_shown(error.standard, factor, decimals) if error else "",
        paper_margin_shown="" if paper_margin is None else _shown(paper_margin, factor, decimals),
        paper_verdict=_paper_verdict(kind, printed, claim.within),
        verdict=verdict,
        reversed=kind == "above" and whole is not None and error is not None and whole.value + error.half < 0,
        reason=reason,
        half=error.half if error else None,
        half_shown=_width_shown(error.half, factor, decimals) if error else "",
        note=whole.note if whole else "",
    )


def _weakest(kind: Relation, margins: Sequence[Margin], within: float) -> Margin:
    """The margin that decides a claim about every comparison: of those with the worst verdict, the least in favour."""
    worst: Sequence[ClaimVerdict] = ("fails", "undecided", "holds")

    def order(margin: Margin) -> tuple[int, float]:
        half = margin.error.half if margin.error else 0.0
        return worst.index(margin_verdict(kind, margin.value, margin.error, within)), _favour(kind, margin.value) - half

    return min(margins, key=order)


def _favour(kind: Relation, margin: float) -> float:
    """How much a margin speaks for the relation: more is better."""
    match kind:
        case "above" | "not-below":
            return margin
        case "about" | "times":
            return -abs(margin)
        case _:
            assert_never(kind)


def _comparison(
    kind: Relation, within: float, refs: tuple[Side, Side], printed: Fraction | None, ours: Margin | None
) -> Comparison:
    return Comparison(
        left=refs[0],
        right=refs[1],
        margin=ours.value if ours else None,
        error=ours.error.standard if ours and ours.error else None,
        paper_margin=None if printed is None else float(printed),
        verdict=margin_verdict(kind, ours.value, ours.error, within) if ours else "not run",
    )


def _shown(margin: Fraction, factor: float | None, decimals: int) -> str:
    """A margin with its sign; of a ratio the ratio itself, ``×8.68``."""
    if factor is not None:
        return f"×{half_up((margin + 1) * exact(factor), 2)}"
    return signed(margin, decimals)


def _width_shown(width: float, factor: float | None, decimals: int) -> str:
    """A standard error or half of an interval, as `_shown` shows the margin."""
    if factor is not None:
        return half_up(exact(width) * exact(factor), 2)
    return half_up(exact(width), decimals)


def _values(ours: Mapping[CellRef, CellValue], left: Side, right: Side) -> tuple[CellValue, CellValue] | None:
    """Both sides of a comparison; None where one of them has no number yet."""
    here, there = (fact(_plain(side)) if isinstance(side, Printed) else ours.get(side) for side in (left, right))
    return (here, there) if here and there and here.values and there.values else None


def _plain(side: Printed) -> float:
    assert side.number is not None
    return side.number


def _paper_margin(paper: Mapping[CellRef, float], left: Side, right: Side, factor: float | None) -> Fraction | None:
    values = [_plain(side) if isinstance(side, Printed) else paper.get(side) for side in (left, right)]
    if values[0] is None or values[1] is None:
        return None
    first, second = exact(values[0]), exact(values[1])
    return first - second if factor is None else first / second / exact(factor) - 1


def _paper_verdict(kind: Relation, margins: list[Fraction | None], within: float) -> ClaimVerdict:
    """The printed numbers taken at their word, since the paper gives no errors for most of them.

    So each comparison must hold, whatever the scope of the claim: no noise would excuse one that does not.
    """
    printed = [margin for margin in margins if margin is not None]
    if len(printed) < len(margins):
        return "not run"
    single = [margin_verdict(kind, float(margin), NO_ERROR, within) for margin in printed]
    return "holds" if all(verdict == "holds" for verdict in single) else "fails"
