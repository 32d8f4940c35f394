"""docs/extending.md, done as it says in a copy of this checkout: files written, lines changed, commands run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import ROOT, environment

PAGE = ROOT / "docs" / "extending.md"
SPECS = ROOT / "docs" / "adding-a-table.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INSTRUCTION = re.compile(r"(New file|Added to|In) `(\S+?)`:\n\n\Z")
NAME = re.compile(r"# (\S+\.toml)\n")
TINY = ("--scale", "tiny")
LOOKING = (
    ("check",),
    ("plan", *TINY),
    ("status", "--id", "width", *TINY),
    ("claims", *TINY),
    ("report", *TINY),
    ("nightly", "--no-run", *TINY),
)
EXPECTED = {
    "1": {"table": "top-3", "explain": "top3"},
    "2": {"table": "multiply-adds", "explain": "counted here", "plan": "flops-wide"},
    "3": {"table": "width.typ"},
    "4": {"plan": "data-ramps", "table": "top-1"},
    "5": {"mypy": "replicate/engine/losses.py", "table": "taught by wide", "explain": "train-narrow-224-mse"},
}
"""By section, words that the first call of a command says."""


class Block(NamedTuple):
    """``how`` and ``file`` as the sentence above the block says them; both empty for commands."""

    kind: str
    how: str
    file: str
    body: str


def blocks(section: str) -> Iterator[Block]:
    for match in BLOCK.finditer(section):
        instruction = INSTRUCTION.search(section[: match.start()])
        how, file = (instruction[1], instruction[2]) if instruction else ("", "")
        assert match[1] == "sh" or instruction, f"a block without a file: {match[2][:60]}"
        yield Block(match[1], how, file, match[2])


def sections() -> dict[str, list[Block]]:
    """The blocks of each numbered heading of the page."""
    found = re.split(r"^## (\d\. .*)$", PAGE.read_text(), flags=re.MULTILINE)[1:]
    return {title: list(blocks(body)) for title, body in zip(found[::2], found[1::2], strict=True)}


def changed(text: str, diff: str) -> str:
    """``text`` with the lines that ``diff`` takes away or keeps, which must stand in it, replaced by those it gives."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(before) == 1, f"these lines should stand in the file once:\n{before}"
    return text.replace(before, after)


def do(block: Block, checkout: Path) -> None:
    path = checkout / block.file
    if block.how == "New file":
        assert not path.exists(), f"{block.file} is there already"
        path.write_text(block.body)
    elif block.how == "Added to":
        path.write_text(f"{path.read_text()}\n\n{block.body}")
    else:
        path.write_text(changed(path.read_text(), block.body))


def run(command: list[str], checkout: Path) -> subprocess.CompletedProcess[str]:
    env = environment(PYTHONPATH=str(checkout))
    return subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the specs of docs/adding-a-table.md."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("replicate", "pyproject.toml", "slurm"):
        source = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / name, ignore=ignored) if source.is_dir() else shutil.copy(source, folder)
    for kind, body in BLOCK.findall(SPECS.read_text()):
        name = NAME.match(body)
        if kind == "toml" and name:
            (folder / name[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / name[1]).write_text(body)
    return folder


@pytest.mark.torch
def test_the_page_does_what_it_says(checkout: Path) -> None:
    """The commands of `LOOKING` know each new thing; a forgotten file makes one of them fail."""
    for title, found in sections().items():
        told: dict[str, list[str]] = {}
        for block in found:
            if block.kind != "sh":
                do(block, checkout)
                continue
            for command in block.body.splitlines():
                program, *words = shlex.split(command)
                done = run([sys.executable, *(words if program == "python" else ["-m", program, *words])], checkout)
                # The type checker is content with a new method only once the loss is written.
                refused = program == "mypy" and "mypy" not in told
                assert done.returncode == refused, f"{title}\n{command}\n{done.stdout}\n{done.stderr}"
                told.setdefault(words[2] if program == "python" else program, []).append(done.stdout)
        for command in LOOKING:
            done = run([sys.executable, "-m", "replicate", *command], checkout)
            assert done.returncode == 0, f"{title}\n{command}\n{done.stdout}\n{done.stderr}"
        for command, words in EXPECTED[title[0]].items():
            assert words in told[command][0], f"{title}: {command}"
    assert [title[0] for title in sections()] == list(EXPECTED)
    typst = (checkout / "out" / "tiny" / "width.typ").read_text()
    assert typst.startswith("// an example, not an experiment\n#figure(")
    assert "[giant (Doe et al.)]" in typst
