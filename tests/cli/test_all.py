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
