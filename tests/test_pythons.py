"""Which Pythons the environment is built with, and what `make` says where there is none of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command_line import ROOT, missing

OLD = '#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.13"\n'
SHIM = "#!/bin/sh\necho 'command not found, though another version has it' >&2\nexit 127\n"


@pytest.fixture
def on_path(tmp_path: Path) -> Path:
    """The one folder of programs that `make` sees, beside a copy of what it reads."""
    for name in ("Makefile", "requirements.txt", "requirements-uv.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def make(on_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("make")
    if found is None:
        missing("make builds the environment")
    command = [found, *arguments]
    return subprocess.run(
        command, cwd=on_path.parent, env={"PATH": str(on_path)}, capture_output=True, text=True, check=False
    )


def test_python3_is_taken_where_it_is_one_of_them(on_path: Path) -> None:
    program(on_path / "python3.11", SHIM)
    program(on_path / "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    done = make(on_path, "--dry-run", "env")
    assert f"{on_path}/python3 -m venv .venv\n" in done.stdout, done.stderr


def test_a_name_with_the_version_comes_first(on_path: Path) -> None:
    for name in ("python3", "python3.13"):
        program(on_path / name, f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    done = make(on_path, "--dry-run", "env")
    assert f"{on_path}/python3.13 -m venv .venv\n" in done.stdout, done.stderr


@pytest.mark.parametrize("arguments", [(), ("PYTHON=bin/python3",)], ids=["found", "named"])
def test_another_version_is_refused_before_anything_is_made(on_path: Path, arguments: tuple[str, ...]) -> None:
    program(on_path / "python3", OLD + "exit 1\n")
    done = make(on_path, "demo", *arguments)
    assert done.returncode != 0
    name = "bin/python3" if arguments else "python3"
    assert done.stderr.startswith(f"Python 3.11, 3.12 or 3.13 is needed; {name} is Python 3.10.13. Install one, or")
    assert not (on_path.parent / ".venv").exists()


def test_the_package_the_makefile_and_the_readme_name_the_same_pythons() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    first, after = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups())  # type: ignore[union-attr]
    pythons = [f"3.{minor}" for minor in range(first, after)]
    named = "{}, {} or {}".format(*pythons)
    assert [text.rpartition(" ")[2] for text in project["classifiers"] if ":: Python ::" in text] == pythons
    makefile = (ROOT / "Makefile").read_text()
    assert f"not (3, {first}) <= sys.version_info < (3, {after})" in makefile
    assert f'echo "Python {named} is needed' in makefile
    assert f"for python in {' '.join(f'python{python}' for python in pythons)} python3;" in makefile
    assert f"--python-version {pythons[0]} " in makefile
    assert f"Python {named}" in (ROOT / "README.md").read_text()
