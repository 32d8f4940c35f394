"""The help of every command, word for word. A change of it is meant: UPDATE_GOLDEN=1 python -m pytest tests/cli."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from command_line import ROOT, called_here, environment

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
