"""The overview of all tables as Markdown, and the README that holds it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import ROOT, TABLE, Call
from filled_store import Report

from replicate.errors import UserError
from replicate.render.overview import (
    BEGIN,
    END,
    claims_said,
    claims_said_apart,
    headline,
    made_from,
    markdown,
    summarise,
    updated,
)
from replicate.specs.load import load

README = ROOT / "README.md"


def rows(text: str) -> list[list[str]]:
    """The fields of the Markdown table in ``text``."""
    lines = [found for found in text.splitlines() if found.startswith("|")]
    return [[field.strip() for field in re.split(r"(?<!\\)\|", found)[1:-1]] for found in lines]


def test_the_headline_is_what_the_paper_ranks_first_whatever_came_out_here(report: Report) -> None:
    table = report.book.table(TABLE)
    found = headline(table)
    assert found is not None
    assert (found.row, found.column, found.paper_shown) == ("token_both", "b_384", "84.5")
    assert summarise(table).label == "DeiT⚗: class+distillation, B↑384"


def test_a_table_in_one_line_of_markdown(report: Report, paper_report: Report) -> None:
    ((header, _, row), text) = (rows(markdown(report.book.tables)), markdown(report.book.tables))
    # Nothing is compared at this scale, so no column says so row by row.
    assert header == ["table", "of the paper", "headline number", "paper †", "here", "numbers", "claims"]
    assert row[0] == f"[{TABLE}](tables/{TABLE}.toml)"
    assert row[3] == "84.5"
    assert re.fullmatch(r"\d+\.\d ± \d+\.\d", row[4])
    assert row[5] == "20 trained here, 4 not run"
    assert "> **miniature: tests the pipeline, not the paper**" in text
    assert "replicated" not in text
    paper = rows(markdown(paper_report.book.tables))
    assert paper[0][3:6] == ["paper", "here", "difference"]
    assert re.fullmatch(r"[+−]\d+\.\d", paper[2][5])
    assert re.search(r"24 trained here \(.*\d+ ✗", paper[2][6])


def test_the_commits_are_named_and_changes_without_one_are_warned_of(report: Report) -> None:
    (table,) = report.book.tables
    clean = replace(table, commits=("1" * 40,), uncommitted=False, processors=())
    assert made_from([clean]) == f"Made from commit `{'1' * 12}`."
    dirty = replace(table, commits=("2" * 40,), uncommitted=True, processors=())
    assert made_from([clean, dirty]).startswith(f"Made from commits `{'1' * 12}`, `{'2' * 12}`. **Warning: results ")
    assert "behind 1 of the 2 tables" in markdown([clean, dirty])
    assert made_from([replace(table, commits=())]) == ""
    named = [replace(clean, processors=("a Xeon",)), replace(clean, processors=("a Xeon", "an EPYC"))]
    assert made_from(named) == f"Made from commit `{'1' * 12}` on a Xeon, an EPYC."


def test_a_number_that_the_recipe_sets_is_no_headline(report: Report) -> None:
    (table,) = report.book.tables
    cells = {key: replace(cell, origin="set in the recipe") for key, cell in table.cells.items()}
    assert summarise(replace(table, cells=cells)).here == "–"


def test_counts_of_claims_in_words() -> None:
    assert claims_said({"holds": 1, "fails": 2, "not run": 3}) == "1 holds, 2 fail, 3 not run"
    assert claims_said({}) == "–"


def test_sentences_and_readings_are_counted_apart(report: Report) -> None:
    (table,) = report.book.tables
    said = claims_said_apart(table.claims)
    assert re.fullmatch(r"of 11 sentences [^;]+; of 6 readings [^;]+", said)
    assert said in markdown([table])
    assert claims_said_apart([claim for claim in table.claims if claim.reading]).startswith("of 6 readings ")
    assert claims_said_apart([]) == "–"


def test_only_what_stands_between_the_markers_is_written(report: Report) -> None:
    before = f"# Title\n{BEGIN}\nold\n{END}\nrest\n"
    after = updated(before, report.book.tables, "README.md")
    assert after.startswith(f"# Title\n{BEGIN}\n\n> **miniature")
    assert after.endswith(f"\n\n{END}\nrest\n")
    assert updated(after, report.book.tables, "README.md") == after


@pytest.mark.parametrize("text", ["", BEGIN, END + BEGIN, BEGIN + BEGIN + END, BEGIN + END + END])
def test_a_file_without_its_markers_is_left_alone(report: Report, text: str) -> None:
    with pytest.raises(UserError, match=re.escape("README.md: needs these two lines")):
        updated(text, report.book.tables, "README.md")


def test_the_readme_has_the_overview_in_its_current_form(replicate: Call, tmp_path: Path) -> None:
    """Values may be another machine's, or "not run"; which tables there are and what stands where may not differ."""
    copy = tmp_path / "README.md"
    copy.write_text(README.read_text(encoding="utf-8"), encoding="utf-8")
    done = replicate("report", "--readme", str(copy), "--results", str(tmp_path / "nothing"))
    assert done.returncode == 0, done.stderr
    ours, fresh = (
        rows(path.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]) for path in (README, copy)
    )
    assert [row[:4] for row in ours] == [row[:4] for row in fresh], "run `make readme`"
    assert {re.match(r"\[(.*?)\]", row[0])[1].replace("\\", "") for row in ours[2:]} == set(  # type: ignore[index]
        load(ROOT / "tables", "mini").tables
    )
    numbers = [row[-2] for row in ours[2:]]
    assert [_sum(text) for text in numbers] == [_sum(row[-2]) for row in fresh[2:]]


def _sum(text: str) -> int:
    return sum(int(number) for number in re.findall(r"\d+", text.partition("(")[0]))
