"""Names beside points, placed so that none covers another, a point or a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import cos, hypot, pi, sin
from typing import Any

# First, since it imports matplotlib away from the user's surroundings.
from replicate.figures.style import FAINT

# isort: split
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

DISTANCES = (5.5, 8.5, 12.0, 17.0, 24.0, 32.0, 42.0)
"""From the point to the nearest side of the name, in points (1/72 inch)."""
DIRECTIONS = tuple(2 * pi * turn / 16 for turn in (2, 6, 14, 10, 0, 8, 4, 12, 1, 3, 5, 7, 9, 11, 13, 15))
LEADER = 9.0
"""A name farther away than this gets a thin line to its point."""


Dot = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Named:
    """A point with a name, in data coordinates."""

    x: float
    y: float
    name: str
    colour: str


def place(axes: Axes, names: Sequence[Named], paths: Sequence[Sequence[Dot]]) -> list[Annotation]:
    """Write ``names``. ``paths`` are the points and lines (data coordinates) that no name should cover.

    Greedy, the most crowded point first.
    """
    # The limits must not move any more: a name that has been placed is placed in pixels.
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    page = _Page(axes.get_window_extent(), axes.figure.dpi / 72, [_pixels(axes, path) for path in paths if path])
    dots = _pixels(axes, [(named.x, named.y) for named in names]) if names else []
    order = sorted(range(len(names)), key=lambda index: _nearest(dots[index], dots))
    return [page.write(axes, names[index], dots[index]) for index in order]


def _pixels(axes: Axes, path: Sequence[Dot]) -> list[Dot]:
    return [(float(x), float(y)) for x, y in axes.transData.transform(list(path))]


def _nearest(dot: Dot, dots: Sequence[Dot]) -> float:
    """Distance to the nearest other named point."""
    return min((hypot(dot[0] - x, dot[1] - y) for x, y in dots if (x, y) != dot), default=1e9)


@dataclass(slots=True)
class _Page:
    """A panel in pixels, with the names that are written on it so far; ``scale``: pixels of a point (1/72 inch)."""

    frame: Bbox
    scale: float
    lines: list[list[Dot]]
    taken: list[Bbox] = field(default_factory=list)
    leaders: list[tuple[Dot, Dot]] = field(default_factory=list)

    def write(self, axes: Axes, named: Named, dot: Dot) -> Annotation:
        """Write a name at the cheapest of 112 places around its point."""
        width, height = _size(axes, named.name)
        best: tuple[float, Dot, float, Bbox] | None = None
        for distance in DISTANCES:
            if best is not None and best[0] <= distance / 6:
                break  # farther away is dearer by itself
            for turn, direction in enumerate(DIRECTIONS):
                # The side of the name that is nearest to the point is ``distance`` away.
                across = cos(direction) * (distance * self.scale + width / 2)
                centre = (dot[0] + across, dot[1] + sin(direction) * (distance * self.scale + height / 2))
                box = Bbox.from_bounds(centre[0] - width / 2, centre[1] - height / 2, width, height)
                cost = distance / 6 + turn / 40 + self._cost(box)
                if distance > LEADER:
                    cost += 4.0 + 400.0 * sum(_crosses(other, dot, centre) for other in self.taken)
                if best is None or cost < best[0]:
                    best = (cost, centre, distance, box)
        assert best is not None
        _, centre, distance, box = best
        self.taken.append(box)
        arrow = None
        if distance > LEADER:
            self.leaders.append((dot, centre))
            arrow = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
        offset = ((centre[0] - dot[0]) / self.scale, (centre[1] - dot[1]) / self.scale)
        middle: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": named.colour}
        at = (named.x, named.y)
        return axes.annotate(named.name, at, offset, textcoords="offset points", arrowprops=arrow, **middle)

    def _cost(self, box: Bbox) -> float:
        """What it costs to cover things with ``box``: another name most of all."""
        frame, near = self.frame, box.padded(3.2 * self.scale)
        outside = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
        cost = 300.0 if outside else 0.0
        cost += 1000.0 * sum(bool(box.overlaps(other)) for other in self.taken)
        cost += 60.0 * sum(bool(near.contains(x, y)) for line in self.lines for x, y in line)
        cost += 8.0 * sum(_crosses(box, *step) for line in self.lines for step in pairwise(line))
        return cost + 400.0 * sum(_crosses(box, *leader) for leader in self.leaders)


def _size(axes: Axes, name: str) -> tuple[float, float]:
    """Of the name in pixels, with a little air."""
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    text = axes.text(0, 0, name, fontsize=7)
    box = text.get_window_extent()
    text.remove()
    return box.width + 2.0, box.height + 1.0


def _crosses(box: Bbox, first: Dot, second: Dot) -> bool:
    """Whether the straight line between two points enters the box (its parameter clipped at each side)."""
    start, end = 0.0, 1.0
    for low, high, here, there in ((box.x0, box.x1, first[0], second[0]), (box.y0, box.y1, first[1], second[1])):
        step = there - here
        if step == 0:
            if not low <= here <= high:
                return False
            continue
        entry, exit_ = sorted(((low - here) / step, (high - here) / step))
        start, end = max(start, entry), min(end, exit_)
    return start <= end
