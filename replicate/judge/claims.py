"""Judges the claims of a table: the margin between its sides, how sure it is, and what that decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import sqrt
from typing import NamedTuple, TypeVar, assert_never

import numpy as np

from replicate.judge.noise import Part, SeedNoise, of_sum
from replicate.judge.statistics import (
    MOST_SEEDS,
    NO_ERROR,
    NO_NOISE,
    Error,
    claim_verdict,
    combined,
    margin_verdict,
    p_value,
    paired_image_error,
    seeds_needed,
)
from replicate.judge.table import Claim, ClaimVerdict, Comparison
from replicate.judge.values import CellValue
from replicate.specs.cell import CellRef, Side, pairs, relation
from replicate.specs.table import ClaimSpec, Relation, Scope, TableSpec
from replicate.text import Printed, exact, half_up, plural, signed

T = TypeVar("T")

Sides = list[tuple[CellValue, CellValue]]
"""The pairs of a claim: left and right of each comparison."""

UNTIMED = "no times of single runs, no interval"
UNSTEADY = "unsteady"
ONE_SEED = f"{NO_NOISE} of a network with one seed for all"
NEEDED = {NO_NOISE: "a second seed, or noise stated in the specs", ONE_SEED: "noise stated in the specs"}
"""What would decide a claim whose error nobody knows, by why."""


class MarginError(NamedTuple):
    """How sure a margin is, by what moves it.

    images: another draw of test images, or of times. fixed: another training of networks that have one seed for all.
    moving: other ``seeds`` of the others.
    """

    images: Error
    fixed: Error
    moving: Error
    seeds: int

    @property
    def whole(self) -> Error:
        return combined([self.images, self.fixed, self.moving])

    def of(self, seeds: int) -> Error:
        """With so many seeds."""
        return combined([self.images, self.fixed, self.moving.scaled(sqrt(self.seeds / seeds))])

    def scaled(self, factor: float) -> MarginError:
        images, fixed, moving = (error.scaled(factor) for error in (self.images, self.fixed, self.moving))
        return MarginError(images, fixed, moving, self.seeds)


class Margin(NamedTuple):
    """``value`` in the table's unit. ``parts``: None where nobody knows its error. ``note``: why."""

    value: float
    parts: MarginError | None
    note: str = ""

    @property
    def error(self) -> Error | None:
        return self.parts.whole if self.parts else None


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
    mean = float(np.mean(per_seed))
    if isinstance(over_seeds, str):
        return Margin(mean, None, over_seeds)
    return Margin(mean, MarginError(Error(over_images), *over_seeds, len(seeds)))


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
    own = [side.own_error for side in every]
    if None in own:
        return Margin(mean, None, NO_NOISE if trained else UNTIMED)
    over_images = Error(sqrt(sum((error or 0.0) ** 2 for error in own)) / len(sides))
    over_seeds = _over_seeds(sides, seeds, per_seed, noise) if trained else (NO_ERROR, NO_ERROR)
    if isinstance(over_seeds, str):
        return Margin(mean, None, over_seeds)
    return Margin(mean, MarginError(over_images, *over_seeds, len(seeds)))


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


def _over_seeds(
    sides: Sides, seeds: Sequence[int], per_seed: Sequence[float], noise: SeedNoise
) -> tuple[Error, Error] | str:
    """How sure the mean margin is over other seeds: of networks that have one seed for all, and of the others.

    Why nobody knows, where nobody does: another seed of a cosine, say, is stated nowhere, and one does not show it.
    """
    weight = 1.0 / len(sides) / len(seeds)
    parts: list[Part] = []
    for seed in seeds:
        for both in sides:
            for side, sign in zip(both, (1.0, -1.0), strict=True):
                networks = _of_seed(side.networks, seed, ()) if side.design else ()
                if not networks:
                    continue
                once = side.design is not None and side.design.once
                part = noise.part(sign * weight, side, None if once else seed, networks)
                if part is None:
                    # The seeds of the margin itself show it, but for a network that is the same at all of them.
                    if once or len(seeds) < 2:
                        return ONE_SEED if once else NO_NOISE
                    return NO_ERROR, Error(float(np.std(per_seed, ddof=1)) / sqrt(len(seeds)), len(seeds) - 1)
                parts.append(part)
    fixed = [part for part in parts if part.seed is None]
    return of_sum(fixed), of_sum([part for part in parts if part.seed is not None])


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
            if own.parts is None:
                return Margin(mean, None, own.note)
            relative.append(own.parts.scaled(ratio / own.value / len(sides)))
    if not all(side.steady for both in sides for side in both):
        return Margin(mean, None, UNSTEADY)
    whole = MarginError(
        combined([parts.images for parts in relative]),
        combined([parts.fixed for parts in relative]),
        combined([parts.moving for parts in relative]),
        relative[0].seeds,
    )
    return Margin(mean, whole)


def _mean(side: CellValue) -> float:
    return float(sum(side.values.values(), Fraction()) / len(side.values))


def fact(value: float) -> CellValue:
    """A number that nothing moves."""
    return CellValue({0: exact(value)}, None, 1, {}, errors={0: 0.0})


def judge(
    spec: TableSpec,
    claim: ClaimSpec,
    paper: Mapping[CellRef, CellValue],
    ours: Mapping[CellRef, CellValue],
    noise: SeedNoise,
    paper_noise: SeedNoise,
    decimals: int,
    rates: bool = False,
    seeds: int = 1,
) -> Claim:
    """``paper`` and ``ours`` hold the cells that have a number there, and each noise is that of its trainings.

    ``rates``: they are images/s, which "above" compares by their ratio: the rates of two devices have no common unit.
    ``seeds``: how many are asked for.
    """
    kind = relation(claim)[0]
    factor = claim.factor if kind == "times" or (rates and kind == "above") else None
    both = pairs(spec, claim, [ref for ref, value in ours.items() if value.text is not None])
    theirs = [_values(paper, *refs) for refs in both]
    printed = _Side.of(claim, kind, factor, theirs, paper_noise)
    here = _Side.of(claim, kind, factor, [_values(ours, *refs) for refs in both], noise)
    comparisons = tuple(
        Comparison(
            left=left,
            right=right,
            margin=mine.value if mine else None,
            error=mine.error.standard if mine and mine.error else None,
            paper_margin=their.value if their else None,
            verdict=verdict,
        )
        for (left, right), mine, their, verdict in zip(both, here.each, printed.each, here.single, strict=True)
    )
    power = _power(claim.scope, kind, claim.within, printed, _expected(claim, factor, here, theirs, noise), seeds)
    margin = here.decides
    error = margin.error if margin else None
    verdict, reason = here.verdict, here.reason
    if verdict == "undecided" and error is not None and power.needs and (power.seeds or MOST_SEEDS + 1) > seeds:
        verdict, reason = "not decidable", f"{reason}; a margin like the paper's needs {power.needs}"
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
        margin=margin.value if margin else None,
        error=error.standard if error else None,
        margin_shown=_shown(margin.value, factor, decimals) if margin else "",
        error_shown=_error_shown(error, factor, decimals) if error else "",
        paper_margin_shown=_shown(printed.decides.value, factor, decimals) if printed.decides else "",
        as_printed=printed.at_its_word(kind, claim.within),
        paper_verdict=printed.verdict,
        paper_note=printed.decides.note if printed.decides else "",
        verdict=verdict,
        reversed=kind == "above" and margin is not None and error is not None and margin.value + error.half < 0,
        reason=reason,
        half=error.half if error else None,
        note=margin.note if margin else "",
        p=here.p,
        seeds_needed=power.seeds,
        needs=power.needs,
        half_planned=power.half,
    )


def _expected(
    claim: ClaimSpec,
    factor: float | None,
    here: _Side,
    theirs: Sequence[tuple[CellValue, CellValue] | None],
    noise: SeedNoise,
) -> list[Margin | None]:
    """The margins that decide a claim, with the errors that ours have or are to have: the mean, or each."""
    if here.mean is not None:
        return [here.mean] if claim.scope == "average" else here.each
    sides = [there for there in theirs if there is not None]
    if len(sides) < len(theirs):
        return [None]
    groups = [sides] if claim.scope == "average" else [[there] for there in sides]
    return [margin_of(group, factor, noise) for group in groups]


class _Side(NamedTuple):
    """A claim judged on one set of numbers.

    mean: None where one of them is not there. decides: it, or the weakest comparison. each, single: by comparison.
    """

    mean: Margin | None
    decides: Margin | None
    each: list[Margin | None]
    single: list[ClaimVerdict]
    verdict: ClaimVerdict
    reason: str
    p: float | None

    @classmethod
    def of(
        cls,
        claim: ClaimSpec,
        kind: Relation,
        factor: float | None,
        values: Sequence[tuple[CellValue, CellValue] | None],
        noise: SeedNoise,
    ) -> _Side:
        within = claim.within
        each = [margin_of([there], factor, noise) if there else None for there in values]
        single: list[ClaimVerdict] = [
            margin_verdict(kind, margin.value, margin.error, within) if margin else "not run" for margin in each
        ]
        sides = [there for there in values if there is not None]
        if len(sides) < len(values):
            return cls(None, None, each, single, "not run", "not all of its cells have a value yet", None)
        mean = (each[0] if len(each) == 1 else None) or margin_of(sides, factor, noise)
        verdict = margin_verdict(kind, mean.value, mean.error, within)
        verdict, reason = claim_verdict(claim.scope, verdict, single, mean.note)
        judged = [mean] if claim.scope == "average" else [margin for margin in each if margin]
        p_values = [p_value(kind, margin.value, margin.error, within) for margin in judged]
        known = [p for p in p_values if p is not None]
        decides = mean if claim.scope == "average" else _weakest(kind, judged, within)
        return cls(mean, decides, each, single, verdict, reason, max(known) if len(known) == len(p_values) else None)

    def at_its_word(self, kind: Relation, within: float) -> ClaimVerdict:
        """Without noise each comparison must hold, whatever the scope of the claim: nothing would excuse one."""
        if self.mean is None:
            return "not run"
        exactly = [margin_verdict(kind, margin.value, NO_ERROR, within) for margin in self.each if margin]
        return "holds" if set(exactly) == {"holds"} else "fails"


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


class _Power(NamedTuple):
    """half: of the 95 % interval with the seeds asked for. seeds: that a margin like the paper's needs."""

    half: float | None
    seeds: int | None
    needs: str


def _power(
    scope: Scope, kind: Relation, within: float, printed: _Side, expected: Sequence[Margin | None], seeds: int
) -> _Power:
    """What decides a margin as large as the paper's with the errors of the ``expected`` ones."""
    theirs = [printed.mean] if scope == "average" else printed.each
    if printed.mean is None or None in expected:
        return _Power(None, None, "")
    needed: list[int | None] = []
    halves = []
    moved = False
    for paper, ours in zip(theirs, expected, strict=True):
        assert paper is not None
        assert ours is not None
        if ours.parts is None:
            return _Power(None, None, NEEDED.get(ours.note, ""))
        moved = moved or ours.parts.moving.standard > 0.0
        halves.append(ours.parts.of(seeds).half)
        needed.append(seeds_needed(kind, paper.value, within, ours.parts.of))
    half = max(halves)
    if not moved:
        return _Power(half, None, "")
    several = [number for number in needed if number is not None]
    if len(several) < len(needed):
        return _Power(half, None, f"more than {MOST_SEEDS:,} seeds")
    return _Power(half, max(several), plural(max(several), "seed"))


def _shown(value: float, factor: float | None, decimals: int) -> str:
    """A margin with its sign; of a ratio the ratio itself, ``×8.68``."""
    margin = exact(value)
    if factor is not None:
        return f"×{half_up((margin + 1) * exact(factor), 2)}"
    return signed(margin, decimals)


def _error_shown(error: Error, factor: float | None, decimals: int) -> str:
    if factor is not None:
        return half_up(exact(error.half) * exact(factor), 2)
    return half_up(exact(error.half), decimals)


def _values(ours: Mapping[CellRef, CellValue], left: Side, right: Side) -> tuple[CellValue, CellValue] | None:
    """Both sides of a comparison; None where one of them has no number yet."""
    here, there = (fact(_plain(side)) if isinstance(side, Printed) else ours.get(side) for side in (left, right))
    return (here, there) if here and there and here.values and there.values else None


def _plain(side: Printed) -> float:
    assert side.number is not None
    return side.number
