"""Draws the panels of a figure, each kind by one function. Ours is filled, the paper's hollow."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

# First, since it imports matplotlib away from the user's surroundings.
from replicate.figures.style import FAINT, GRID, INK, PAGE, look

# isort: split
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from replicate.figures.labels import Named, place
from replicate.figures.model import Axis, Bar, HeatmapPanel, Level, MarginPanel, Series, XYPanel

BAND = "#d5dae2"

SMALL = 3.6
"""Markers where hundreds stand together."""
DODGE = 3.2
"""Points (1/72 inch) between families at the same place of a dodged panel."""
SHIFT = {"here": -0.17, "paper": 0.17}
HEADING = 0.9
"""Rows that the heading of a group of margins takes."""
COLOURS = "Blues"
"""Falls evenly in lightness: it reads the same in grey and to the colour-blind."""


def draw_xy(axes: Axes, panel: XYPanel, letters: int) -> None:
    """Draw points and lines over two axes. Labels wrap at ``letters``. Names need the final size: see `name_points`."""
    axes.set_title(textwrap.fill(panel.title, int(0.85 * letters)))
    for level in panel.levels:
        axes.axhline(level.y, **level_look(level))
    across, up = _ends(panel)
    _axis(axes, "x", panel.x, letters, across)
    _axis(axes, "y", panel.y, letters, up)
    if panel.identity:
        axes.set_box_aspect(1)
        _identity(axes, panel, across)
    families = sorted({series.family for series in panel.series})
    for series in sorted(panel.series, key=lambda drawn: (not drawn.faint, drawn.side == "here")):
        shift = DODGE * (families.index(series.family) - (len(families) - 1) / 2) if panel.dodged else 0.0
        _series(axes, series, shift, SMALL if panel.identity else None, panel.floor)
    if not any(series.points for series in panel.series):
        sentence = "nothing run yet" if panel.series else "nothing to show"
        axes.text(0.5, 0.5, sentence, transform=axes.transAxes, ha="center", va="center", color=FAINT)
        # Numbers on axes without any value would mean nothing.
        axes.tick_params(length=0, labelbottom=False, labelleft=False)


def name_points(axes: Axes, panel: XYPanel) -> None:
    """Write the names of the points, once size and limits are final."""
    paths = [[(point.x, point.y) for point in series.points] for series in panel.series]
    # Of an unjoined series only the points must stay free.
    free = [path for path, series in zip(paths, panel.series, strict=True) if series.joined]
    free += [[dot] for path, series in zip(paths, panel.series, strict=True) if not series.joined for dot in path]
    free += [
        [(point.x, point.low), (point.x, point.high)]
        for series in panel.series
        for point in series.points
        if point.low is not None and point.high is not None and point.high > point.low
    ]
    named = [
        Named(point.x, point.y, point.name, look(series.family).colour)
        for series in panel.series
        for point in series.points
        if point.name
    ]
    place(axes, named, free)


def _series(axes: Axes, series: Series, shift: float, size: float | None, floor: float | None) -> None:
    if not series.points:
        return
    moved = axes.transData + ScaledTranslation(shift / 72, 0, axes.figure.dpi_scale_trans)
    style = look(series.family)
    colour = FAINT if series.faint else style.colour
    here = series.side == "here"
    xs = [point.x if floor is None else max(point.x, floor) for point in series.points]
    ys = [point.y if floor is None else max(point.y, floor) for point in series.points]
    layer = 3.0 if here else 2.0
    if series.joined:
        width = 0.9 if series.faint or not here else 1.4
        axes.plot(xs, ys, linestyle=style.line, color=colour, linewidth=width, zorder=layer, transform=moved)
    if not series.marked:
        _ribbon(axes, series, colour)
        return
    for point in series.points:
        if point.low is not None and point.high is not None and point.high > point.low:
            ends = [point.low, point.high]
            axes.plot([point.x, point.x], ends, color=colour, linewidth=0.8, alpha=0.7, zorder=layer, transform=moved)
    face = colour if here else PAGE
    axes.plot(
        xs,
        ys,
        linestyle="none",
        marker=style.marker,
        markersize=size,
        markerfacecolor=face,
        markeredgecolor=colour,
        markeredgewidth=0.6 if here else 1.1,
        zorder=layer + 1,
        transform=moved,
        clip_on=False,
    )


def _ribbon(axes: Axes, series: Series, colour: str) -> None:
    """From the lowest to the highest seed."""
    points = [point for point in series.points if point.low is not None and point.high is not None]
    if any(point.high != point.low for point in points):
        lows = np.asarray([point.low for point in points], np.float64)
        highs = np.asarray([point.high for point in points], np.float64)
        axes.fill_between([point.x for point in points], lows, highs, color=colour, alpha=0.18, linewidth=0)


def level_look(level: Level) -> dict[str, Any]:
    """Of a horizontal line, in the panel and in the legend."""
    colour = INK if level.side == "here" else FAINT
    return {"color": colour, "linewidth": 1.0, "linestyle": (0.0, (1.0, 2.0)), "zorder": 1.5}


def _identity(axes: Axes, panel: XYPanel, ends: tuple[float, float]) -> None:
    """The line of equal values, and the band around it."""
    if not any(series.points for series in panel.series):
        return
    # Many steps: on a logarithmic axis the edges of a band are curves.
    along = np.geomspace(*ends, 200) if panel.x.log and ends[0] > 0 else np.linspace(*ends, 200)
    if panel.band is not None:
        axes.fill_between(along, along - panel.band, along + panel.band, color=BAND, zorder=0.5, linewidth=0)
    axes.plot(along, along, color=FAINT, linewidth=0.8, zorder=1)


def _axis(axes: Axes, which: str, axis: Axis, letters: int, ends: tuple[float, float]) -> None:
    """Label, scale, limits and ticks. ``ends``: what has to be seen."""
    x = which == "x"
    side = axes.xaxis if x else axes.yaxis
    (axes.set_xlabel if x else axes.set_ylabel)(textwrap.fill(axis.label, letters))
    (axes.set_xlim if x else axes.set_ylim)(*ends)
    if axis.log and ends[0] > 0:
        (axes.set_xscale if x else axes.set_yscale)("log")
        (axes.set_xlim if x else axes.set_ylim)(*ends)
        subs: Sequence[float] = (1.0, 2.0, 5.0) if ends[1] / ends[0] < 300 else (1.0,)
        side.set_major_locator(LogLocator(10, subs=subs, numticks=7 if len(subs) == 1 else 20))
        side.set_major_formatter(FuncFormatter(_plain))
        side.set_minor_formatter(NullFormatter())
        side.set_minor_locator(NullLocator())
    elif axis.ticks:
        side.set_ticks([value for value, _ in axis.ticks], [text for _, text in axis.ticks])
    else:
        side.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))


def _plain(value: float, _: object) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= (10 * size if letter == "k" else size):
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _ends(panel: XYPanel) -> tuple[tuple[float, float], tuple[float, float]]:
    """The limits of both axes: everything drawn and air around it, more where names have to fit."""
    points = [point for series in panel.series for point in series.points]
    named = any(point.name for point in points)
    xs = [point.x for point in points] + [value for value, _ in panel.x.ticks]
    ys = [end for point in points for end in (point.y, point.low, point.high) if end is not None]
    ys += [level.y for level in panel.levels] + [value for value, _ in panel.y.ticks]
    if panel.identity:
        xs = ys = [value for value in xs + [point.y for point in points] if value >= (panel.floor or value)]
    if panel.floor is not None:
        top = max(xs)
        return (panel.floor, top + 0.04 * (top - panel.floor)), (panel.floor, top + 0.04 * (top - panel.floor))
    air = 0.06 if panel.identity else 0.1 if named else 0.06
    return _aired(xs, panel.x.log, air), _aired(ys, panel.y.log, air)


def _aired(values: Sequence[float], log: bool, air: float) -> tuple[float, float]:
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if log and low > 0:
        room = (high / low) ** air if high > low else 1.5
        return low / room, high * room
    room = air * (high - low) or 0.5
    return low - room, high + room


def margins_height(panel: MarginPanel) -> float:
    """In rows, headings included."""
    return len(panel.rows) + HEADING * len(panel.groups)


def draw_margins(axes: Axes, panel: MarginPanel, with_rows: bool) -> None:
    """Draw a dot with its interval a row. ``with_rows`` writes the labels at the left, for the first of neighbours."""
    places = _margin_places(panel)
    axes.set_title(panel.title)
    axes.axvline(0, color=FAINT, linewidth=0.9, zorder=1)
    axes.set_xlim(*_reach(panel))
    for bar in panel.bars:
        _bar(axes, bar, places[bar.at] + SHIFT[bar.side], panel.limit)
    axes.set_ylim(margins_height(panel) - 0.4, -0.6)
    axes.set_yticks(places, list(panel.rows) if with_rows else [""] * len(places))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    for at, middle in enumerate(places):
        if at % 2 == 0:
            axes.axhspan(middle - 0.5, middle + 0.5, color=GRID, alpha=0.35, linewidth=0, zorder=0)
    if with_rows:
        for first, heading in panel.groups:
            at_left: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center"}
            axes.text(-0.012, places[first] - 0.75, heading, color=FAINT, fontsize=7.5, fontweight="bold", **at_left)
    axes.set_xlabel(panel.label)


def _margin_places(panel: MarginPanel) -> list[float]:
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
        # An arrow says that the interval goes on beyond the axis.
        for end, edge, marker in ((bar.low, -limit, "<"), (bar.high, limit, ">")):
            if abs(end) > limit and end * edge > 0:
                axes.plot([edge], [at], marker=marker, color=style.colour, markersize=4, zorder=2)
    axes.plot([bar.value], [at], marker="o" if bar.side == "here" else "s", **marks)


def draw_heatmap(axes: Axes, panel: HeatmapPanel, top: float, with_rows: bool) -> None:
    """Draw numbers in a grid, the larger the darker. ``top`` is the value of the darkest colour."""
    import seaborn as sns  # It takes longer to import than a figure to draw, and no other panel needs it.

    values = np.asarray([[np.nan if value is None else value for value in row] for row in panel.values], np.float64)
    shown = np.asarray(panel.shown, dtype=object)
    axes.set_title(panel.title)
    axes.set_facecolor(GRID)
    axes.grid(False)
    sns.heatmap(
        values,
        ax=axes,
        cmap=COLOURS,
        vmin=0.0,
        vmax=1.15 * top,  # the darkest tones swallow the numbers
        annot=shown,
        fmt="",
        annot_kws={"fontsize": 7.5},
        linewidths=1.0,
        linecolor=PAGE,
        cbar=False,
        square=True,
        xticklabels=list(panel.columns),
        yticklabels=list(panel.rows) if with_rows else False,
    )
    for at, row in enumerate(panel.values):
        for across, value in enumerate(row):
            if value is None:
                mark = panel.shown[at][across]
                axes.text(across + 0.5, at + 0.5, mark, ha="center", va="center", color=FAINT, fontsize=7.5)
    axes.tick_params(length=0)
    axes.set_xticks(axes.get_xticks(), list(panel.columns), rotation=35, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="y", rotation=0)
    axes.set_xlabel(panel.label)
