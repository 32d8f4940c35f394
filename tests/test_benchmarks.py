"""Every script of benchmarks/ still works, at its smallest size; a new one is found by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, environment

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
QUICK = {"answers", "input", "job_start", "plan", "source", "startup", "step", "training_step"}
PATIENCE = 300.0


def needs_torch(script: Path) -> bool:
    return "torch" in script.read_text(encoding="utf-8")


def run(*words: str) -> str:
    call = [sys.executable, *words, "--smallest"]
    done = subprocess.run(call, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "script",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.torch] if needs_torch(path) else []) for path in SCRIPTS],
)
def test_it_prints_a_table(script: Path) -> None:
    if needs_torch(script):
        pytest.importorskip("torch")
    lines = run(str(script)).splitlines()
    (rule,) = (number for number, line in enumerate(lines) if line.startswith("|---"))
    rows = [line for line in lines[rule + 1 :] if line.startswith("|")]
    assert rows
    assert {row.count("|") for row in rows} == {lines[rule].count("|")}
    if script.stem == "__main__":
        assert {row.split("|")[1].strip() for row in rows} == QUICK


@pytest.mark.parametrize("script", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_the_documentation_names_it(script: Path) -> None:
    name = "python benchmarks`" if script.stem == "__main__" else f"benchmarks/{script.name}"
    assert name in (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")


PACKAGE = {
    "a.py": """\
from typing import Any, Literal
Row = dict[str, Any]
def first(row: Row, rows: list[Row], which: Literal["a"]) -> "Row":
    return row["a"] | rows[0]["b"]
""",
    "b.py": """\
from package.a import Row as R
Row = int
Rows = list[R]
def second(rows: Rows, row: Row, counts: dict[str, int]) -> None: ...
""",
}


def test_an_alias_counts_as_what_it_stands_for(tmp_path: Path) -> None:
    """In a.py where it is written out and twice where it is used; in b.py the alias of the alias, and its use."""
    folder = tmp_path / "package"
    folder.mkdir()
    for name, text in PACKAGE.items():
        (folder / name).write_text(text)
    said = run("benchmarks/source.py", str(folder))
    assert "| `dict[str, Any]` and the like | 5, 625.0 per 1,000 lines |" in said
    assert "| subscripts by a word | 2, 250.0 per 1,000 lines |" in said
    assert "most `dict[str, Any]`: a.py 3, b.py 2" in said
