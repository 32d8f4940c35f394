"""The numbers of a finished figure, against ones worked out by hand."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import pytest

from figures.small_figures import CURVES, IMAGES, fill, finish, plan, points, whole, write_specs
from replicate.figures.finish import finish_figure, progress
from replicate.figures.load import load_with_figures
from replicate.figures.model import HeatmapPanel, Level, MarginPanel, XYPanel
from replicate.figures.plan import plan_figure
from replicate.judge.statistics import Error, combined
from replicate.specs.cell import CellRef
from replicate.store.store import Store


def xy(figure: object) -> XYPanel:
    assert isinstance(figure, XYPanel)
    return figure


def test_a_figure_needs_its_cells_and_nothing_else_of_their_table(tmp_path: Path) -> None:
    needed = {(job.kind, job.run) for job in plan(tmp_path, "longer").graph}
    assert ("predict", "deit-b-224/none") in needed
    assert ("predict", "deit-b-224/token") in needed
    assert ("predict", "regnety-16gf") in needed
    assert not any(kind == "measure" or run == "deit-ti-224/none" for kind, run in needed)


def test_a_point_that_no_table_prints_is_read_from_the_same_jobs(tmp_path: Path) -> None:
    figure, token = plan(tmp_path, "longer"), plan(tmp_path, "tokens")
    trainings = {job.key for job in token.graph if job.kind == "train"}
    assert trainings <= set(figure.graph.jobs)


def test_throughput_is_the_ratio_of_ratios_that_were_measured_in_turn(tmp_path: Path) -> None:
    figure = finish(tmp_path, "speed")
    # 8.0 and 1.0 times the reference; 1600/220 would be 7.3.
    assert points(figure, "here", 0) == [(1.0, 80.0), (8.0, 60.0)]
    assert points(figure, "paper", 1) == [(1.0, 81.8), (8.0, 72.2), (4.0, 76.0)]


def test_without_pairs_it_is_the_ratio_of_images_per_second(tmp_path: Path) -> None:
    figure = finish(tmp_path, "speed", "paper")
    assert points(figure, "here") == [(1.0, 80.0), (pytest.approx(1600 / 220), 60.0)]


def test_under_a_banner_the_paper_has_its_own_axes(tmp_path: Path) -> None:
    figure = finish(tmp_path, "speed")
    assert figure.banner == "miniature: tests the pipeline, not the paper"
    assert [panel.title for panel in figure.panels] == ["here: miniature", "the paper, as printed"]
    assert points(figure, "paper", 0) == points(figure, "here", 1) == []


def test_without_a_banner_both_share_them_and_the_paper_has_the_names(tmp_path: Path) -> None:
    figure = finish(tmp_path, "speed", "paper")
    assert len(figure.panels) == 1
    assert figure.banner == ""
    assert [point.name for point in whole(figure, "paper")] == ["B", "Ti", ""]
    assert [point.name for point in whole(figure, "here")] == ["", ""]


def test_the_interval_is_over_the_images_and_over_seeds(tmp_path: Path) -> None:
    point = whole(finish(tmp_path, "speed"), "here")[0]
    # With two more images of each kind; and what another seed of DeiT-B does, by the scale.
    share = (0.8 * IMAGES + 2) / (IMAGES + 4)
    half = combined([Error(100 * sqrt(share * (1 - share) / (IMAGES + 4))), Error(2.0, 32)]).half
    assert (point.low, point.high) == (pytest.approx(80 - half), pytest.approx(80 + half))


def test_a_value_of_the_paper_alone_is_counted_as_such(tmp_path: Path) -> None:
    figure = finish(tmp_path, "speed")
    assert (figure.wanted, figure.pending, figure.paper_only) == (5, 0, 1)
    assert figure.state == "1 printed in the paper only"
    assert figure.complete


def test_what_is_not_there_is_counted_and_not_drawn(tmp_path: Path) -> None:
    figure = finish(tmp_path, "speed", without=("deit-ti-224/none",))
    assert points(figure, "here") == [(1.0, 80.0)]
    assert (figure.wanted, figure.pending) == (5, 2)
    assert figure.state == "2 of 5 not run; 1 printed in the paper only"
    assert not figure.complete


def test_without_the_base_of_a_ratio_there_is_no_point(tmp_path: Path) -> None:
    assert points(finish(tmp_path, "speed", "paper", without=("measure",)), "here") == []


def test_lines_read_cells_and_points_of_their_own(tmp_path: Path) -> None:
    figure = finish(tmp_path, "longer", "paper")
    assert points(figure, "here") == [(300.0, 80.0), (500.0, 95.0)]
    assert points(figure, "paper") == [(300.0, 81.8), (500.0, 84.0), (800.0, 84.5)]
    assert xy(figure.panels[0]).levels == (Level("teacher", "here", 96.0), Level("teacher", "paper", 82.9))
    assert whole(figure, "here")[1].cells == (CellRef("figure_longer", "p0", "value"),)
    assert (figure.wanted, figure.paper_only) == (3, 1)


def test_margins_are_paired_and_have_a_sign(tmp_path: Path) -> None:
    (panel,) = finish(tmp_path, "margins").panels
    assert isinstance(panel, MarginPanel)
    assert panel.rows == ("Ti", "a convnet")
    assert panel.groups == ((1, "large"),)
    here, paper, other = panel.bars
    assert (here.at, here.side, here.value, here.shown) == (0, "here", -20.0, "−20.0")
    assert (paper.side, paper.value, paper.shown) == ("paper", pytest.approx(-9.6), "−9.6")
    assert (other.at, other.side, other.shown) == (1, "paper", "−5.8")
    # 20 of 100 images differ, all one way: variance .2 * .8 * 100/99; and the scale's seed noise for each network.
    images = 100 * (0.2 * 0.8 * 100 / 99) ** 0.5 / 10
    # Of Ti 3.2 points and B 2.0, measured on 36 trainings of 4 networks each; of that 1.3 and 0.9, between two heads,
    # is a head's own by half, measured on 9 of one.
    own = [1.3**2 / 2, 0.9**2 / 2]
    shared = [3.2**2 - own[0], 2.0**2 - own[1]]
    error = combined([Error(images), *(Error(sqrt(v), 32) for v in shared), *(Error(sqrt(v), 8) for v in own)])
    assert here.high == pytest.approx(-20 + error.half)
    assert here.low == pytest.approx(-20 - error.half)


def test_a_field_has_the_numbers_as_they_are_printed(tmp_path: Path) -> None:
    here, paper = finish(tmp_path, "field", without=("deit-ti-224/none",)).panels
    assert isinstance(here, HeatmapPanel)
    assert isinstance(paper, HeatmapPanel)
    assert here.columns == ("speed", "accuracy")
    assert here.rows == ("Ti", "B", "a convnet")
    assert here.shown == (("○", "○"), ("220.0", "80.0"), ("880.0", "–"))
    assert here.values == ((None, None), (220.0, 80.0), (880.0, None))
    assert paper.shown[1] == ("250.0", "81.8*")
    assert paper.values[1] == (250.0, 81.8)


def test_a_profile_goes_from_the_input_through_the_blocks_to_the_output(tmp_path: Path) -> None:
    figure = finish(tmp_path, "tokens")
    assert points(figure, "here") == [(0.0, 0.1), (1.0, 0.2), (2.0, 0.5), (3.0, 0.7), (4.0, 0.9)]
    assert points(figure, "paper") == [(4.0, 72.2)]
    assert [text for _, text in xy(figure.panels[0]).x.ticks] == ["input", "1", "2", "3", "output"]


def test_curves_say_where_they_end(tmp_path: Path) -> None:
    figure = finish(tmp_path, "curves")
    loss, validation, rate = map(xy, figure.panels)
    assert [series.label for series in loss.series] == [
        "deit-ti-224/none, test top-1 60.0 %",
        "deit-b-224/none, reference, test top-1 80.0 %",
    ]
    assert [series.faint for series in loss.series] == [False, True]
    assert [(point.x, point.y) for point in loss.series[0].points] == [(1.0, 2.0), (2.0, 1.0)]
    assert [point.y for point in validation.series[0].points] == [50.0, 75.0]
    assert [point.y for point in rate.series[0].points] == [pytest.approx(0.1), pytest.approx(0.2)]


def test_curves_of_a_run_that_is_not_there(tmp_path: Path) -> None:
    figure = finish(tmp_path, "curves", without=("deit-ti-224/none",))
    assert xy(figure.panels[0]).series[0].label == "deit-ti-224/none"
    assert xy(figure.panels[0]).series[0].points == ()
    assert (figure.wanted, figure.pending) == (4, 2)


def test_published_weights_have_no_curve_and_a_note_says_so(tmp_path: Path) -> None:
    trained = 'runs      = ["deit-ti-224/none", "deit-ti-224/soft"]'
    write_specs(tmp_path, {"curves": CURVES.replace('runs      = ["deit-ti-224/none"]', trained)})
    planned = plan_figure(load_with_figures(tmp_path / "tables", "paper", released=True), "curves", (0,))
    store = Store(tmp_path / "results")
    for job in planned.graph:
        if job.kind != "predict":
            fill(store, job)
    figure = finish_figure(planned, store)
    assert [[series.label for series in xy(panel).series] for panel in figure.panels] == [["deit-ti-224/soft"]] * 3
    assert figure.notes == ("Published weights, which have no curve: deit-ti-224/none, deit-b-224/none.",)
    # The training that has a curve, and its decisions.
    assert (figure.wanted, figure.pending) == (2, 1)


def test_curves_of_published_weights_alone_are_none(tmp_path: Path) -> None:
    figure = finish(tmp_path, "curves", "paper", released=True)
    assert [xy(panel).series for panel in figure.panels] == [()] * 3
    assert (figure.wanted, figure.complete, figure.origins) == (0, True, ())


def test_points_say_whether_their_network_was_published(tmp_path: Path) -> None:
    for released, origin in ((True, "released weights"), (False, "trained here")):
        for name in ("tokens", "speed"):
            figure = finish(tmp_path / f"{name} {released}", name, "paper", released=released)
            assert {point.origin for point in whole(figure, "here")} == {origin}
            assert origin in figure.origins


def test_what_is_not_there_has_no_origin(tmp_path: Path) -> None:
    assert finish(tmp_path, "tokens", "paper", without=("probe",), released=True).origins == ()


def test_a_damaged_curve_is_said_and_not_drawn(tmp_path: Path) -> None:
    finish(tmp_path, "curves")
    planned, store = plan(tmp_path, "curves"), Store(tmp_path / "results" / "mini")
    (key,) = [job.key for job in planned.graph if job.kind == "train" and job.run == "deit-ti-224/none"]
    (store.folder(key) / "curve.json").write_text("[")
    figure = finish_figure(planned, store)
    assert xy(figure.panels[0]).series[0].points == ()
    assert key in store.damage
    assert figure.pending == 1


def test_every_number_against_the_papers(tmp_path: Path) -> None:
    figure = finish(tmp_path, "all", "paper")
    accuracy, speed = map(xy, figure.panels)
    assert accuracy.identity
    assert accuracy.band == 0.3
    assert [series.label for series in accuracy.series] == ["Table 5"]
    assert points(figure, "here", 0) == [(72.2, 60.0), (81.8, 80.0), (82.9, 96.0)]
    assert points(figure, "here", 1) == [(8.0, pytest.approx(1600 / 220)), (4.0, pytest.approx(700 / 220))]
    assert speed.band is None
    assert [point.verdict for point in whole(figure, "here", 0)][:2] == ["differs", "differs"]


def test_under_a_banner_no_tolerance_is_drawn(tmp_path: Path) -> None:
    assert [xy(panel).band for panel in finish(tmp_path, "all").panels] == [None, None]


def test_progress_is_known_without_drawing(tmp_path: Path) -> None:
    finish(tmp_path, "speed", without=("measure",))
    assert progress(plan(tmp_path, "speed"), Store(tmp_path / "results" / "mini")) == (5, 3)


def test_the_digest_follows_the_results(tmp_path: Path) -> None:
    empty = finish(tmp_path, "speed", without=("predict", "measure")).digest
    full = finish(tmp_path, "speed").digest
    assert empty != full
    assert full == finish(tmp_path, "speed").digest
