"""Items made ahead: the same ones in the same order, errors where they are due, and no thread left."""

from __future__ import annotations

import threading

import pytest

from replicate.engine.prefetcher import Prefetcher


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetcher")]


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [2, 3, 4], [0, 3, 1, 1, 4]])
def test_every_position_gets_its_own_item(order: list[int]) -> None:
    items = Prefetcher(lambda position: position * 10, 5)
    assert [items(position) for position in order] == [position * 10 for position in order]
    items.close()
    assert names() == []


def test_the_next_is_made_while_the_caller_works_and_none_beyond_the_end() -> None:
    made: list[tuple[int, str]] = []
    second = threading.Event()

    def make(position: int) -> int:
        made.append((position, threading.current_thread().name))
        if position == 1:
            second.set()
        return position

    items = Prefetcher(make, 2)
    items(0)
    assert second.wait(timeout=30)
    items(1)
    items.close()
    assert [position for position, _ in made] == [0, 1]
    assert all(name.startswith("prefetcher") for _, name in made)


def test_an_error_comes_where_its_item_is_asked_for() -> None:
    def make(position: int) -> int:
        if position == 1:
            raise ValueError("made up")
        return position

    items = Prefetcher(make, 4)
    assert items(0) == 0
    with pytest.raises(ValueError, match="made up"):
        items(1)
    assert items(2) == 2
    items.close()
    assert names() == []
