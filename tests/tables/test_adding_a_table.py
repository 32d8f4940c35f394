"""docs/adding-a-table.md, done as it says: its files written, its commands run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, environment

PAGE = ROOT / "docs" / "adding-a-table.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"# (\S+\.toml)\n")


def blocks(kind: str) -> list[str]:
    return [body for found, body in BLOCK.findall(PAGE.read_text()) if found == kind]


@pytest.mark.torch
def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    for body in blocks("toml"):
        name = NAME.match(body)
        assert name, f"a block without the name of its file: {body[:40]}"
        path = tmp_path / name[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body)
    said = {}
    for command in (line for body in blocks("sh") for line in body.splitlines()):
        words = shlex.split(command)
        assert words[:3] == ["python", "-m", "replicate"]
        done = subprocess.run(
            [sys.executable, *words[1:]], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        said[words[3]] = done.stdout
    assert "no fault" in said["check"]
    assert "an example, not an experiment" in said["table"]
    assert "[80.1]" in said["table"]
    assert "and costs parameters" in said["claims"]
    assert "Hold here (1)\n✓ Table 1, reading: and costs parameters" in said["claims"]
    assert {path.name for path in (tmp_path / "out" / "tiny").iterdir()} >= {"width.tex", "width-numbers.tex"}
    assert r"\newcommand{\DoeWidthWideTopOne}{" in (tmp_path / "out" / "tiny" / "width-numbers.tex").read_text()


def test_every_file_that_the_page_names_is_there() -> None:
    for name in re.findall(r"`((?:tests|docs)/[\w./-]+)`", PAGE.read_text()):
        assert (ROOT / name).exists(), name
