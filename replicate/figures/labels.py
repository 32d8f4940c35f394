"""Names beside points, placed so that none covers another, a point or a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, hypot, pi, sin

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from replicate.figures.style import FAINT

DISTANCES = (5.5, 8.5, 12.0, 17.0, 24.0, 32.0, 42.0)
"""From the point to the nearest side of the name, in points (1/72 inch)."""
DIRECTIONS = tuple(2 * pi * turn / 16 for turn in (2, 6, 14, 10, 0, 8, 4, 12, 1, 3, 5, 7, 9, 11, 13, 15))
LEADER = 9.0
"""A name farther away than this gets a thin line to its point."""


@dataclass(frozen=True, slots=True)
class Named:
    """A point with a name, in data coordinates."""

    x: float
    y: float
    name: str
    colour: str


def place(axes: Axes, names: Sequence[Named], paths: Sequence[Sequence[tuple[float, float]]]) -> list[Annotation]:
    """Write ``names``. ``paths`` are the points and lines (data coordinates) that no name should cover.

    Greedy, the most crowded point first: for each the cheapest of 112 places, where covering another name costs
    more than anything else.
    """
    # The limits must not move any more: a name that has been placed is placed in pixels.
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    scale = axes.figure.dpi / 72
    pixels = [[(float(x), float(y)) for x, y in axes.transData.transform(list(path))] for path in paths if path]
    dots = [dot for path in pixels for dot in path]
    at = [(float(x), float(y)) for x, y in axes.transData.transform([(one.x, one.y) for one in names])] if names else []
    order = sorted(range(len(names)), key=lambda index: _room(at[index], at))
    taken: list[Bbox] = []
    leaders: list[tuple[tuple[float, float], tuple[float, float]]] = []
    written = []
    frame = axes.get_window_extent()
    for index in order:
        one = names[index]
        width, height = _size(axes, one.name)
        best: tuple[float, tuple[float, float], float] | None = None
        for distance in DISTANCES:
            if best is not None and best[0] <= distance / 6:
                break  # farther away is dearer by itself
            for turn, direction in enumerate(DIRECTIONS):
                centre = _centre(at[index], direction, distance * scale, width, height)
                box = Bbox.from_bounds(centre[0] - width / 2, centre[1] - height / 2, width, height)
                cost = distance / 6 + turn / 40 + _cost(box, frame, taken, dots, pixels, scale)
                cost += 400.0 * sum(_crosses(box, *leader) for leader in leaders)
                if distance > LEADER:
                    cost += 4.0 + 400.0 * sum(_crosses(other, at[index], centre) for other in taken)
                if best is None or cost < best[0]:
                    best = (cost, centre, distance)
        assert best is not None
        _, centre, distance = best
        taken.append(Bbox.from_bounds(centre[0] - width / 2, centre[1] - height / 2, width, height))
        if distance > LEADER:
            leaders.append((at[index], centre))
        offset = ((centre[0] - at[index][0]) / scale, (centre[1] - at[index][1]) / scale)
        arrow = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
        written.append(
            axes.annotate(
                one.name,
                (one.x, one.y),
                offset,
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=7,
                color=one.colour,
                arrowprops=arrow if distance > LEADER else None,
            )
        )
    return written


def _size(axes: Axes, name: str) -> tuple[float, float]:
    """Of the name in pixels, with a little air."""
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    text = axes.text(0, 0, name, fontsize=7)
    box = text.get_window_extent()
    text.remove()
    return box.width + 2.0, box.height + 1.0


def _room(dot: tuple[float, float], dots: Sequence[tuple[float, float]]) -> float:
    """Distance to the nearest other named point."""
    return min((hypot(dot[0] - x, dot[1] - y) for x, y in dots if (x, y) != dot), default=1e9)


def _centre(
    dot: tuple[float, float], direction: float, distance: float, width: float, height: float
) -> tuple[float, float]:
    """Of a box whose side nearest to ``dot`` is ``distance`` away."""
    across, up = cos(direction), sin(direction)
    return dot[0] + across * (distance + width / 2), dot[1] + up * (distance + height / 2)


def _cost(
    box: Bbox,
    frame: Bbox,
    taken: Sequence[Bbox],
    dots: Sequence[tuple[float, float]],
    pixels: Sequence[Sequence[tuple[float, float]]],
    scale: float,
) -> float:
    cost = 0.0
    if box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1:
        cost += 300.0
    cost += 1000.0 * sum(bool(box.overlaps(other)) for other in taken)
    near = box.padded(3.2 * scale)
    cost += 60.0 * sum(bool(near.contains(x, y)) for x, y in dots)
    cost += 8.0 * sum(_crosses(box, one, other) for path in pixels for one, other in pairwise(path))
    return cost


def _crosses(box: Bbox, one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether the straight line between two points enters the box (its parameter clipped at each side)."""
    start, end = 0.0, 1.0
    for low, high, here, there in ((box.x0, box.x1, one[0], other[0]), (box.y0, box.y1, one[1], other[1])):
        step = there - here
        if step == 0:
            if not low <= here <= high:
                return False
            continue
        first, last = sorted(((low - here) / step, (high - here) / step))
        start, end = max(start, first), min(end, last)
    return start <= end
