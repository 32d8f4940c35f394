"""A thread that makes the next item while this one is used. A file by itself: trainings and answers make batches so."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """``make(position)``, where a thread of its own has begun to make position + 1 below ``end`` already.

    Calls of ``make`` never overlap, so it may keep state. What it raises, the call for its position raises.
    Positions out of turn are made when asked for.
    """

    def __init__(self, make: Callable[[int], T], end: int) -> None:
        self._make, self._end = make, end
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetcher")
        self._begun: tuple[int, Future[T]] | None = None

    def __call__(self, position: int) -> T:
        begun, self._begun = self._begun, None
        if begun is None or begun[0] != position:
            begun = position, self._pool.submit(self._make, position)
        item = begun[1].result()
        if position + 1 < self._end:
            self._begun = position + 1, self._pool.submit(self._make, position + 1)
        return item

    def close(self) -> None:
        """Finish the current item, then stop the thread."""
        self._pool.shutdown(cancel_futures=True)
