"""The help of every command, word for word. A change of it is meant: UPDATE_GOLDEN=1 python -m pytest tests/cli."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, TABLE, called_here, environment

from replicate.cli import COMMANDS

GOLDEN = ROOT / "tests" / "golden" / "help"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str) -> None:
    arguments = [sys.executable, "-m", "replicate", *command.split(), "--help"]
    done = called_here(arguments, ROOT, COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "")
    path = GOLDEN / f"{command or 'replicate'}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(done.stdout)
    assert done.stdout == path.read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {"replicate", *COMMANDS}


@pytest.mark.parametrize("command", ["table", "plan", "status", "explain", "list", "check"])
def test_the_shared_options_are_everywhere(command: str) -> None:
    text = (GOLDEN / f"{command}.txt").read_text()
    for option in ("--scale", "--seeds", "--workers", "--results", "--out", "--tables", "--json"):
        assert option in text


def test_help_imports_nothing_heavy() -> None:
    """That is why it answers at once (`python benchmarks/startup.py`)."""
    code = """
import sys
from replicate.cli import cli
for arguments in (["--help"], ["table", "--help"], ["explain", "--help"]):
    cli.main(arguments, standalone_mode=False)
heavy = {"torch", "numpy", "pydantic", "rich", "pandas"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), check=True, capture_output=True)


@pytest.mark.parametrize(
    ("command", "unneeded"),
    [
        ("plan", ["numpy", "rich", "jinja2", "replicate.figures.model", "replicate.judge.table"]),
        (f"table --id {TABLE} --no-run", ["replicate.figures.model", "multiprocessing.popen_forkserver"]),
    ],
)
def test_looking_imports_only_what_it_shows(tmp_path: Path, command: str, unneeded: list[str]) -> None:
    """Each takes 10 to 70 ms of 300 to 400 (docs/benchmarks.md); `table` draws no figure, and no cluster is chosen."""
    code = f"""
import sys
from replicate.cli import cli
arguments = {[*command.split(), "--results", str(tmp_path / "results"), "--out", str(tmp_path / "out")]}
cli.main(arguments, standalone_mode=False)
imported = {{*{unneeded}, "replicate.backends.slurm.profile", "replicate.specs.json_schema"}} & set(sys.modules)
assert not imported, imported
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
