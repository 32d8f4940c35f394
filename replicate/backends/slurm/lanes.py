"""Lanes: how ``max_running`` of a profile holds over all arrays of one kind of job.

Slurm throttles each array by itself (``--array=0-9%4``). Two arrays that may run side by side share the number, and
an array beyond it waits until earlier ones have ended (``afterany``), whatever became of them.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Lane:
    """Arrays of which the next begins when the one before has ended: at most ``width`` elements run at once.

    tail: the submission that is last in it. keys: jobs of that submission.
    """

    width: int
    tail: str
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Place:
    """What one array gets: its throttle (None: none is needed) and the submissions that have to end before it.

    behind: the array of the same wave, by its number, that has to end before it.
    """

    throttle: int | None = None
    after: tuple[str, ...] = ()
    behind: int | None = None


@dataclass(slots=True)
class Lanes:
    """All arrays of one kind that are queued or run, under a throttle of ``most`` elements (None: no throttle)."""

    most: int | None
    lanes: list[Lane] = field(default_factory=list)

    def place(self, sizes: Sequence[int], implied: Set[str]) -> list[Place]:
        """Places for the arrays of one wave, of so many elements each.

        implied: jobs that every element waits for, directly or not: they have ended before one of the wave begins.
        """
        if self.most is None or not sizes:
            return [Place()] * len(sizes)
        self.lanes = [lane for lane in self.lanes if not lane.keys <= implied]
        wanted = min(self.most, sum(sizes))
        free = self.most - sum(lane.width for lane in self.lanes)
        after: list[str] = []
        # Half of what it could have now is better than all of it when trainings of days have ended.
        while free < max(1, (wanted + 1) // 2):
            lane = self.lanes.pop(0)
            after.append(lane.tail)
            free += lane.width
        widths = _shared(sizes, min(free, wanted))
        places = [Place(width, tuple(after)) for width in widths]
        load = [size / width for size, width in zip(sizes, widths, strict=False)]
        last = list(range(len(widths)))
        for number in range(len(widths), len(sizes)):
            lane_number = min(range(len(widths)), key=load.__getitem__)
            places.append(Place(widths[lane_number], behind=last[lane_number]))
            load[lane_number] += sizes[number] / widths[lane_number]
            last[lane_number] = number
        return places

    def enter(self, place: Place, name: str, keys: frozenset[str], behind: str = "") -> None:
        """Note that the array was submitted as ``name``; ``behind``: the submission of `Place.behind`."""
        if place.throttle is None:
            return
        self.lanes = [lane for lane in self.lanes if lane.tail != behind]
        self.lanes.append(Lane(place.throttle, name, keys))


def _shared(sizes: Sequence[int], slots: int) -> list[int]:
    """Widths of lanes for the first arrays (one for each slot), in proportion to their sizes; their sum is ``slots``.

    No array gets more than it has elements; each gets one at least.
    """
    sizes = sizes[:slots]
    widths = [1] * len(sizes)
    for _ in range(slots - len(sizes)):
        open_arrays = [number for number, size in enumerate(sizes) if widths[number] < size]
        if not open_arrays:
            break
        widths[max(open_arrays, key=lambda number: sizes[number] / widths[number])] += 1
    return widths
