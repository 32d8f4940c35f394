"""``all``, and which files ``table`` and ``all`` write."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from command_line import TABLE, Call


def folders(results: Path, tables: Path) -> tuple[str, ...]:
    return ("--results", str(results), "--tables", str(tables), "--out", str(results.parent / "out"))


def test_all_writes_every_table_and_the_numbers(replicate: Call, results: Path, tables: Path) -> None:
    done = replicate("all", *folders(results, tables))
    assert (done.returncode, done.stderr) in ((0, ""), (3, "")), done.stderr
    assert "24 done" in done.stdout
    out = results.parent / "out" / "mini"
    for suffix in (".tex", ".md", ".csv", ".html", ".json", "-compare.tex"):
        assert (out / f"{TABLE}{suffix}").is_file()
    assert r"\newcommand{\DeitDistillationAblationHardBTwoTwoFour}{" in (out / "numbers.tex").read_text()
    assert done.stdout.startswith("miniature: tests the pipeline, not the paper")


def test_all_says_what_is_missing_and_runs_nothing_when_told(replicate: Call, tables: Path, tmp_path: Path) -> None:
    done = replicate("all", "--no-run", "--no-figures", "--json", *folders(tmp_path / "none", tables))
    assert done.returncode == 3
    facts = json.loads(done.stdout)
    assert facts["tables"] == [{"id": TABLE, "complete": False, "states": "24 pending"}]
    assert not list((tmp_path / "none").glob("train-*"))
    assert r"\textbf{??}" in (tmp_path / "out" / "mini" / "numbers.tex").read_text()


def test_all_names_the_claims_of_what_it_wrote(replicate: Call, tables: Path, tmp_path: Path) -> None:
    where = folders(tmp_path / "none", tables)
    done = replicate(
        "all", "--no-run", "--no-figures", "--scale", "paper", "--from", "released", "--seeds", "7", *where
    )
    options = f"--scale paper --from released --results {tmp_path}/none --tables {tables} --seeds 7"
    assert f"; claims: python -m replicate claims {options} " in done.stdout, done.stderr


def test_formats_are_chosen(replicate: Call, results: Path, tables: Path) -> None:
    done = replicate("table", "--id", TABLE, "--no-run", "--format", "md,macros", *folders(results, tables))
    assert done.returncode == 0, done.stderr
    found = {path.name for path in (results.parent / "out" / "mini").iterdir()}
    assert found == {f"{TABLE}.md", f"{TABLE}-compare.md", f"{TABLE}-numbers.tex"}


def test_an_unknown_format_is_named_with_the_nearest(replicate: Call, results: Path, tables: Path) -> None:
    done = replicate("table", "--id", TABLE, "--no-run", "--format", "mcros", *folders(results, tables))
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown format 'mcros'\n  did you mean 'macros'?")


@pytest.fixture
def odd(tables: Path) -> Path:
    """The specs with a second table, of a caption that LaTeX cannot print, and two figures, one without a glyph."""
    text = (tables / f"{TABLE}.toml").read_text(encoding="utf-8")
    text = text.replace(f'"{TABLE}"', '"odd"', 1).replace('caption   = "', 'caption   = "\u4e2d', 1)
    (tables / "odd.toml").write_text(text, encoding="utf-8")
    (tables.parent / "figures").mkdir()
    for name, label in (("sound", "width"), ("boxes", "\u4e2d")):
        (tables.parent / "figures" / f"{name}.toml").write_text(FIGURE.format(name, label), encoding="utf-8")
    return tables


FIGURE = """
[figure]
id = "{}"
caption = "Accuracy against width."
[lines]
metric = "top1"
[[lines.panels]]
title = "accuracy"
x = {{ label = "{}" }}
y = {{ label = "top-1 (%)" }}
[[lines.panels.series]]
label = "Ti"
points = [ {{ x = 8.0, cell = "distillation_ablation/none/ti_224" }} ]
"""
NO_TEX = "tables/odd.toml: caption: LaTeX cannot print '\u4e2d' (U+4E2D CJK UNIFIED IDEOGRAPH-4E2D)\n"
NO_GLYPH = "figures/boxes.toml: a figure cannot show '\u4e2d' (U+4E2D CJK UNIFIED IDEOGRAPH-4E2D)\n"


@pytest.mark.drawn
def test_what_one_table_or_figure_cannot_be_is_its_own_matter(replicate: Call, tmp_path: Path, odd: Path) -> None:
    where = folders(tmp_path / "none", odd)
    done = replicate("all", "--no-run", *where)
    assert done.returncode == 2
    assert f"not written: table odd (tex): {NO_TEX}" in done.stderr
    assert f"not written: figure boxes: {NO_GLYPH}" in done.stderr
    assert done.stderr.count("not written: ") == 2
    out = tmp_path / "out" / "mini"
    every = {".tex", "-compare.tex", ".md", "-compare.md", ".html", "-compare.html", ".csv", ".json"}
    written = {f"{TABLE}{end}" for end in every} | {f"odd{end}" for end in every if not end.endswith("tex")}
    assert {path.name for path in out.iterdir()} == written | {"numbers.tex", "figures"}
    assert {path.name for path in (out / "figures").iterdir()} == {"sound.pdf", "sound.png", "sound.svg"}
    # That one has no caption in it.
    assert r"\DeitOddHardBTwoTwoFour" in (out / "numbers.tex").read_text(encoding="utf-8")
    facts = replicate("all", "--no-run", "--json", *where)
    assert facts.returncode == 2
    assert set(json.loads(facts.stdout)["unwritten"]) == {"table odd (tex)", "figure boxes"}


@pytest.mark.drawn
def test_a_figure_that_cannot_be_drawn_is_left_out_of_the_report(replicate: Call, tmp_path: Path, odd: Path) -> None:
    done = replicate("report", *folders(tmp_path / "none", odd))
    assert (done.returncode, done.stderr) == (2, f"not written: figure boxes: {NO_GLYPH}  write it in words\n")
    folder = tmp_path / "out" / "mini" / "report"
    assert "left out, since they could not be drawn: boxes." in (folder / "index.html").read_text(encoding="utf-8")
    assert [path.name for path in folder.glob("figures/*.svg")] == ["sound.svg"]


def test_one_format_of_a_table_that_fails(replicate: Call, tmp_path: Path, odd: Path) -> None:
    done = replicate("table", "--id", "odd", "--no-run", *folders(tmp_path / "none", odd))
    assert done.returncode == 2
    assert done.stderr.startswith(f"not written: table odd (tex): {NO_TEX}")
    assert "odd.md" in done.stdout
    assert {path.suffix for path in (tmp_path / "out" / "mini").iterdir()} == {".md", ".csv", ".html", ".json"}


def test_a_mistake_of_the_program_in_one_format(
    replicate: Call, tmp_path: Path, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> str:
        raise ValueError("boom")

    monkeypatch.setattr("replicate.render.wording.caption", fail)
    done = replicate("all", "--no-run", "--no-figures", "--format", "md,csv", *folders(tmp_path / "none", tables))
    assert done.returncode == 2
    assert f"not written: table {TABLE} (md): ValueError: boom\n" in done.stderr
    assert "Traceback" in done.stderr
    assert [path.name for path in (tmp_path / "out" / "mini").iterdir()] == [f"{TABLE}.csv"]


def test_a_folder_that_cannot_be_written_is_said_once(replicate: Call, tmp_path: Path, odd: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mini").write_text("a file")
    done = replicate("all", "--no-run", *folders(tmp_path / "none", odd))
    assert done.returncode == 2
    assert done.stderr.count("cannot be written to") == 1


@pytest.mark.latex
@pytest.mark.skipif(
    shutil.which("pdflatex") is None and os.environ.get("REPLICATE_REQUIRE_ALL") != "1",
    reason="pdflatex is not installed",
)
def test_all_tables_become_one_pdf(replicate: Call, tmp_path: Path) -> None:
    where = ("--results", str(tmp_path / "none"), "--out", str(tmp_path / "out"))
    done = replicate("all", "--no-run", "--no-figures", "--pdf", "--format", "tex", *where)
    assert done.returncode == 3, done.stderr
    assert (tmp_path / "out" / "mini" / "tables.pdf").read_bytes().startswith(b"%PDF-")
