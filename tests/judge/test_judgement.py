"""Errors, intervals and verdicts, against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import sqrt

import numpy as np
import pytest
from command_line import ROOT
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from replicate.judge.claims import judge
from replicate.judge.statistics import (
    Error,
    SeedNoise,
    cell_verdict,
    claim_verdict,
    combined,
    error_from_samples,
    error_from_sigma,
    image_error,
    margin_verdict,
    paired_image_error,
    seed_error,
    spread,
    student,
)
from replicate.judge.table import Claim
from replicate.judge.values import CellValue
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
    # One seed: what the scale states.
    assert seed_error(3.0, [1.5]) == Error(3.0, 1.96 * 3.0)
    # Three seeds: that over sqrt(3). It was measured on many, so 1.96 of it.
    stated = seed_error(3.0, [1.0, 1.1, 1.2])
    assert stated.standard == pytest.approx(3.0 / sqrt(3))
    assert stated.half == pytest.approx(1.96 * stated.standard)
    # They show more than the scale states: sd of -10, 0, 10 is 10, of which t(2) = 4.303 are half an interval.
    shown = seed_error(0.1, [-10.0, 0.0, 10.0])
    assert shown.standard == pytest.approx(10 / sqrt(3))
    assert shown.half == pytest.approx(4.303 * 10 / sqrt(3))


def test_what_a_better_network_lifts_and_what_it_does_not() -> None:
    noise = SeedNoise(accuracy=2.3, heads=0.8)
    # One accuracy; the difference of two networks'; of two heads of one network; half of either.
    assert noise.of_sum([1.0], [1.0]) == pytest.approx(2.3)
    assert noise.of_sum([1.0, -1.0], [1.0, -1.0]) == pytest.approx(2.3 * sqrt(2))
    assert noise.of_sum([0.0], [1.0, -1.0]) == pytest.approx(0.8)
    assert noise.of_sum([0.0], [0.5, -0.5]) == pytest.approx(0.4)
    # (2.3^2 - .8^2 / 2) shared by two heads of one network, .8^2 / 2 of each head's own: the mean of both.
    assert noise.of_sum([1.0], [0.5, 0.5]) == pytest.approx(sqrt(2.3**2 - 0.32 + 0.16))
    assert noise.scaled(0.01).of_sum([1.0], [1.0]) == pytest.approx(0.023)


def test_a_scale_that_states_nothing_of_heads_is_on_the_safe_side() -> None:
    scale = load(ROOT / "tables", "mini").scale
    assert SeedNoise.of(scale.model_copy(update={"seed_sd": 2.0, "head_sd": None})) == SeedNoise(2.0, 2.0)
    assert SeedNoise.of(scale.model_copy(update={"seed_sd": 2.0, "head_sd": 0.5})) == SeedNoise(2.0, 0.5)


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706), (2, 4.303), (10, 2.228), (11, 2.201), (15, 2.131), (30, 2.042), (120, 1.980), (10**6, 1.960)],
)
def test_students_quantile_is_that_of_the_printed_tables(freedom: int, quantile: float) -> None:
    assert student(freedom) == pytest.approx(quantile, abs=0.003)


def test_errors_of_a_sum_add_as_squares() -> None:
    assert combined([Error(3.0, 6.0), Error(4.0, 8.0)]) == Error(5.0, 10.0)
    assert error_from_samples(1.0, 2) == Error(1.0, 12.706)
    assert error_from_sigma(2.0).scaled(-0.5) == Error(1.0, 1.96)
    with pytest.raises(ValueError, match="degrees of freedom"):
        student(0)


@pytest.mark.parametrize(
    ("difference", "error", "verdict"),
    [
        (0.3, None, "replicated"),
        (-0.35, None, "replicated"),  # the paper's own rounding: half of its last digit
        (0.36, None, "not replicated"),
        (0.1, 0.1, "replicated"),  # 0.1 + 0.196 is within 0.35
        (0.3, 0.1, "undecided"),
        (-0.5, 0.1, "undecided"),
        (-0.6, 0.1, "not replicated"),  # 0.6 - 0.196 is beyond 0.35
    ],
)
def test_verdict_of_a_cell_with_a_tolerance_of_0_3(difference: float, error: float | None, verdict: str) -> None:
    found, why = cell_verdict(difference, 0.3, 0.05, None if error is None else error_from_sigma(error))
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
    assert margin_verdict(relation, margin, error_from_sigma(error), within) == verdict  # type: ignore[arg-type]
    assert margin_verdict(relation, margin, None, within) == "undecided"  # type: ignore[arg-type]


def test_verdict_of_a_claim_about_several_cells() -> None:
    assert claim_verdict("holds", ["holds", "undecided"])[0] == "holds"
    assert claim_verdict("holds", ["holds", "fails"])[0] == "undecided"
    assert claim_verdict("fails", ["holds", "fails"])[0] == "fails"
    assert claim_verdict("undecided", ["undecided"]) == (
        "undecided",
        "0 of 1 comparisons hold by themselves, 0 fail",
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
    return judge(spec, spec.claims[0], theirs, mine, SeedNoise(sd, heads), 1)


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


def test_seeds_are_paired() -> None:
    """Margins 25 and 75 over two seeds; their spread of 35.36 over sqrt(2) is more than the scale states."""
    spec = table(left="one.s", above="two.s")
    claim = judged(spec, {"one.s": counted("a", "1110", "1111"), "two.s": counted("b", "0110", "1000")}, sd=1.0)
    assert claim.margin == 50.0
    # By image, mean of both seeds: (.5, .5, .5, .5), so nothing over images.
    assert claim.error == pytest.approx(25.0)


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
    """Table 4: DeiT without distillation beside teachers of seeds 0 and 1, its student beside that of seed 0 alone."""
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
    assert (claim.note, claim.error_shown) == ("one seed, no interval", "")
    assert claim.reason == "0 of 1 comparisons hold by themselves, 0 fail; one seed, no interval"


def test_with_one_seed_an_error_over_images_is_called_that() -> None:
    claim = judged(
        table(left="one.s", above="two.s"),
        {"one.s": cosine("a", 0.9, errors=(0.03,)), "two.s": cosine("a", 0.2)},
    )
    assert (claim.verdict, claim.note) == ("holds", "one seed, over images only")
    assert claim.error == pytest.approx(0.03)


def test_probes_of_one_network_are_paired_by_seed() -> None:
    """0.9 - 0.5 and 0.7 - 0.3 are both 0.4, however much the two trainings differ; a plain number cancels nothing."""
    ours = {"one.s": cosine("a", 0.9, 0.7, errors=(0.03, 0.04)), "two.s": cosine("a", 0.5, 0.3)}
    paired = judged(table(left="one.s", above="two.s"), ours)
    assert paired.margin == pytest.approx(0.4)
    assert (paired.error, paired.note) == (pytest.approx(0.05 / 2), "")
    alone = judged(table(left="one.s", above="0.5"), ours)
    # Over seeds: sd of 0.4 and 0.2 over sqrt(2) is 0.1, with t(1); over images: hypot(0.03, 0.04) / 2.
    assert alone.error == pytest.approx(sqrt(0.1**2 + 0.025**2))
    assert alone.half == pytest.approx(sqrt((12.706 * 0.1) ** 2 + (1.96 * 0.025) ** 2))
    assert alone.verdict == "undecided"


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
    claim = judge(spec, spec.claims[0], theirs, ours, SeedNoise(2.3, 0.0), 1, rates=True)
    assert (claim.margin_shown, claim.error_shown, claim.paper_margin_shown) == ("×1.50", "0.03", "×1.56")
    # Each 1 % and 2 % of itself.
    assert claim.error == pytest.approx(1.5 * sqrt(0.01**2 + 0.02**2))
    assert (claim.verdict, claim.paper_verdict, claim.note) == ("holds", "holds", "unsteady")


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
