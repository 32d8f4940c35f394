"""The tiny table, and what one undisturbed worker makes of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from world import World, new_world, processes_of


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = new_world(tmp_path / "world")
    yield made
    for pid in processes_of(made):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, str]]:
    """Decisions and weights of the tiny table, from one worker that nothing happened to."""
    made = new_world(tmp_path_factory.mktemp("undisturbed"))
    done = made.table(workers=1)
    assert done.returncode == 0, done.stderr
    return made.decisions(), made.weights()
