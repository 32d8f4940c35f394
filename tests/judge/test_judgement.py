"""Errors, intervals and verdicts, against values worked out by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from math import inf, sqrt

import numpy as np
import pytest
from command_line import ROOT
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from replicate.judge.claims import fact, judge
from replicate.judge.noise import Estimate, Part, SeedNoise, of_sum
from replicate.judge.statistics import (
    NO_ERROR,
    Error,
    cell_verdict,
    claim_verdict,
    combined,
    holm,
    image_error,
    margin_verdict,
    p_value,
    paired_image_error,
    pooled,
    printed_error,
    seeds_needed,
    spread,
)
from replicate.judge.table import Claim
from replicate.judge.values import NO_DIMENSION, CellValue, Design
from replicate.metrics import Decisions
from replicate.specs.cell import CellRef
from replicate.specs.load import load
from replicate.specs.noise import Noise
from replicate.specs.table import TableSpec


def test_error_of_an_accuracy() -> None:
    # 3 of 4 correct, with two more of each kind: 100 * sqrt(5/8 * 3/8 / 8)
    assert image_error(np.array([True, True, True, False])) == pytest.approx(17.116330)
    # All correct says that most are: 100 * sqrt(4/6 * 2/6 / 6).
    assert image_error(np.array([True, True])) == pytest.approx(19.245009)


def test_spread_over_seeds() -> None:
    # Around 81: (1 + 0 + 1) / (3 - 1) = 1
    assert spread([80.0, 81.0, 82.0]) == 1.0
    assert spread([80.0]) is None
    assert spread([]) is None


def test_paired_error() -> None:
    # Left right, right wrong on one image of four; the others agree: mean 1/4, sum of squares 1 - 4/16 = 3/4,
    # variance 3/4 / 3 = 1/4, so 100 * 0.5 / sqrt(4).
    assert paired_image_error(np.array([1.0, 0.0, 0.0, 0.0])) == pytest.approx(25.0)
    assert paired_image_error(np.zeros(10)) == 0.0


def test_variance_is_pooled_by_degrees_of_freedom() -> None:
    stated = Error(3.0, 8)
    # What is stated, with the freedom it was measured with: t(8) = 2.306.
    assert pooled(stated, []) == stated
    assert stated.half == pytest.approx(2.306 * 3.0, rel=1e-4)
    # Three seeds add two degrees of freedom: s^2 = (8 * 9 + 2 * 100) / 10. Two networks of three seeds add four.
    assert pooled(stated, [(100.0, 2)]) == Error(pytest.approx(sqrt(27.2)), 10)
    assert pooled(stated, [(100.0, 2), (16.0, 2)]) == Error(pytest.approx(sqrt((72 + 200 + 32) / 12)), 12)
    # What is known for sure is not measured again; where nothing is stated, the seeds are all there is.
    assert pooled(Error(3.0), [(100.0, 2)]) == Error(3.0)
    assert pooled(None, [(100.0, 2)]) == Error(10.0, 2)
    assert pooled(None, []) is None


def test_a_second_seed_that_varies_as_stated_narrows_the_interval() -> None:
    """The old rule took the larger of both: half a width of 3.7 became 23.5 where two seeds showed 2 % more."""
    stated = Error(3.2, 8)

    def half(variance: float) -> float:
        """Of the mean of two seeds."""
        both = pooled(stated, [(variance, 1)])
        assert both is not None
        return both.scaled(1 / sqrt(2)).half

    assert half((1.02 * 3.2) ** 2) < stated.half
    # Continuous: what the seeds show moves the interval by little when it moves by little.
    halves = [half(variance) for variance in np.linspace(0.0, 20.0, 200) ** 2]
    assert max(np.abs(np.diff(halves))) < 0.1


def part(
    weight: float,
    network: str,
    sd: float,
    own: float = 0.0,
    *,
    chain: str = "",
    seed: int | None = 0,
    freedom: float = inf,
) -> Part:
    """A reading whose training has a standard deviation of ``sd`` for all heads, and ``own`` for each."""
    shared, alone = Estimate(Error(sd, freedom), ("training", sd)), Estimate(Error(own), ("heads", own))
    return Part(weight, network, chain or network, seed, shared, alone, reading=object())


def test_what_a_better_network_lifts_and_what_it_does_not() -> None:
    # One number; the difference of two networks'; of two heads of one network; the mean of both heads.
    assert of_sum([part(1, "a", 2.0, 1.0)]).standard == pytest.approx(sqrt(5))
    assert of_sum([part(1, "a", 2.0, 1.0), part(-1, "b", 2.0, 1.0)]).standard == pytest.approx(sqrt(10))
    assert of_sum([part(1, "a", 2.0, 1.0), part(-1, "a", 2.0, 1.0)]).standard == pytest.approx(sqrt(2))
    assert of_sum([part(0.5, "a", 2.0, 1.0), part(0.5, "a", 2.0, 1.0)]).standard == pytest.approx(sqrt(4 + 0.5))
    # A head that varies more with its network than the other does not cancel it whole.
    assert of_sum([part(1, "a", 3.0), part(-1, "a", 2.0)]).standard == pytest.approx(1.0)


def test_trainings_that_share_draws_are_not_counted_as_independent() -> None:
    """Nobody knows how much they share: the larger variance of the two ends, nothing and all."""
    # Two seeds are two draws; of one seed, the mean of two networks may move as one.
    assert of_sum([part(0.5, "a", 2.0, seed=0), part(0.5, "b", 2.0, seed=1)]).standard == pytest.approx(sqrt(2))
    assert of_sum([part(0.5, "a", 2.0), part(0.5, "b", 2.0)]).standard == pytest.approx(2.0)
    # A difference of two that share is surer than of two that do not, so they are taken not to.
    assert of_sum([part(1, "a", 2.0), part(-1, "b", 2.0)]).standard == pytest.approx(sqrt(8))
    # Mean of two differences: as two draws apart each, unless both start from the same two networks.
    four = [(0.5, "a", ""), (-0.5, "b", ""), (0.5, "c", "a"), (-0.5, "d", "b")]
    apart = [part(weight, network, 2.0) for weight, network, _ in four]
    chained = [part(weight, network, 2.0, chain=chain) for weight, network, chain in four]
    assert of_sum(apart).standard == pytest.approx(2.0)
    assert of_sum(chained).standard == pytest.approx(sqrt(8))


def test_freedom_of_a_sum_is_that_of_its_parts() -> None:
    """What rests on one estimate has its freedom, of two estimates 4 of 8 and 1 of 2: 5^2 / (4^2/8 + 1^2/2) = 10."""
    one = part(1, "a", 2.0, freedom=8)
    assert of_sum([one, part(-1, "b", 2.0, freedom=8)]) == Error(pytest.approx(sqrt(8)), 8)
    assert of_sum([one, part(-1, "c", 1.0, freedom=2)]) == Error(pytest.approx(sqrt(5)), pytest.approx(10.0))
    assert combined([Error(2.0, 8), Error(1.0, 2)]) == Error(pytest.approx(sqrt(5.0)), pytest.approx(10.0))
    assert combined([Error(2.0, 8), Error(1.0)]).freedom == pytest.approx(12.5)
    assert of_sum([]) == NO_ERROR


def stated(sd: float, **fields: object) -> Noise:
    return Noise.model_validate({"sd": sd, "trainings": 9, "source": "x"} | fields, strict=False)


def test_the_first_entry_that_fits_is_of_a_number() -> None:
    entries = (
        stated(1.0, models=("s",), data=("v2",)),
        stated(2.0, models=("s",)),
        stated(3.0, metrics=("disagreement",)),
    )

    def known(model: str, data: str = "imagenet", metric: str = "top1") -> Error | None:
        value = replace(counted("a", "1100"), design=Design(metric, model, 224, data, ""))
        return SeedNoise(entries).of(value)

    assert known("s", "v2") == Error(1.0, 8)
    assert known("s") == Error(2.0, 8)
    # Nothing is stated of another network, and one seed shows nothing: nobody knows.
    assert known("b") is None
    assert known("b", metric="disagreement") == Error(3.0, 8)


def test_seeds_of_a_table_are_pooled_over_the_networks_of_a_design() -> None:
    """Two networks of two seeds: each has a variance of 50 (25 points apart), with one degree of freedom each."""
    values = [counted("a", "1110", "1100"), counted("b", "0110", "0111"), counted("c", "1111")]
    noise = SeedNoise((), values)
    assert noise.of(values[2]) == Error(pytest.approx(sqrt(625 / 2)), 2)
    # Of 8 degrees stated, and of two heads of one network once, however many heads it has.
    both = [values[0], counted("a", "0110", "0100"), values[1]]
    assert SeedNoise((stated(5.0),), both).of(values[2]) == Error(pytest.approx(sqrt((8 * 25 + 2 * 312.5) / 10)), 10)
    # A number printed twice is one: no two heads that agree for certain.
    twice = SeedNoise((), [values[0], values[0]])
    assert [(of, networks) for of, _, _, networks in twice.shown()] == [("training", 1)]


def test_unknown_is_said_and_not_borrowed() -> None:
    entries = (Noise.model_validate({"sd": "unknown", "models": ("m",), "source": "nobody"}), stated(0.2))
    assert SeedNoise(entries).of(counted("a", "1100")) is None
    seeds = [counted("a", "1110", "1100")]
    assert SeedNoise(entries, seeds).of(seeds[0]) == Error(pytest.approx(sqrt(625 / 2)), 1)


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706), (2, 4.303), (10, 2.228), (11, 2.201), (15, 2.131), (30, 2.042), (120, 1.980), (inf, 1.960)],
)
def test_students_quantile_is_that_of_the_printed_tables(freedom: float, quantile: float) -> None:
    assert Error(1.0, freedom).half == pytest.approx(quantile, abs=0.0006)


def test_errors_of_a_sum_add_as_squares() -> None:
    assert combined([Error(3.0), Error(4.0)]) == Error(5.0)
    assert Error(2.0, 3).scaled(-0.5) == Error(1.0, 3)
    assert NO_ERROR.half == 0.0


@pytest.mark.parametrize(
    ("difference", "noise", "seeds", "verdict"),
    [
        (0.3, NO_ERROR, 1, "replicated"),
        (-0.35, NO_ERROR, 1, "replicated"),  # the paper's own rounding: half of its last digit
        (0.36, NO_ERROR, 1, "differs"),
        (0.0, None, 1, "undecided"),
        (9.0, None, 1, "undecided"),
        (0.1, Error(0.1), 1, "replicated"),  # 0.1 + 1.645 * 0.1 is within 0.35
        (0.2, Error(0.1), 1, "undecided"),
        (0.28, Error(0.1), 1, "undecided"),  # 1.96 * hypot(0.1, 0.1, 0.029) = 0.283
        (-0.29, Error(0.1), 1, "differs"),
        (-0.29, Error(0.1, 3), 1, "undecided"),  # the noise itself is known to three degrees of freedom
        (0.2, Error(0.1), 4, "replicated"),
    ],
)
def test_verdict_of_a_cell_with_a_tolerance_of_0_3(
    difference: float, noise: Error | None, seeds: int, verdict: str
) -> None:
    found, why = cell_verdict(difference, 0.3, 1, noise, seeds)
    assert found == verdict
    assert why.startswith(f"{difference:+.2f} against ±0.3 allowed")


@pytest.mark.parametrize(
    ("relation", "margin", "error", "within", "verdict"),
    [
        ("above", 1.0, 0.5, 0.0, "holds"),  # 1 - 0.98 > 0
        ("above", 1.0, 0.6, 0.0, "undecided"),
        ("above", -1.0, 0.5, 0.0, "fails"),
        ("above", 0.0, 0.0, 0.0, "fails"),
        ("above", 83.1 - 83.0, 0.0, 0.0, "holds"),
        ("not-below", -0.2, 0.0, 0.2, "holds"),
        ("not-below", -0.3, 0.0, 0.2, "fails"),
        ("not-below", -0.1, 0.1, 0.2, "undecided"),
        ("about", 0.2, 0.0, 0.2, "holds"),
        ("about", 83.2 - 83.0, 0.0, 0.2, "holds"),
        ("about", 0.3, 0.0, 0.2, "fails"),
        ("about", -0.3, 0.0, 0.2, "fails"),
        ("about", 0.0, 0.2, 0.2, "undecided"),  # the interval is wider than what is allowed
    ],
)
def test_verdict_of_a_margin(relation: str, margin: float, error: float, within: float, verdict: str) -> None:
    assert margin_verdict(relation, margin, Error(error), within) == verdict  # type: ignore[arg-type]
    assert margin_verdict(relation, margin, None, within) == "undecided"  # type: ignore[arg-type]


def test_verdict_of_a_claim_about_several_cells() -> None:
    """On average the mean decides, of each the weakest."""
    assert claim_verdict("average", "holds", ["holds", "undecided"])[0] == "holds"
    assert claim_verdict("average", "fails", ["holds", "fails"])[0] == "fails"
    assert claim_verdict("every", "holds", ["holds", "undecided"])[0] == "undecided"
    assert claim_verdict("every", "holds", ["holds", "fails"])[0] == "fails"
    assert claim_verdict("every", "holds", ["holds", "holds"])[0] == "holds"
    assert claim_verdict("average", "undecided", ["undecided"], "x") == (
        "undecided",
        "0 of 1 comparisons hold by themselves, 0 fail; x",
    )


def table(**claim: object) -> TableSpec:
    rows = [{"key": key, "label": key, "run": f"{{column}}/{key}"} for key in ("one", "two")]
    columns = [{"key": key, "header": key, "run": key} for key in ("s", "b")]
    head = {
        "id": "t", "source": "x", "caption": "c", "metric": "top1", "tolerance": {"default": 0.1},
        "tolerance_reason": "none", "columns": columns,
    }  # fmt: skip
    return TableSpec.model_validate({"table": head, "rows": rows, "claims": [{"text": "x"} | claim]}, strict=False)


def counted(training: str, *seeds: str) -> CellValue:
    """Decisions by seed as text: ``1101`` is three of four correct."""
    hits = {seed: np.array([sign == "1" for sign in text]) for seed, text in enumerate(seeds)}
    values = {seed: Fraction(100 * int(hit.sum()), len(hit)) for seed, hit in hits.items()}
    return CellValue(values, hits, 100, {seed: (f"{training}-s{seed}",) for seed in hits}, design=DESIGN)


DESIGN = Design("top1", "m", 224, "imagenet", "")
FOR_SURE = 10**9
"""Trainings after which a standard deviation is as good as known."""


def known(sd: float, heads: float) -> SeedNoise:
    """The seed noise of accuracies as known; 0: no seed moves them."""
    own = Noise(sd=heads, trainings=FOR_SURE, of="heads", source="x")
    return SeedNoise((Noise(sd=sd, trainings=FOR_SURE, source="x"), own))


def judged(
    spec: TableSpec,
    ours: dict[str, CellValue],
    paper: dict[str, float] | None = None,
    sd: float = 0.0,
    heads: float = 0.0,
) -> Claim:
    ref = {name: CellRef("t", *name.split(".")) for name in (*ours, *(paper or {}))}
    mine = {ref[name]: value for name, value in ours.items()}
    theirs = {ref[name]: fact(value) for name, value in (paper or {}).items()}
    return judge(spec, spec.claims[0], theirs, mine, known(sd, heads), SeedNoise(()), 1)


def test_a_claim_about_one_pair() -> None:
    spec = table(left="one.s", above="two.s")
    ours = {"one.s": counted("a", "1110"), "two.s": counted("b", "0110")}
    claim = judged(spec, ours, {"one.s": 80.0, "two.s": 79.5})
    assert claim.margin == 25.0
    assert claim.error == pytest.approx(25.0)
    assert (claim.margin_shown, claim.error_shown, claim.paper_margin_shown) == ("+25.0", "49.0", "+0.5")
    assert (claim.paper_verdict, claim.verdict, claim.reversed) == ("holds", "undecided", False)
    # Another seed of either network moves the margin too: hypot(25, 2.3 * sqrt(2)).
    assert judged(spec, ours, sd=2.3).error == pytest.approx(sqrt(25**2 + 2 * 2.3**2))


def test_two_heads_of_one_network_move_by_less_than_two_networks() -> None:
    spec = table(left="one.s", above="two.s")
    ours = {"one.s": counted("a", "1110"), "two.s": replace(counted("a", "0110"), reading=("distillation",))}
    assert judged(spec, ours, sd=2.3, heads=0.5).error == pytest.approx(sqrt(25**2 + 0.5**2))
    assert judged(spec, ours, sd=2.3, heads=2.3).error == pytest.approx(sqrt(25**2 + 2.3**2))


def test_a_claim_about_two_columns_is_judged_on_the_mean() -> None:
    """Margins 50 and 0: mean 25. By image: (1, 0, 1, 0) / 2 + 0, so sd of (.5, 0, .5, 0) = sqrt(1/12)."""
    spec = table(left="one", above="two", where=["s", "b"])
    ours = {
        "one.s": counted("a", "1111"),
        "two.s": counted("b", "0101"),
        "one.b": counted("c", "1100"),
        "two.b": counted("d", "1100"),
    }
    claim = judged(spec, ours)
    assert claim.margin == 25.0
    assert claim.error == pytest.approx(100 * sqrt(1 / 12) / 2)
    assert [one.margin for one in claim.comparisons] == [50.0, 0.0]
    assert [one.verdict for one in claim.comparisons] == ["undecided", "fails"]
    # Four trainings with a weight of a half each.
    assert judged(spec, ours, sd=2.0).error == pytest.approx(sqrt((100 * sqrt(1 / 12) / 2) ** 2 + 4.0))


def test_images_of_two_data_sets_are_not_paired() -> None:
    """As above, but b is on another test set of as many images: the errors of the halves add as squares."""
    spec = table(left="one", above="two", where=["s", "b"])
    other = {"one.b": counted("c", "1010"), "two.b": counted("d", "0101")}
    ours = {"one.s": counted("a", "1111"), "two.s": counted("b", "0101")}
    ours |= {name: replace(value, images="v2") for name, value in other.items()}
    claim = judged(spec, ours)
    assert claim.margin == 25.0
    # s: (1, 0, 1, 0), sd sqrt(1/3); b: (1, -1, 1, -1), sd sqrt(4/3); each over 4 images, weighing a half.
    assert claim.error == pytest.approx(100 * sqrt(1 / 3 + 4 / 3) / 2 / 2)


def test_a_claim_about_every_column_is_decided_by_the_weakest() -> None:
    spec = table(left="one", above="two", where=["s", "b"], scope="every")
    better, same = counted("a", "1" * 30 + "0" * 10), counted("b", "0" * 40)
    ours = {"one.s": better, "two.s": same, "one.b": counted("c", "1" * 40), "two.b": counted("d", "1" * 39 + "0")}
    claim = judged(spec, ours)
    assert [each.verdict for each in claim.comparisons] == ["holds", "undecided"]
    assert claim.verdict == "undecided"
    assert judged(table(left="one", above="two", where=["s", "b"]), ours).verdict == "holds"
    # Shown is the margin that decides, not the mean of +75.0 and +2.5; of the paper's numbers likewise.
    assert claim.margin_shown == "+2.5"
    paper = {"one.s": 80.0, "two.s": 79.0, "one.b": 82.0, "two.b": 81.9}
    assert judged(spec, ours, paper).paper_margin_shown == "+0.1"


def test_a_claim_about_every_column_is_reversed_where_one_is() -> None:
    """One column clearly the other way turns it, though the mean of +75 and -50 is in its favour."""
    ours = {
        "one.s": counted("a", "1" * 30 + "0" * 10),
        "two.s": counted("b", "0" * 40),
        "one.b": counted("c", "1" * 10 + "0" * 30),
        "two.b": counted("d", "1" * 30 + "0" * 10),
    }
    each = judged(table(left="one", above="two", where=["s", "b"], scope="every"), ours)
    assert (each.verdict, each.reversed, each.margin_shown) == ("fails", True, "−50.0")
    mean = judged(table(left="one", above="two", where=["s", "b"]), ours)
    assert (mean.verdict, mean.reversed, mean.margin_shown) == ("holds", False, "+12.5")


def test_of_every_comparison_that_agrees_the_weakest_is_the_furthest_apart() -> None:
    ours = {
        "one.s": counted("a", "1111"),
        "two.s": counted("b", "1111"),
        "one.b": counted("c", "0111"),
        "two.b": counted("d", "1111"),
    }
    claim = judged(table(left="one", about="two", within=1.0, where=["s", "b"], scope="every"), ours)
    assert (claim.verdict, claim.margin_shown) == ("undecided", "−25.0")


def test_a_claim_keeps_what_it_quotes_and_where_its_margin_is_from() -> None:
    ours = {"one.s": counted("a", "1111"), "two.s": counted("b", "0111")}
    quoted = judged(table(left="one.s", not_below="two.s", within=0.2, quote="as good", see="Section 1"), ours)
    assert (quoted.quote, quoted.see, quoted.reading, quoted.scope) == ("as good", "Section 1", False, "average")
    assert quoted.chosen_after
    noise = table(left="one.s", not_below="two.s", within=0.2, within_source="Table 8", reading=True, see="Table 3")
    assert (judged(noise, ours).quote, judged(noise, ours).reading, judged(noise, ours).chosen_after) == (
        "",
        True,
        False,
    )
    assert not judged(table(left="one.s", above="two.s"), ours).chosen_after


def test_corrected_labels_are_of_the_same_photographs() -> None:
    """ImageNet and ReaL are paired: both count the same three of four photographs, the fourth has no right label."""
    spec = table(left="one", above="two", where=["s", "b"])
    answered = np.array([True, True, True, False])
    ours = {"one.s": counted("a", "1111"), "two.s": counted("b", "0101")}
    ours |= {
        "one.b": replace(counted("a", "111"), answered=answered),
        "two.b": replace(counted("b", "010"), answered=answered),
    }
    claim = judged(spec, ours)
    # s: (1, 0, 1, 0). b: (1, 0, 1) of mean 2/3, so (4/9, -8/9, 4/9, 0) of four. Photographs move both at once.
    moved = np.array([1 + 4 / 9, -8 / 9, 1 + 4 / 9, 0.0]) / 2
    assert claim.error == pytest.approx(100 * moved.std(ddof=1) / 2)


def test_a_teacher_with_one_seed_is_compared_with_the_student_of_each() -> None:
    spec = table(left="one.s", above="two.s")
    claim = judged(spec, {"one.s": counted("a", "1111", "1110"), "two.s": counted("t", "1100")})
    assert claim.margin == pytest.approx((50.0 + 25.0) / 2)


def test_seeds_are_paired() -> None:
    """Margins 25 and 75 over two seeds."""
    spec = table(left="one.s", above="two.s")
    claim = judged(spec, {"one.s": counted("a", "1110", "1111"), "two.s": counted("b", "0110", "1000")}, sd=1.0)
    assert claim.margin == 50.0
    # By image, mean of both seeds: (.5, .5, .5, .5), so nothing over images; over seeds 1 * sqrt(2) / sqrt(2).
    assert claim.error == pytest.approx(1.0)


def test_a_number_beside_itself_has_no_margin_that_a_seed_moves() -> None:
    """Table 8: the pre-training of a row that only fine-tunes otherwise is that of the first row."""
    spec = table(left="one.s", above="two.s")
    same = {"one.s": counted("a", "1110"), "two.s": counted("a", "1110")}
    claim = judged(spec, same, sd=2.0, heads=1.0)
    assert (claim.margin, claim.error) == (0.0, 0.0)
    # Another head of it moves by what is the heads' own, though its images are the same in number.
    other = {"one.s": same["one.s"], "two.s": replace(same["two.s"], reading=("distillation",))}
    assert judged(spec, other, sd=2.0, heads=1.0).error == pytest.approx(1.0)


def test_a_disagreement_varies_as_one_number_whichever_networks_it_compares() -> None:
    """What is stated of a disagreement is of the whole of it, so its two networks are one training."""
    spec = table(left="one.s", above="two.s")
    ours = {
        name: replace(value, networks={seed: (*own, "teacher") for seed, own in value.networks.items()})
        for name, value in {"one.s": counted("a", "1111", "1111"), "two.s": counted("b", "0000", "0000")}.items()
    }
    # No image tells the sides apart: 2 for each side over sqrt(2) seeds.
    assert judged(spec, ours, sd=2.0).error == pytest.approx(2.0)
    # Two heads of one student, beside one teacher: only what is the heads' own is left.
    heads = {
        "one.s": ours["one.s"],
        "two.s": replace(ours["two.s"], networks=ours["one.s"].networks, reading=("distillation",)),
    }
    assert judged(spec, heads, sd=2.0, heads=1.0).error == pytest.approx(1.0 / sqrt(2))


def test_a_network_with_one_seed_for_all_is_one_draw() -> None:
    spec = table(left="one.s", above="two.s")
    once = replace(counted("t", "0000"), design=DESIGN._replace(once=True))
    claim = judged(spec, {"one.s": counted("a", "1111", "1111", "1111", "1111"), "two.s": once}, sd=2.0)
    # Four seeds halve the student's part, and leave the teacher's.
    assert claim.error == pytest.approx(sqrt(1 + 4))
    assert claim.needs == ""  # the paper prints no margin
    # Of which nothing is stated: further seeds of the student do not show it.
    ours = {"one.s": counted("a", "1111", "1111"), "two.s": once}
    paper = {CellRef("t", row, "s"): fact(80.0) for row in ("one", "two")}
    unknown = judge(
        spec,
        spec.claims[0],
        paper,
        {CellRef("t", *name.split(".")): v for name, v in ours.items()},
        SeedNoise((), ours.values()),
        SeedNoise(()),
        1,
    )
    assert (unknown.verdict, unknown.note) == ("undecided", "no seed noise is known of a network with one seed for all")
    assert unknown.needs == "noise stated in the specs"


def cosine(network: str, *values: float, errors: tuple[float | None, ...] = ()) -> CellValue:
    """Numbers by seed that are no counts."""
    seeds = range(len(values))
    return CellValue(
        {seed: Fraction(str(values[seed])) for seed in seeds},
        None,
        1,
        {seed: (f"{network}-s{seed}",) if network else () for seed in seeds},
        errors=dict(zip(seeds, errors or (0.0,) * len(values), strict=True)),
        design=Design("similarity", "m", 224, "imagenet", "") if network else None,
    )


def test_one_seed_says_nothing_of_a_number_that_only_other_trainings_move() -> None:
    claim = judged(table(left="one.s", about="0.06", within=0.05), {"one.s": cosine("a", 0.07)})
    assert (claim.verdict, claim.error, claim.half, claim.reversed) == ("undecided", None, None, False)
    assert (claim.note, claim.error_shown) == ("no seed noise is known", "")
    assert claim.reason == "0 of 1 comparisons hold by themselves, 0 fail; no seed noise is known"


def test_with_one_seed_an_error_over_images_alone_decides_nothing() -> None:
    claim = judged(
        table(left="one.s", above="two.s"),
        {"one.s": cosine("a", 0.9, errors=(0.03,)), "two.s": cosine("a", 0.2)},
    )
    assert (claim.verdict, claim.note, claim.error) == ("undecided", "no seed noise is known", None)


def test_probes_of_one_network_are_paired_by_seed() -> None:
    """0.9 - 0.5 and 0.7 - 0.3 are both 0.4, however much the two trainings differ; a plain number cancels nothing."""
    ours = {"one.s": cosine("a", 0.9, 0.7, errors=(0.03, 0.04)), "two.s": cosine("a", 0.5, 0.3)}
    paired = judged(table(left="one.s", above="two.s"), ours)
    assert paired.margin == pytest.approx(0.4)
    assert (paired.error, paired.note) == (pytest.approx(0.05 / 2), "")
    alone = judged(table(left="one.s", above="0.5"), ours)
    # Over seeds: sd of 0.4 and 0.2 over sqrt(2) is 0.1, with t(1); over images: hypot(0.03, 0.04) / 2.
    assert alone.error == pytest.approx(sqrt(0.1**2 + 0.025**2))
    # Freedom by Welch and Satterthwaite: (0.01 + 0.000625)^2 / 0.01^2 = 1.13.
    assert alone.half == pytest.approx(Error(sqrt(0.1**2 + 0.025**2), 1.0625**2).half)
    assert alone.verdict == "undecided"


def test_what_rises_is_above_at_each_place_what_it_was_at_the_one_before() -> None:
    """Three places make two comparisons; the place that a network does not have is left out."""
    spec = table(left="one", above="one", where=["s", "b"], neighbours=True, scope="every")
    low, high = cosine("a", 0.2, 0.21, 0.19), cosine("a", 0.9, 0.9, 0.91)
    assert judged(spec, {"one.s": low, "one.b": high}).verdict == "holds"
    falling = judged(spec, {"one.s": high, "one.b": low})
    assert (falling.verdict, falling.reversed, len(falling.comparisons)) == ("fails", True, 1)
    no_such_block = CellValue({}, None, 1, {}, text=NO_DIMENSION)
    three = spec.claims[0].model_copy(update={"where": ("s", "b", "c")})
    columns = (*spec.table.columns, spec.table.columns[0].model_copy(update={"key": "c"}))
    wide = spec.model_copy(update={"claims": (three,), "table": spec.table.model_copy(update={"columns": columns})})
    without = judged(wide, {"one.s": low, "one.b": no_such_block, "one.c": high})
    assert [(each.left, each.right) for each in without.comparisons] == [
        (CellRef("t", "one", "c"), CellRef("t", "one", "s"))
    ]
    assert without.verdict == "holds"
    assert len(judged(wide, {}).comparisons) == 2
    with pytest.raises(ValueError, match="compares each place of 'where' with the one before"):
        judged(table(left="one.s", above="one.b", neighbours=True), {})


def test_embeddings_that_are_more_similar_than_the_papers_are_similar() -> None:
    """Claims of Section 4 that something is similar or the same: more of it than printed bears them out."""
    spec = load(ROOT / "tables", "paper").table("token_similarity")
    similar = [
        each for each in spec.claims if re.search("similar at the output$|the same vector|nearly the same", each.text)
    ]
    assert len(similar) == 3
    for claim in similar:
        row, _, column = claim.left.partition(".")
        ours = {CellRef(spec.table.id, row, column): cosine("a", 0.9999, 0.9998, 0.9999)}
        judged_here = judge(spec, claim, {}, ours, SeedNoise(()), SeedNoise(()), 2)
        assert (judged_here.verdict, judged_here.reversed) == ("holds", False), claim.text


def test_an_error_that_nobody_knows_decides_nothing() -> None:
    spec = table(left="one.s", times="two.s", factor=2.0, within=0.1)
    claim = judged(spec, {"one.s": cosine("", 20.0, errors=(None,)), "two.s": cosine("", 10.0, errors=(0.1,))})
    assert (claim.verdict, claim.error_shown, claim.note) == ("undecided", "", "no times of single runs, no interval")


def test_rates_are_compared_by_their_ratio() -> None:
    """30 against 20 is 1.5 times: not 10 more, which would be another number on another device."""
    spec = table(left="one.s", above="two.s")
    ours = {
        CellRef("t", "one", "s"): cosine("", 30.0, errors=(0.3,)),
        CellRef("t", "two", "s"): replace(cosine("", 20.0, errors=(0.4,)), steady=False),
    }
    theirs = {CellRef("t", "one", "s"): fact(85.8), CellRef("t", "two", "s"): fact(55.1)}
    claim = judge(spec, spec.claims[0], theirs, ours, known(2.3, 0.0), SeedNoise(()), 1, rates=True)
    assert (claim.margin_shown, claim.error_shown, claim.paper_margin_shown) == ("×1.50", "", "×1.56")
    # An interval that is too wide to be trusted decides nothing.
    assert (claim.verdict, claim.error, claim.paper_verdict, claim.note) == ("undecided", None, "holds", "unsteady")
    ours = {ref: replace(value, steady=True) for ref, value in ours.items()}
    claim = judge(spec, spec.claims[0], theirs, ours, known(2.3, 0.0), SeedNoise(()), 1, rates=True)
    # Each 1 % and 2 % of itself.
    assert claim.error == pytest.approx(1.5 * sqrt(0.01**2 + 0.02**2))
    assert (claim.verdict, claim.error_shown, claim.note) == ("holds", "0.07", "")


def test_a_claim_that_is_reversed() -> None:
    claim = judged(
        table(left="one.s", above="two.s"),
        {"one.s": counted("a", "0" * 40), "two.s": counted("b", "1" * 39 + "0")},
        {"one.s": 80.0, "two.s": 79.0},
    )
    assert (claim.paper_verdict, claim.verdict, claim.reversed) == ("holds", "fails", True)


def test_a_claim_with_a_cell_that_is_not_there_yet() -> None:
    spec = table(left="one", above="two", where=["s", "b"])
    claim = judged(spec, {"one.s": counted("a", "1110"), "two.s": counted("b", "0110")}, {"one.s": 80.0})
    assert (claim.verdict, claim.margin, claim.margin_shown) == ("not run", None, "")
    assert claim.reason == "not all of its cells have a value yet"
    assert [one.verdict for one in claim.comparisons] == ["undecided", "not run"]
    assert claim.paper_verdict == "not run"


def test_the_paper_is_taken_at_its_word() -> None:
    paper = {"one.s": 81.8, "two.s": 81.8, "one.b": 83.2, "two.b": 83.1}
    about = table(left="one", about="two", within=0.1, where=["s", "b"])
    assert judged(about, {}, paper).as_printed == "holds"
    assert judged(about, {}, paper).paper_margin_shown == "+0.1"
    # On average above, though not in each: the claim as printed needs each, the mean of so many decides by our rule.
    above = judged(table(left="one", above="two", where=["s", "b"]), {}, paper)
    assert (above.as_printed, above.paper_verdict) == ("fails", "holds")


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(*[arrays(np.int16, n, elements=st.integers(0, 4))] * 3)))
def test_laws_of_disagreement(three: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Symmetric, zero with itself, at most one, and a triangle; the truth disagrees as often as a head errs."""
    labels, one, two = three
    heads = {name: np.stack([choice] * 5, axis=1) for name, choice in (("class", one), ("distillation", two))}
    decisions = Decisions(labels, heads)

    def disagreement(left: str, right: str) -> int:
        return int((decisions.choice(left) != decisions.choice(right)).sum())  # type: ignore[arg-type]

    names = ("truth", "class", "distillation")
    for left in names:
        assert disagreement(left, left) == 0
        for right in names:
            assert disagreement(left, right) == disagreement(right, left) <= len(labels)
    assert disagreement("truth", "class") <= disagreement("truth", "distillation") + disagreement(
        "distillation", "class"
    )
    assert disagreement("truth", "class") == len(labels) - decisions.among("class", 1).sum()


def test_p_value_is_half_of_what_lies_outside_the_interval() -> None:
    """A margin whose 95 % interval just touches the edge has 2.5 %; of two sides the larger counts."""
    error = Error(1.0, 8)
    assert p_value("above", error.half, error, 0.0) == pytest.approx(0.025)
    assert p_value("not-below", error.half - 0.5, error, 0.5) == pytest.approx(0.025)
    assert p_value("about", 0.0, error, error.half) == pytest.approx(0.025)
    assert p_value("about", 1.0, error, 1.0) == pytest.approx(0.5)
    assert p_value("above", 1.0, None, 0.0) is None
    assert (p_value("above", 1.0, NO_ERROR, 0.0), p_value("above", -1.0, NO_ERROR, 0.0)) == (0.0, 1.0)


def test_holm_corrects_for_the_number_of_claims() -> None:
    """3 x 0.01; 2 x 0.02 stays above it; 0.04 may not fall below that."""
    assert holm([0.02, 0.01, 0.04]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_how_many_seeds_decide_a_margin() -> None:
    """As known: (1.96 + 0.842) * 1.414 / sqrt(n) is at most the distance: 0.4 takes (3.963 / 0.4)^2 = 98.1 seeds."""

    def of(seeds: int) -> Error:
        return Error(sqrt(2 / seeds))

    assert seeds_needed("above", 0.4, 0.0, of) == 99
    assert seeds_needed("above", -0.4, 0.0, of) == 99
    assert seeds_needed("not-below", 0.1, 0.3, of) == 99
    assert seeds_needed("about", -0.2, 0.6, of) == 99
    assert seeds_needed("above", 4.0, 0.0, of) == 1
    assert seeds_needed("above", 0.0, 0.0, of) is None
    # No number of seeds narrows what the test images leave.
    assert seeds_needed("above", 0.4, 0.0, lambda seeds: Error(0.5)) is None


def test_with_too_few_seeds_a_claim_is_not_decidable() -> None:
    spec = table(left="one.s", above="two.s")
    ours = {"one.s": counted("a", "1" * 500 + "0" * 500), "two.s": counted("b", "1" * 490 + "0" * 510)}
    claim = judged(spec, ours, {"one.s": 80.0, "two.s": 79.0}, sd=2.0)
    # 8 / n of two networks, and 0.0991 of ten images of 1,000, may be (1 / 2.802)^2 = 0.1274 together.
    assert (claim.verdict, claim.seeds_needed) == ("not decidable", 283)
    assert claim.needs == "283 seeds"
    # Three points would be clear with so many; that they are not is open.
    assert judged(spec, ours, {"one.s": 90.0, "two.s": 80.0}, sd=2.0).verdict == "undecided"


def test_the_papers_numbers_are_judged_by_the_rule_that_ours_are() -> None:
    """Each is one training: of 0.2 points, a margin of 0.5 is within 1.96 * 0.2 * sqrt(2), one of 0.6 is not."""
    spec = table(left="one.s", above="two.s")

    def paper(margin: float) -> Claim:
        values = {"one": 80.0 + margin, "two": 80.0}
        printed = {
            CellRef("t", row, "s"): replace(fact(value), networks={0: (row,)}, design=DESIGN)
            for row, value in values.items()
        }
        return judge(spec, spec.claims[0], printed, {}, SeedNoise(()), known(0.2, 0.2), 1)

    assert [(paper(margin).as_printed, paper(margin).paper_verdict) for margin in (0.5, 0.6)] == [
        ("holds", "undecided"),
        ("holds", "holds"),
    ]


def test_a_rounded_number_is_a_draw_from_one_unit_of_its_last_digit() -> None:
    assert printed_error(1).standard == pytest.approx(0.1 / sqrt(12))
