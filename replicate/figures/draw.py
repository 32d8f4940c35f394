"""A finished figure to PDF, PNG and SVG: the same figure gives the same bytes.

Banner above, panels, one legend below them with what is missing, notes last.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from replicate.errors import UnknownName
from replicate.figures import draw_xy
from replicate.figures.model import Bar, Bars, Field, Figure, Panel, Side, XYPanel
from replicate.figures.style import (
    FAINT,
    GRID,
    INK,
    METADATA,
    PAGE,
    WARN_INK,
    WARN_PAGE,
    WIDTH,
    Line,
    house_style,
    look,
)
from replicate.store.files import write_bytes

FORMATS = ("pdf", "png", "svg")
COLUMNS = 3
LETTERS = 96
"""Of an axis label, over the whole width."""
LINE = 0.145
"""Inches of a line of small print."""
SIDES = {"here": "filled: here", "paper": "hollow: the paper"}


def write(figure: Figure, folder: Path, formats: Iterable[str]) -> list[Path]:
    """Write ``figure`` into ``folder`` in each of ``formats``; the paths, in that order. Raises UnknownName."""
    names = list(dict.fromkeys(formats))
    for name in names:
        if name not in FORMATS:
            raise UnknownName("format", name, FORMATS)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with house_style():
        canvas = draw(figure)
        for name in names:
            path = folder / f"{figure.id}.{name}"
            write_bytes(path, _bytes(canvas, name))
            paths.append(path)
    return paths


def render(figure: Figure, name: str) -> bytes:
    """The file of one format."""
    with house_style():
        return _bytes(draw(figure), name)


def _bytes(canvas: Canvas, name: str) -> bytes:
    stream = BytesIO()
    canvas.savefig(stream, format=name, metadata=dict(METADATA[name]))
    return stream.getvalue()


def draw(figure: Figure) -> Canvas:
    """The figure on a canvas of its final size. Only inside ``house_style``."""
    mosaic = _mosaic(figure)
    rows, columns = len(mosaic), len(mosaic[0])
    canvas = Canvas()
    FigureCanvasAgg(canvas)
    small = _small_print(figure)
    top = 0.36 if figure.banner else 0.06
    bottom = 0.06 + LINE * len(small)
    canvas.set_size_inches(WIDTH, 1.0)
    legend = _legend_height(canvas, figure)
    height = top + rows * _panel_height(figure, columns) + legend + bottom
    canvas.set_size_inches(WIDTH, height)
    if figure.banner:
        _banner(canvas, figure.banner, 1 - 0.17 / height)
    _legend(canvas, figure, bottom / height)
    for index, line in enumerate(small):
        canvas.text(0.012, (bottom - 0.02 - LINE * (index + 1) + 0.03) / height, line, fontsize=6.5, color=FAINT)
    low = (bottom + legend) / height
    canvas.set_layout_engine("constrained", rect=(0.01, low, 0.98, 1 - top / height - low), wspace=0.05, hspace=0.06)
    axes_of = canvas.subplot_mosaic([list(row) for row in mosaic])
    places = [axes_of[str(index)] for index in range(len(figure.panels))]
    for index, (axes, panel) in enumerate(zip(places, figure.panels, strict=True)):
        _panel(axes, figure, panel, first=index % columns == 0, letters=int(LETTERS / columns))
    # The names need the final place of everything else: lay out (turned labels settle the second time), then freeze.
    canvas.draw_without_rendering()
    canvas.draw_without_rendering()
    canvas.set_layout_engine("none")
    for axes, panel in zip(places, figure.panels, strict=True):
        if isinstance(panel, XYPanel):
            draw_xy.name_points(axes, panel)
    return canvas


def _mosaic(figure: Figure) -> list[list[str]]:
    """Which panel stands where, by number; "." is empty.

    Of many identity panels the first is drawn large: most cells are in it.
    """
    count = len(figure.panels)
    first = figure.panels[0]
    if isinstance(first, XYPanel) and first.identity and count >= 4:
        small = [*map(str, range(3, count)), *("." * (-count % 3))]
        return [["0", "0", "1"], ["0", "0", "2"], *(small[at : at + 3] for at in range(0, len(small), 3))]
    columns = 2 if count == 4 else min(COLUMNS, count)
    cells = [*map(str, range(count)), *("." * (-count % columns))]
    return [cells[at : at + columns] for at in range(0, len(cells), columns)]


def _panel(axes: Axes, figure: Figure, panel: Panel, first: bool, letters: int) -> None:
    if isinstance(panel, XYPanel):
        draw_xy.draw_xy(axes, panel, letters)
        if panel.identity:
            axes.set_box_aspect(1)
    elif isinstance(panel, Field):
        # seaborn takes longer to import than a figure to draw, and only these need it.

        # One scale of colours for both sides, unless they are two experiments.
        draw_heatmap(axes, panel, _top(figure) if figure.comparable else None, first)
    else:
        draw_margins(axes, panel, first)


def _top(figure: Figure) -> float:
    fields = [panel for panel in figure.panels if isinstance(panel, Field)]
    return max((value for one in fields for row in one.values for value in row if value is not None), default=1.0)


def _panel_height(figure: Figure, columns: int) -> float:
    first = figure.panels[0]
    if isinstance(first, Bars):
        return 0.75 + 0.235 * max(height(panel) for panel in figure.panels if isinstance(panel, Bars))
    if isinstance(first, Field):
        return 3.7
    if first.identity:
        return WIDTH / columns + 0.12
    return {1: 3.4, 2: 3.1}.get(columns, 2.7)


def _banner(canvas: Canvas, text: str, y: float) -> None:
    box = {"boxstyle": "square,pad=0.45", "facecolor": WARN_PAGE, "edgecolor": "none"}
    canvas.text(0.5, y, text, ha="center", va="center", fontsize=8.5, fontweight="bold", color=WARN_INK, bbox=box)


def _small_print(figure: Figure) -> list[str]:
    """Notes, what the numbers and their intervals are, and the paper's source; wrapped to the width."""
    several = len(figure.seeds) > 1
    parts = [f"Here: scale '{figure.scale}', {_networks(figure)}."]
    if any(isinstance(panel, Bars) for panel in figure.panels):
        parts.append("Intervals: 95 %, paired over the test images and over seeds.")
    points = [
        point for panel in figure.panels if isinstance(panel, XYPanel) for one in panel.series for point in one.points
    ]
    if any(point.low is not None and point.low != point.high for point in points):
        if figure.kind == "curves":
            parts.append("Shaded: from the lowest to the highest seed.")
        else:
            parts.append(f"Vertical lines: 95 % intervals over {'seeds' if several else 'the test images'}.")
    bands = {panel.band for panel in figure.panels if isinstance(panel, XYPanel) and panel.band is not None}
    if bands:
        widths = " and ".join(f"±{band:g}" for band in sorted(bands))
        parts.append(f"Bands: {widths}, the tolerance of most cells of a panel; each cell is judged by its own.")
    for panel in figure.panels:
        if isinstance(panel, XYPanel) and panel.floor is not None:
            below = sum(min(point.x, point.y) < panel.floor for one in panel.series for point in one.points)
            parts.append(f"{below} points below {panel.floor:g} stand at the edge.")
    if figure.source:
        parts.append(f"Paper: {figure.source}.")
    return [line for note in (*figure.notes, " ".join(parts)) for line in textwrap.wrap(note, 138)]


def _networks(figure: Figure) -> str:
    """Which networks the values are of: nobody knows the seed of a published one."""
    seeds = f"seed{'s' if len(figure.seeds) > 1 else ''} {', '.join(map(str, figure.seeds))}"
    if "released weights" not in figure.origins:
        return seeds
    return "released weights" + (f", and {seeds} of what was trained" if "trained here" in figure.origins else "")


def _handles(figure: Figure) -> list[Line2D]:
    """A family once however many panels show it, then the two sides where a panel has both, then what is missing."""
    found: dict[str, Line2D] = {}
    families: set[tuple[int, str]] = set()
    mixed = False
    for panel in figure.panels:
        if isinstance(panel, Bars):
            mixed = True
        if not isinstance(panel, XYPanel):
            continue
        mixed = mixed or len({series.side for series in panel.series if series.points}) > 1
        for series in panel.series:
            if series.label and series.label not in found and (series.points or series.side == "here"):
                families.add((series.family, series.label))
                style = look(series.family)
                colour = FAINT if series.faint else style.colour
                line: Line | Literal["none"] = style.line if series.joined else "none"
                marker = style.marker if series.marked else "none"
                found[series.label] = Line2D([], [], color=colour, linestyle=line, marker=marker, label=series.label)
        for level in panel.levels:
            label = f"{level.label} (paper)" if level.side == "paper" and figure.comparable else level.label
            found.setdefault(label, Line2D([], [], label=label, **draw_xy.level_look(level)))
    handles = list(found.values())
    if figure.kind == "identity":
        handles = [found[label] for _, label in sorted(families)]
    bars = any(isinstance(panel, Bars) for panel in figure.panels)
    if mixed:
        handles += [_side(side, bars) for side in get_args(Side)]
    if figure.state:
        handles.append(Line2D([], [], linestyle="none", marker="none", label=figure.state))
    return handles


def _side(side: Side, bars: bool) -> Line2D:
    style = look(0 if side == "here" else 1)
    colour = style.colour if bars else INK
    marker = "o" if side == "here" or not bars else "s"
    face = colour if side == "here" else PAGE
    label = f"{SIDES[side]}, with 95 % interval" if bars and side == "here" else SIDES[side]
    return Line2D([], [], linestyle="none", marker=marker, markeredgecolor=colour, markerfacecolor=face, label=label)


def _legend(canvas: Canvas, figure: Figure, bottom: float) -> None:
    handles = _handles(figure)
    if handles:
        longest = max(len(str(handle.get_label())) for handle in handles)
        columns = max(1, min(len(handles), int(118 / (longest + 9))))
        canvas.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, bottom), ncols=columns, borderpad=0.2)


def _legend_height(canvas: Canvas, figure: Figure) -> float:
    """In inches, measured; the legend is taken off again."""
    _legend(canvas, figure, 0.0)
    if not canvas.legends:
        return 0.0
    agg = canvas.canvas
    assert isinstance(agg, FigureCanvasAgg)
    agg.draw()  # type: ignore[no-untyped-call]
    height = canvas.legends[0].get_window_extent().height / canvas.dpi
    canvas.legends[0].remove()
    return float(height) + 0.04


SHIFT = {"here": -0.17, "paper": 0.17}
HEADING = 0.9
"""Rows that the heading of a group takes."""


def height(panel: Bars) -> float:
    """In rows, headings included."""
    return len(panel.rows) + HEADING * len(panel.groups)


def draw_margins(axes: Axes, panel: Bars, with_rows: bool) -> None:
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


def _places(panel: Bars) -> list[float]:
    firsts = {first for first, _ in panel.groups}
    found, at = [], 0.0
    for row in range(len(panel.rows)):
        at += HEADING if row in firsts else 0.0
        found.append(at)
        at += 1.0
    return found


def _reach(panel: Bars) -> tuple[float, float]:
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


COLOURS = "Blues"
"""Falls evenly in lightness: it reads the same in grey and to the colour-blind."""


def draw_heatmap(axes: Axes, panel: Field, top: float | None, with_rows: bool) -> None:
    """``top`` is the value of the darkest colour, the panel's own largest one if None."""
    values = np.asarray([[np.nan if value is None else value for value in row] for row in panel.values], np.float64)
    shown = np.asarray(panel.shown, dtype=object)
    known = values[np.isfinite(values)]
    top = top if top is not None else float(np.max(known)) if known.size else 1.0
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
