"""docs/python.md, done as it says; and `deit_replicate` where another package is called ``replicate``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, copied_tables, environment

PAGE = ROOT / "docs" / "python.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOTHING_HEAVY = """
import sys
heavy = {"torch", "torchvision", "timm", "submitit"} & set(sys.modules)
assert not heavy, heavy
"""


def run(code: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment(**env), capture_output=True, text=True, timeout=300)


@pytest.mark.drawn
def test_the_page_does_what_it_says_and_imports_no_torch(tmp_path: Path, results: Path) -> None:
    copied_tables(tmp_path)
    done = run("\n".join([*BLOCK.findall(PAGE.read_text()), NOTHING_HEAVY]), results.parent)
    assert done.stderr == ""
    assert done.returncode == 0
    assert "complete: True" in done.stdout
    assert "did you mean 'distillation_ablation'?" in done.stdout
    assert (tmp_path / "out" / "mini" / "distillation_ablation.tex").exists()


def test_importing_is_fast_since_it_imports_nothing() -> None:
    code = """
import sys
import deit_replicate
from deit_replicate import open_paper
heavy = {"torch", "numpy", "pydantic", "pandas", "click", "rich"} & set(sys.modules)
assert not heavy, heavy
assert set(deit_replicate.__all__) == set(dir(deit_replicate))
for name in deit_replicate.__all__:
    assert getattr(deit_replicate, name)
"""
    done = run(code, ROOT)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def another(tmp_path: Path) -> dict[str, str]:
    """An environment in which a package of another project is found as ``replicate``."""
    package = tmp_path / "site" / "replicate"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the code of another project')\n")
    return {"PYTHONPATH": f"{package.parent}:{ROOT}"}


def test_another_package_of_that_name_is_named(another: dict[str, str], tmp_path: Path) -> None:
    done = run("import deit_replicate; deit_replicate.main()", tmp_path, **another)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: another package called 'replicate' is found: {tmp_path}/site/replicate/__init__.py\n"
        f"  the one of deit-replicate is {ROOT}/replicate/__init__.py\n"
        "  install deit-replicate into an environment of its own, or remove the other: pip uninstall replicate\n"
    )
    done = run("from deit_replicate import open_paper", tmp_path, **another)
    assert "ImportError: another package called 'replicate' is found" in done.stderr


def test_the_program_is_the_command_line(tmp_path: Path) -> None:
    done = run("import sys; sys.argv = ['x', '--version']; import deit_replicate; deit_replicate.main()", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "version" in done.stdout


@pytest.mark.torch
def test_update_runs_what_is_missing(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "tests" / "backends"))
    try:
        from tiny_project import new_project
    finally:
        sys.path.pop(0)
    new_project(tmp_path)
    code = """
from deit_replicate import open_paper
paper = open_paper("tables", results="results", out="out", scale="tiny", workers=2)
assert not paper.table("tiny").complete
assert paper.update("tiny").complete
assert paper.cells("tiny")["value"].notna().any()
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
