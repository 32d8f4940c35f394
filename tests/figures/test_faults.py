"""Every fault of a figure's spec is found before anything runs, with its file, its place, and what to do about it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import Call

from figures.small_figures import CURVES, DIFFERENCES, HEATMAP, IDENTITY, LINES, PROFILE, SCATTER, TABLE, write_specs
from replicate.errors import SpecError, UnknownName
from replicate.figures.load import figures_of, load_with_figures
from replicate.figures.spec import KINDS, register


def named_one(figure: str) -> str:
    """Its id is the name of its file, ``one.toml``."""
    return re.sub(r'^id = ".*"$', 'id = "one"', figure, count=1, flags=re.MULTILINE)


def faults(root: Path, figure: str) -> list[str]:
    tables = write_specs(root, {"one": named_one(figure)})
    with pytest.raises(SpecError) as caught:
        load_with_figures(tables, "mini")
    return [str(fault) for fault in caught.value.faults]


def test_the_specs_that_are_damaged_here_are_sound(tmp_path: Path) -> None:
    assert sorted(figures_of(load_with_figures(write_specs(tmp_path), "mini")).specs) == [
        "all",
        "curves",
        "field",
        "longer",
        "margins",
        "speed",
        "tokens",
    ]


def test_tables_without_a_folder_of_figures_have_none(tables: Path) -> None:
    assert figures_of(load_with_figures(tables, "mini")).specs == {}


def test_an_unknown_figure_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown figure 'sped'\n  did you mean 'speed'\?"):
        figures_of(load_with_figures(write_specs(tmp_path), "mini")).spec("sped")


@pytest.mark.parametrize(
    ("spec", "old", "new", "fault"),
    [
        (
            SCATTER,
            "source =",
            "sorce =",
            "figure.sorce: unknown key 'sorce'\n  did you mean 'source'?",
        ),
        (SCATTER, 'rows  = ["b", "ti"]', 'rows = ["bb", "ti"]', "scatter.series[0].rows: there is no row 'bb'"),
        (SCATTER, 'names = ["B", "Ti"]', 'names = ["B"]', "scatter.series[0].names: not one name a row: 1 for 2 rows"),
        (
            SCATTER,
            'table = "small"',
            'table = "smal"',
            "scatter.table: there is no table 'smal'\n  did you mean",
        ),
        (SCATTER, 'column = "top1"', 'column = "words"', "scatter.y.column: column 'words' holds words"),
        (SCATTER, '"small/b/speed"', '"small/c/speed"', "scatter.x.relative_to: there is no row 'c'"),
        (SCATTER, '"small/b/speed"', '"small.b.speed"', "scatter.x.relative_to: should be 'table/row/column'"),
        (LINES, "small/@/teacher", "small/@/pupil", "lines.panels[0].levels[0].cell: there is no reference 'pupil'"),
        (
            LINES,
            "deit-b-224/token",
            "deit-b-224/tokne",
            "lines.panels[0].series[0].points[1].run: point: there is",
        ),
        (LINES, '"distillation",', '"truht",', "lines.panels[0].series[0].points[1].head: "),
        (LINES, 'cell = "small/b/top1"', 'cell = "small/b/top1", paper = 1.0', "'paper' cannot stand beside it"),
        (LINES, "x = 800, paper = 84.5", "x = 800", "reads nothing: 'cell', 'run' or 'paper' is needed"),
        (DIFFERENCES, 'base    = "b"', 'base = "c"', "differences: there is no row 'c'"),
        (DIFFERENCES, '["top1"]', '["top2"]', "differences.columns: there is no column 'top2'\n  did you mean 'top1'?"),
        (DIFFERENCES, "limit   = 8", "limit = 0", "differences.limit: "),
        (HEATMAP, '["speed", "accuracy"]', '["speed"]', "heatmap.names: not one name a column: 1 for 2 columns"),
        (
            PROFILE,
            "deit-b-224/token",
            "deit-b-224/none",
            "profile.series[0].run: the network of run 'deit-b-224/none'",
        ),
        (PROFILE, "small/ti/top1", "small/ti/top9", "profile.series[0].paper_last: there is no column 'top9'"),
        (
            CURVES,
            '["deit-ti-224/none"]',
            '["resnet-50"]',
            "curves.runs: the network of run 'resnet-50' is never",
        ),
        (CURVES, '"deit-b-224/none"', '"deit-b"', "curves.reference: there is no run 'deit-b'"),
        (IDENTITY, '{ small = "b" }', '{ small = "x" }', "relative_to_rows.small: there is no row 'x'"),
        (IDENTITY, '["top1"]', '["accuracy"]', "identity.panels[0].metrics"),
    ],
)
def test_a_fault(tmp_path: Path, spec: str, old: str, new: str, fault: str) -> None:
    assert old in spec
    found = faults(tmp_path, spec.replace(old, new))
    assert len(found) == 1
    assert fault in found[0]
    assert found[0].startswith("figures/one.toml: ")


def test_a_figure_has_exactly_one_kind(tmp_path: Path) -> None:
    both = SCATTER + HEATMAP[HEATMAP.index("[heatmap]") :]
    assert "exactly one of the blocks" in faults(tmp_path, both)[0]
    assert "got scatter and heatmap" in faults(tmp_path, both)[0]
    assert "got none" in faults(tmp_path, SCATTER[: SCATTER.index("[scatter]")])[0]


def test_a_misspelt_kind_gets_the_nearest(tmp_path: Path) -> None:
    found = faults(tmp_path, SCATTER.replace("scatter", "scater"))
    assert found[0].endswith("got none\n  did you mean 'scatter'?")


def test_a_kind_is_registered_once_and_has_its_block() -> None:
    with pytest.raises(ValueError, match="two kinds of figure are called 'scatter'"):
        register(KINDS["scatter"])

    class Nameless(KINDS["scatter"]):  # type: ignore[misc, valid-type, name-defined, unused-ignore]
        kind = "pie"

    with pytest.raises(ValueError, match="the kind of figure 'pie' has no field of that name"):
        register(Nameless)
    assert "pie" not in KINDS


def test_the_id_is_the_name_of_the_file(replicate: Call, tmp_path: Path) -> None:
    """So no two figures have the same."""
    tables = write_specs(tmp_path, {"speed": SCATTER, "two": SCATTER})
    fault = "figures/two.toml: figure.id: must be the name of the file, 'two', got 'speed'"
    with pytest.raises(SpecError) as caught:
        load_with_figures(tables, "mini")
    assert [str(found) for found in caught.value.faults] == [fault]
    done = replicate("check", "--tables", str(tables))
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {fault}\n")


def test_faults_of_tables_and_figures_are_reported_together(tmp_path: Path) -> None:
    tables = write_specs(tmp_path, {"one": SCATTER.replace("caption", "captoin")}, TABLE.replace("Small.", "", 1) + "x")
    with pytest.raises(SpecError) as caught:
        load_with_figures(tables, "mini")
    places = [fault.where.partition(":")[0] for fault in caught.value.faults]
    assert {"tables/small.toml", "figures/one.toml"} <= set(places)


def test_check_finds_them(replicate: Call, tmp_path: Path) -> None:
    tables = write_specs(tmp_path, {"one": named_one(DIFFERENCES).replace('base    = "b"', 'base = "c"')})
    done = replicate("check", "--tables", str(tables))
    assert done.returncode == 2
    assert done.stderr == "error: figures/one.toml: differences: there is no row 'c'\n  rows: b, other, ti\n"
