"""Draws a panel of margins: a dot with its interval a row, ours filled, the paper's hollow."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from replicate.figures.model import Bar, MarginPanel
from replicate.figures.style import FAINT, GRID, INK, PAGE, look

SHIFT = {"here": -0.17, "paper": 0.17}
HEADING = 0.9
"""Rows that the heading of a group takes."""


def height(panel: MarginPanel) -> float:
    """In rows, headings included."""
    return len(panel.rows) + HEADING * len(panel.groups)


def draw_margins(axes: Axes, panel: MarginPanel, with_rows: bool) -> None:
    """``with_rows`` writes the labels at the left: only the first of neighbours needs them."""
    places = _places(panel)
    axes.set_title(panel.title)
    axes.axvline(0, color=FAINT, linewidth=0.9, zorder=1)
    axes.set_xlim(*_reach(panel))
    for bar in panel.bars:
        _bar(axes, bar, places[bar.at] + SHIFT[bar.side], panel.limit)
    axes.set_ylim(height(panel) - 0.4, -0.6)
    axes.set_yticks(places, list(panel.rows) if with_rows else [""] * len(places))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    for at, place in enumerate(places):
        if at % 2 == 0:
            axes.axhspan(place - 0.5, place + 0.5, color=GRID, alpha=0.35, linewidth=0, zorder=0)
    if with_rows:
        for first, heading in panel.groups:
            at_left: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center"}
            axes.text(-0.012, places[first] - 0.75, heading, color=FAINT, fontsize=7.5, fontweight="bold", **at_left)
    axes.set_xlabel(panel.label)


def _places(panel: MarginPanel) -> list[float]:
    firsts = {first for first, _ in panel.groups}
    places, at = [], 0.0
    for row in range(len(panel.rows)):
        at += HEADING if row in firsts else 0.0
        places.append(at)
        at += 1.0
    return places


def _reach(panel: MarginPanel) -> tuple[float, float]:
    """What the axis shows: all ends that are within the limit, zero, and some air."""
    ends = [end for bar in panel.bars for end in (bar.value, bar.low, bar.high) if end is not None]
    low = max(-panel.limit, min([0.0, *ends]))
    high = min(panel.limit, max([0.0, *ends]))
    room = 0.08 * (high - low) or 1.0
    return low - room, high + room


def _bar(axes: Axes, bar: Bar, at: float, limit: float) -> None:
    style = look(0 if bar.side == "here" else 1)
    face = style.colour if bar.side == "here" else PAGE
    marks: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": style.colour, "zorder": 3, "markersize": 5}
    if abs(bar.value) > limit:
        side = -1 if bar.value < 0 else 1
        axes.plot([side * limit], [at], marker="<" if side < 0 else ">", **marks)
        axes.annotate(
            bar.shown,
            (side * limit, at),
            (-6 * side, 0),
            textcoords="offset points",
            ha="left" if side < 0 else "right",
            va="center",
            fontsize=6.5,
            color=INK,
        )
        return
    if bar.low is not None and bar.high is not None:
        ends = [max(bar.low, -limit), min(bar.high, limit)]
        axes.plot(ends, [at, at], color=style.colour, linewidth=1.1, zorder=2, solid_capstyle="butt")
    axes.plot([bar.value], [at], marker="o" if bar.side == "here" else "s", **marks)
