"""numbers.tex: one macro a number, with names that TeX can read."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import TABLE, Call

from replicate.errors import UserError
from replicate.judge.table import Table
from replicate.render import format_pdf, macros
from replicate.specs.cell import CellRef

from .samples import MINI, SAMPLES, STATES, TABLE3, at

DEFINED = re.compile(r"^\\newcommand\{\\([A-Za-z]+)\}\{(.*)\}% .*$", re.MULTILINE)


def test_the_name_says_table_row_and_column_in_letters_only() -> None:
    assert macros.macro_of("Deit", at("hard", "b_224")) == "DeitDistillationAblationHardBTwoTwoFour"
    assert macros.macro_of("Deit", at("@", "teacher")) == "DeitDistillationAblationReferenceTeacher"
    other = CellRef("resolution", "at_384", "top1")
    assert macros.macro_of("Deit", other) == "DeitResolutionAtThreeEightFourTopOne"


def test_another_paper_has_another_prefix(replicate: Call, tables: Path, tmp_path: Path) -> None:
    runs = tables / "runs.toml"
    runs.write_text(runs.read_text().replace("[paper]\n", '[paper]\nmacros = "Doe"\n'))
    folders = ("--tables", str(tables), "--results", str(tmp_path / "none"), "--out", str(tmp_path))
    assert replicate("table", "--id", TABLE, "--no-run", "--format", "macros", *folders).returncode == 3
    (path,) = (tmp_path / "mini").iterdir()
    assert "\\newcommand{\\DoeDistillationAblationHardBTwoTwoFour}{" in path.read_text()


def test_the_prefix_of_a_paper_is_letters(replicate: Call, tables: Path) -> None:
    runs = tables / "runs.toml"
    runs.write_text(runs.read_text().replace("[paper]\n", '[paper]\nmacros = "Doe20"\n'))
    done = replicate("check", "--tables", str(tables))
    assert done.returncode == 2
    assert done.stderr.startswith("error: tables/runs.toml: paper.macros: should have ASCII letters only, ")
    assert done.stderr.endswith(", got 'Doe20'\n")


def test_the_names_begin_with_the_prefix() -> None:
    text = macros.render([replace(TABLE3, macros="Doe")])
    assert text.splitlines()[0].endswith(" a name is \\Doe, table, row, column")
    names = [name for name, _ in DEFINED.findall(text)]
    assert names
    assert all(name.startswith("DoeDistillationAblation") for name in names)
    assert macros.render([TABLE3]).splitlines()[0].endswith(" a name is \\Deit, table, row, column")


@pytest.mark.parametrize("sample", sorted(SAMPLES))
def test_every_cell_that_holds_a_number_has_one(sample: str) -> None:
    table = SAMPLES[sample]
    text = macros.render([table])
    found = DEFINED.findall(text)
    numbers = len(table.rows) * sum(not column.text for column in table.columns) + len(table.references)
    assert len(found) == len({name for name, _ in found}) == numbers
    if table.banner:
        assert f"% BANNER: {table.banner}" in text


@pytest.mark.parametrize("banner", [MINI.banner, "50% of it {odd} #1", ""])
def test_a_number_of_another_experiment_says_so_beside_itself(banner: str) -> None:
    table = replace(MINI, banner=banner)
    text = macros.render([table])
    for line in text.splitlines():
        if line.startswith(r"\newcommand"):
            assert r"\DeitScaleMark{}}% scale mini, not the paper's experiment: " in line
            assert line.endswith(banner or "another experiment than the paper's (scale mini)")
    assert r"\providecommand{\DeitScaleMark}{\textsuperscript{mini}}" in text
    assert "ScaleMark" not in macros.render([TABLE3])
    assert "}% scale paper" in macros.render([TABLE3])


def test_a_number_of_the_paper_is_called_that() -> None:
    cell = STATES.cell("both", "b_384")
    text = macros.render([replace(MINI, cells={**MINI.cells, cell.ref: cell})])
    assert rf"\newcommand{{\{macros.macro_of('Deit', cell.ref)}}}{{{{}}[84.5]}}% printed in the paper only" in text


def test_a_missing_number_cannot_be_overlooked() -> None:
    key = next(
        key for key, cell in TABLE3.cells.items() if cell.shown and not key.is_reference and cell.state == "done"
    )
    cells = {**TABLE3.cells, key: replace(TABLE3.cells[key], state="pending", shown="", value=None)}
    text = macros.render([replace(TABLE3, cells=cells)])
    assert rf"\newcommand{{\{macros.macro_of('Deit', key)}}}{{\textbf{{??}}}}" in text


def test_two_cells_of_one_name_are_refused() -> None:
    alike = TABLE3.id.replace("_", "__")
    moved = [replace(cell, ref=ref._replace(table=alike)) for ref, cell in TABLE3.cells.items()]
    cells = {cell.ref: cell for cell in moved}
    with pytest.raises(UserError, match="two cells have the macro name"):
        macros.render([TABLE3, replace(TABLE3, id=alike, cells=cells)])


@pytest.mark.latex
@pytest.mark.skipif(
    shutil.which("pdflatex") is None and os.environ.get("REPLICATE_REQUIRE_ALL") != "1",
    reason="pdflatex is not installed",
)
@pytest.mark.parametrize("table", [TABLE3, replace(MINI, banner="50% of it {odd} #1 $x_2")], ids=["paper", "mini"])
def test_prose_can_use_them(table: Table, tmp_path: Path) -> None:
    text = macros.render([table])
    names = [name for name, _ in DEFINED.findall(text)]
    (tmp_path / "numbers.tex").write_text(text)
    uses = "\n".join(rf"\{name}{{}} points." for name in names)
    path = tmp_path / "prose.tex"
    # The definitions stand in the file itself: pdflatex runs in a folder of its own.
    path.write_text(
        "\\documentclass{article}\\usepackage{amssymb}\n" + text + "\\begin{document}\n" + uses + "\n\\end{document}\n"
    )
    assert format_pdf.pdf(path).read_bytes().startswith(b"%PDF-")


@pytest.mark.latex
@pytest.mark.skipif(
    shutil.which("pdflatex") is None and os.environ.get("REPLICATE_REQUIRE_ALL") != "1",
    reason="pdflatex is not installed",
)
@pytest.mark.parametrize("variant", ["paper", "compare"])
def test_all_tables_are_one_document(variant: str, tmp_path: Path) -> None:
    path = tmp_path / "tables.tex"
    path.write_text(format_pdf.book(SAMPLES.values(), variant))  # type: ignore[arg-type]
    assert format_pdf.pdf(path).read_bytes().startswith(b"%PDF-")
