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

from replicate.judge.claims import judge
from replicate.judge.statistics import (
    NO_ERROR,
    Error,
    SeedNoise,
    cell_verdict,
    claim_verdict,
    combined,
    image_error,
    margin_verdict,
    paired_image_error,
    pooled,
    seed_error,
    spread,
)
from replicate.judge.table import Claim
from replicate.judge.values import NO_DIMENSION, CellValue
from replicate.metrics import Decisions
from replicate.specs.cell import CellRef
from replicate.specs.load import load
from replicate.specs.table import TableSpec


def test_error_of_an_accuracy() -> None:
    # 3 of 4 correct: 100 * sqrt(0.75 * 0.25 / 4)
    assert image_error(np.array([True, True, True, False])) == pytest.approx(21.650635)
    assert image_error(np.array([True, True])) == 0.0


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


def test_error_over_seeds() -> None:
    stated = Error(3.0, 8)
    # One seed: what the scale states, with the freedom it was measured with: t(8) = 2.306.
    assert seed_error(stated, [1.5]) == stated
    assert stated.half == pytest.approx(2.306 * 3.0, rel=1e-4)
    # Three seeds add two degrees of freedom: s^2 = (8 * 9 + 2 * 100) / 10, over sqrt(3), with t(10) = 2.228.
    shown = seed_error(stated, [-10.0, 0.0, 10.0])
    assert shown == Error(pytest.approx(sqrt(27.2 / 3)), 10)
    assert shown.half == pytest.approx(2.228 * sqrt(27.2 / 3), rel=1e-3)
    # What is known for sure is not measured again; where nothing is stated, the seeds are all there is.
    assert seed_error(Error(3.0), [-10.0, 0.0, 10.0]) == Error(pytest.approx(3.0 / sqrt(3)))
    assert seed_error(None, [-10.0, 0.0, 10.0]) == Error(pytest.approx(10 / sqrt(3)), 2)
    assert seed_error(None, [1.0]) is None


def test_a_second_seed_that_varies_as_stated_narrows_the_interval() -> None:
    """The old rule took the larger of both: half a width of 3.7 became 23.5 where two seeds showed 2 % more."""
    stated = Error(3.2 * sqrt(2), 8)
    one, two = seed_error(stated, [18.9]), seed_error(stated, [18.9, 18.9 - 1.02 * sqrt(2) * stated.standard])
    assert one is not None
    assert two is not None
    assert two.half < one.half
    # Continuous: what the seeds show moves the interval by little when it moves by little.
    halves = [seed_error(stated, [0.0, apart]).half for apart in np.linspace(0.0, 20.0, 200)]  # type: ignore[union-attr]
    assert max(np.abs(np.diff(halves))) < 0.1


def test_what_a_better_network_lifts_and_what_it_does_not() -> None:
    noise = SeedNoise(accuracy=Error(2.3), heads=Error(0.8))

    def of_sum(networks: list[float], cells: list[float]) -> float:
        return noise.of_sum(networks, cells).standard

    # One accuracy; the difference of two networks'; of two heads of one network; half of either.
    assert of_sum([1.0], [1.0]) == pytest.approx(2.3)
    assert of_sum([1.0, -1.0], [1.0, -1.0]) == pytest.approx(2.3 * sqrt(2))
    assert of_sum([0.0], [1.0, -1.0]) == pytest.approx(0.8)
    assert of_sum([0.0], [0.5, -0.5]) == pytest.approx(0.4)
    # (2.3^2 - .8^2 / 2) shared by two heads of one network, .8^2 / 2 of each head's own: the mean of both.
    assert of_sum([1.0], [0.5, 0.5]) == pytest.approx(sqrt(2.3**2 - 0.32 + 0.16))
    assert noise.scaled(0.01).of_sum([1.0], [1.0]).standard == pytest.approx(0.023)


def test_freedom_of_a_sum_is_that_of_its_parts() -> None:
    """Shared 4 of 8 degrees, own 1 of 2: 5^2 / (4^2 / 8 + 1^2 / 2) = 10."""
    noise = SeedNoise(accuracy=Error(sqrt(5.0), 8), heads=Error(sqrt(2.0), 2))
    assert noise.of_sum([1.0], [1.0]) == Error(pytest.approx(sqrt(5.0)), pytest.approx(10.0))
    assert combined([Error(2.0, 8), Error(1.0, 2)]) == Error(pytest.approx(sqrt(5.0)), pytest.approx(10.0))
    assert combined([Error(2.0, 8), Error(1.0)]).freedom == pytest.approx(12.5)
    assert pooled(None, [1.0]) is None


def test_a_scale_that_states_nothing_of_heads_is_on_the_safe_side() -> None:
    scale = load(ROOT / "tables", "mini").scale
    stated = {"seed_sd": 2.0, "seed_sd_freedom": 8}
    alone, both = (scale.model_copy(update=stated | {"head_sd": sd, "head_sd_freedom": 4}) for sd in (None, 0.5))
    assert SeedNoise.of(alone) == SeedNoise(Error(2.0, 8), Error(2.0, 8))
    assert SeedNoise.of(both) == SeedNoise(Error(2.0, 8), Error(0.5, 4))


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
    found, why = cell_verdict(difference, 0.3, 0.05, noise, seeds)
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
    return CellValue(values, hits, 100, {seed: (f"{training}-s{seed}",) for seed in hits})


def judged(
    spec: TableSpec,
    ours: dict[str, CellValue],
    paper: dict[str, float] | None = None,
    sd: float = 0.0,
    heads: float = 0.0,
) -> Claim:
    ref = {name: CellRef("t", *name.split(".")) for name in (*ours, *(paper or {}))}
    mine = {ref[name]: value for name, value in ours.items()}
    theirs = {ref[name]: value for name, value in (paper or {}).items()}
    return judge(spec, spec.claims[0], theirs, mine, SeedNoise(Error(sd), Error(heads)), 1)


def test_a_claim_about_one_pair() -> None:
    spec = table(left="one.s", above="two.s")
    ours = {"one.s": counted("a", "1110"), "two.s": counted("b", "0110")}
    claim = judged(spec, ours, {"one.s": 80.0, "two.s": 79.5})
    assert claim.margin == 25.0
    assert claim.error == pytest.approx(25.0)
    assert (claim.margin_shown, claim.error_shown, claim.paper_margin_shown) == ("+25.0", "25.0", "+0.5")
    assert (claim.paper_verdict, claim.verdict, claim.reversed) == ("holds", "undecided", False)
    # Another seed of either network moves the margin too: hypot(25, 2.3 * sqrt(2)).
    assert judged(spec, ours, sd=2.3).error == pytest.approx(sqrt(25**2 + 2 * 2.3**2))


def test_two_heads_of_one_network_move_by_less_than_two_networks() -> None:
    spec = table(left="one.s", above="two.s")
    ours = {"one.s": counted("a", "1110"), "two.s": counted("a", "0110")}
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


def test_a_teacher_that_all_seeds_share_is_one_draw() -> None:
    """Two networks a side, as in a disagreement: that of the student is another at each seed, the teacher's is not."""
    spec = table(left="one.s", above="two.s")
    ours = {"one.s": counted("a", "1111", "1111"), "two.s": counted("b", "0000", "0000")}
    with_teacher = {
        name: replace(value, networks={seed: (*own, "teacher") for seed, own in value.networks.items()})
        for name, value in ours.items()
    }
    # No image tells the sides apart, and neither do seeds: what the scale states is all there is.
    assert judged(spec, ours, sd=2.0).error == pytest.approx(2.0)
    # The teacher is on both sides and cancels; the students weigh half of what they do above.
    assert judged(spec, with_teacher, sd=2.0).error == pytest.approx(1.0)
    # On one side: students 2 and 1 over sqrt(2) seeds, the teacher's half whole.
    one_side = {"one.s": ours["one.s"], "two.s": with_teacher["two.s"]}
    assert judged(spec, one_side, sd=2.0).error == pytest.approx(sqrt((4 + 1) / 2 + 1))


def test_a_network_that_one_side_shares_and_the_other_has_anew_does_not_cancel() -> None:
    """One side has another teacher at each seed, the other that of seed 0 alone."""
    spec = table(left="one.s", above="two.s")
    one, two = counted("a", "1111", "1111"), counted("b", "0000", "0000")
    ours = {
        "one.s": replace(one, networks={0: ("a-s0", "t-s0"), 1: ("a-s1", "t-s1")}),
        "two.s": replace(two, networks={0: ("b-s0", "t-s0"), 1: ("b-s1", "t-s0")}),
    }
    # Students a and b: four draws of a quarter. Teachers: t-s0 1/4 - 1/2, t-s1 1/4.
    assert judged(spec, ours, sd=2.0).error == pytest.approx(2 * sqrt(4 / 16 + 1 / 16 + 1 / 16))


def cosine(network: str, *values: float, errors: tuple[float | None, ...] = ()) -> CellValue:
    """Numbers by seed that are no counts."""
    seeds = range(len(values))
    return CellValue(
        {seed: Fraction(str(values[seed])) for seed in seeds},
        None,
        1,
        {seed: (f"{network}-s{seed}",) if network else () for seed in seeds},
        errors=dict(zip(seeds, errors or (0.0,) * len(values), strict=True)),
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
        judged_here = judge(spec, claim, {}, ours, SeedNoise(Error(0.0), Error(0.0)), 2)
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
    theirs = {CellRef("t", "one", "s"): 85.8, CellRef("t", "two", "s"): 55.1}
    claim = judge(spec, spec.claims[0], theirs, ours, SeedNoise(Error(2.3), NO_ERROR), 1, rates=True)
    assert (claim.margin_shown, claim.error_shown, claim.paper_margin_shown) == ("×1.50", "", "×1.56")
    # An interval that is too wide to be trusted decides nothing.
    assert (claim.verdict, claim.error, claim.paper_verdict, claim.note) == ("undecided", None, "holds", "unsteady")
    ours = {ref: replace(value, steady=True) for ref, value in ours.items()}
    claim = judge(spec, spec.claims[0], theirs, ours, SeedNoise(Error(2.3), NO_ERROR), 1, rates=True)
    # Each 1 % and 2 % of itself.
    assert claim.error == pytest.approx(1.5 * sqrt(0.01**2 + 0.02**2))
    assert (claim.verdict, claim.error_shown, claim.note) == ("holds", "0.03", "")


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
    assert judged(about, {}, paper).paper_verdict == "holds"
    assert judged(about, {}, paper).paper_margin_shown == "+0.1"
    assert judged(table(left="one", above="two", where=["s", "b"]), {}, paper).paper_verdict == "fails"


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
