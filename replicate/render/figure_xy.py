"""Draws a panel with two axes: families by colour, shape and line style; ours filled, the paper's hollow."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from replicate.collect.figure import XY, Axis, Level, Series
from replicate.render.figure_labels import Named, place
from replicate.render.figure_style import FAINT, GRID, INK, PAGE, look

DODGE = 3.2
"""Points (1/72 inch) between families at the same place of a dodged panel."""


def draw(axes: Axes, panel: XY, letters: int) -> None:
    """Everything but the names, which need the final size: see `name_points`. Labels wrap at ``letters``."""
    axes.set_title(panel.title)
    for level in panel.levels:
        _level(axes, level)
    if panel.identity:
        _identity(axes, panel)
    families = sorted({series.family for series in panel.series})
    for series in sorted(panel.series, key=lambda one: (not one.faint, one.side == "here")):
        shift = DODGE * (families.index(series.family) - (len(families) - 1) / 2) if panel.dodged else 0.0
        _series(axes, series, shift)
    _axis(axes, "x", panel.x, letters)
    _axis(axes, "y", panel.y, letters)
    _room(axes, panel)
    if not any(series.points for series in panel.series):
        axes.text(0.5, 0.5, "nothing run yet", transform=axes.transAxes, ha="center", va="center", color=FAINT)


def name_points(axes: Axes, panel: XY) -> None:
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


def _series(axes: Axes, series: Series, shift: float) -> None:
    if not series.points:
        return
    moved = axes.transData + ScaledTranslation(shift / 72, 0, axes.figure.dpi_scale_trans)
    style = look(series.family)
    colour = FAINT if series.faint else style.colour
    here = series.side == "here"
    xs, ys = [point.x for point in series.points], [point.y for point in series.points]
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
        markerfacecolor=face,
        markeredgecolor=colour,
        markeredgewidth=0.6 if here else 1.1,
        zorder=layer + 1,
        transform=moved,
    )


def _ribbon(axes: Axes, series: Series, colour: str) -> None:
    """From the lowest to the highest seed."""
    points = [point for point in series.points if point.low is not None and point.high is not None]
    if any(point.high != point.low for point in points):
        lows = np.asarray([point.low for point in points], np.float64)
        highs = np.asarray([point.high for point in points], np.float64)
        axes.fill_between([point.x for point in points], lows, highs, color=colour, alpha=0.18, linewidth=0)


def _level(axes: Axes, level: Level) -> None:
    here = level.side == "here"
    axes.axhline(level.y, color=INK if here else FAINT, linewidth=0.9, linestyle=(0, (1.0, 2.0)), zorder=1.5)
    axes.annotate(
        level.label if here else f"{level.label} (paper)",
        (0.995, level.y),
        (0, 2.5),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=7,
        color=INK if here else FAINT,
    )


def _identity(axes: Axes, panel: XY) -> None:
    values = [value for series in panel.series for point in series.points for value in (point.x, point.y)]
    if not values:
        return
    low, high = min(values), max(values)
    if panel.x.log:
        low, high = low / 1.6, high * 1.6
    else:
        room = 0.06 * (high - low) or 1.0
        low, high = low - room, high + room
    ends = np.asarray([low, high])
    if panel.band is not None:
        axes.fill_between(ends, ends - panel.band, ends + panel.band, color=GRID, zorder=0.5, linewidth=0)
    axes.plot(ends, ends, color=FAINT, linewidth=0.8, zorder=1)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)


def _axis(axes: Axes, which: str, axis: Axis, letters: int) -> None:
    side = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xlabel if which == "x" else axes.set_ylabel)(textwrap.fill(axis.label, letters))
    if axis.log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
        subs: Sequence[float] = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
        side.set_major_locator(LogLocator(10, subs=subs, numticks=20))
        side.set_major_formatter(FuncFormatter(_plain))
        side.set_minor_formatter(NullFormatter())
        side.set_minor_locator(NullLocator())
    elif axis.ticks:
        side.set_ticks([value for value, _ in axis.ticks], [text for _, text in axis.ticks])
    else:
        side.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))


def _plain(value: float, _: object) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= 10 * size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _room(axes: Axes, panel: XY) -> None:
    """Air around the points, more where names have to fit."""
    if panel.identity or not any(series.points for series in panel.series):
        return
    named = any(point.name for series in panel.series for point in series.points)
    axes.margins(x=0.09 if named else 0.05, y=0.12 if named else 0.08)
