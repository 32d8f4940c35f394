"""A house whose first night is over, and copies of it to be changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightly.house import House


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> House:
    """The tiny table, trained by its first night."""
    pytest.importorskip("torch")
    house = House.build(tmp_path_factory.mktemp("first") / "house")
    house.night("--train", code=0)
    return house


@pytest.fixture
def house(first: House, tmp_path: Path) -> House:
    return first.copy(tmp_path / "house")
