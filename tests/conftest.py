"""Fixtures that tests of several layers share."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import ROOT, Call, called_here, copied_tables, environment, missing
from filled_results import fill, plan_of
from hypothesis import settings

from replicate.store.store import Store

# Started in the background of a script, pytest has Ctrl-C ignored, and so would every process that a test starts:
# those that are stopped by Ctrl-C would never end.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no fault of the code under test.
# The same examples at every call: a test that failed once fails again.
settings.register_profile("patient", deadline=None, derandomize=True)
settings.load_profile("patient")


@pytest.fixture
def replicate() -> Call:
    """``python -m replicate ARGUMENTS``: in a process of its own where ``env`` is given, else in this one.

    Starting Python and importing everything takes 0.4 s, and hundreds of calls are tested.
    """

    def call(*arguments: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "replicate", *arguments]
        if env is None:
            return called_here(command, cwd)
        return subprocess.run(command, cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=300)

    return call


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A copy of the specs, to be damaged; of the tables Table 3 alone, since more of them will come."""
    return copied_tables(tmp_path)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """A small file system of its own, to be filled or made read-only without harm: ``disk("size=1m")``."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            missing("a small disk can only be mounted by root")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(tmp_path_factory.mktemp("filled"))
    for job in plan_of().graph:
        fill(store, job)
    return store.root


@pytest.fixture
def results(tmp_path: Path, filled: Path) -> Path:
    """A results folder with everything Table 3 needs at mini scale."""
    return Path(shutil.copytree(filled, tmp_path / "results"))
