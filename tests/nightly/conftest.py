"""A repository whose first night is over, and copies of it to be changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightly.repository import Repository


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The tiny table, trained by its first night."""
    pytest.importorskip("torch")
    repository = Repository.build(tmp_path_factory.mktemp("first") / "house")
    repository.night("--train", code=0)
    return repository


@pytest.fixture
def repository(first: Repository, tmp_path: Path) -> Repository:
    return first.copy(tmp_path / "house")
