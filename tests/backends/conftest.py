"""The tiny table, and what one undisturbed worker makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_project import TinyProject, new_project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[TinyProject]:
    with new_project(tmp_path / "project") as made:
        yield made


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, str]]:
    """Decisions and weights of the tiny table, from one worker that nothing happened to."""
    with new_project(tmp_path_factory.mktemp("undisturbed")) as made:
        done = made.table(workers=1)
        assert done.returncode == 0, done.stderr
        return made.decisions(), made.weights()
