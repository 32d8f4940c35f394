"""A finished figure to PDF, PNG and SVG: the same figure gives the same bytes.

Banner above, panels, one legend below them with what is missing, notes last.
"""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Literal, TypeVar, assert_never

# First, since it imports matplotlib away from the user's surroundings.
from replicate.figures.style import FAINT, INK, METADATA, PAGE, WARN_INK, WARN_PAGE, WIDTH, Line, house_style, look

# isort: split
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from replicate.errors import UnknownName, UserError
from replicate.figures import draw_panels
from replicate.figures.model import SIDES, Figure, HeatmapPanel, MarginPanel, Panel, Side, XYPanel
from replicate.store.files import write_bytes
from replicate.text import named

FORMATS = ("pdf", "png", "svg")
COLUMNS = 3
LETTERS = 96
"""Of an axis label, over the whole width."""
LINE = 0.145
"""Inches of a line of small print."""
MEANING: Mapping[Side, str] = {"here": "filled: here", "paper": "hollow: the paper"}

_BOX = re.compile(r"Glyph (\d+)")
"""What matplotlib warns of where the font lacks a character."""

P = TypeVar("P", XYPanel, HeatmapPanel, MarginPanel)


def write(figure: Figure, folder: Path, formats: Iterable[str]) -> list[Path]:
    """Write ``figure`` into ``folder`` in each of ``formats``; the paths, in that order. Raises UnknownName."""
    names = list(dict.fromkeys(formats))
    for name in names:
        if name not in FORMATS:
            raise UnknownName("format", name, FORMATS)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with _whole(figure):
        canvas = draw(figure)
        for name in names:
            path = folder / f"{figure.id}.{name}"
            write_bytes(path, _bytes(canvas, name))
            paths.append(path)
    return paths


def render(figure: Figure, name: str) -> bytes:
    """The file of one format."""
    with _whole(figure):
        return _bytes(draw(figure), name)


@contextmanager
def _whole(figure: Figure) -> Iterator[None]:
    """The house style. Raises UserError for a character that would be an empty box."""
    with warnings.catch_warnings(), house_style():
        warnings.filterwarnings("error", message=_BOX.pattern)
        try:
            yield
        except UserWarning as warning:
            match = _BOX.match(str(warning))
            if match is None:
                raise
            raise UserError(
                f"{figure.spec or figure.id}: a figure cannot show {named(chr(int(match[1])))}\n  write it in words"
            ) from warning


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
        # The solver of the layout goes by addresses in memory, so its last bits differ from process to process.
        x, y, width, height = (round(float(edge), 9) for edge in axes.get_position().bounds)
        axes.set_position((x, y, width, height))
        if isinstance(panel, XYPanel):
            draw_panels.name_points(axes, panel)
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
    match panel:
        case XYPanel():
            draw_panels.draw_xy(axes, panel, letters)
        case HeatmapPanel():
            # One scale of colours for both sides, unless they are two experiments.
            top = max(map(_largest, _of_type(figure, HeatmapPanel))) if figure.comparable else _largest(panel)
            draw_panels.draw_heatmap(axes, panel, top or 1.0, first)
        case MarginPanel():
            draw_panels.draw_margins(axes, panel, first)
        case _:
            assert_never(panel)


def _of_type(figure: Figure, type_: type[P]) -> list[P]:
    return [panel for panel in figure.panels if isinstance(panel, type_)]


def _largest(panel: HeatmapPanel) -> float:
    return max((value for row in panel.values for value in row if value is not None), default=0.0)


def _panel_height(figure: Figure, columns: int) -> float:
    first = figure.panels[0]
    match first:
        case XYPanel():
            return WIDTH / columns + 0.12 if first.identity else {1: 3.4, 2: 3.1}.get(columns, 2.7)
        case HeatmapPanel():
            return 3.7
        case MarginPanel():
            return 0.75 + 0.235 * max(map(draw_panels.margins_height, _of_type(figure, MarginPanel)))
        case _:
            assert_never(first)


def _banner(canvas: Canvas, text: str, y: float) -> None:
    box = {"boxstyle": "square,pad=0.45", "facecolor": WARN_PAGE, "edgecolor": "none"}
    canvas.text(0.5, y, text, ha="center", va="center", fontsize=8.5, fontweight="bold", color=WARN_INK, bbox=box)


def _small_print(figure: Figure) -> list[str]:
    """Notes, what the numbers and their intervals are, and the paper's source; wrapped to the width."""
    several = len(figure.seeds) > 1
    parts = [f"Here: scale '{figure.scale}', {_networks(figure)}."]
    if _of_type(figure, MarginPanel):
        parts.append("Intervals: 95 %, paired over the test images and over seeds.")
    panels = _of_type(figure, XYPanel)
    points = [point for panel in panels for series in panel.series for point in series.points]
    if any(point.low is not None and point.low != point.high for point in points):
        if figure.kind == "curves":
            parts.append("Shaded: from the lowest to the highest seed.")
        else:
            parts.append(f"Vertical lines: 95 % intervals over {'seeds' if several else 'the test images'}.")
    bands = {panel.band for panel in panels if panel.band is not None}
    if bands:
        widths = " and ".join(f"±{band:g}" for band in sorted(bands))
        parts.append(f"Bands: {widths}, the tolerance of most cells of a panel; each cell is judged by its own.")
    for panel in panels:
        if panel.floor is not None:
            below = sum(min(point.x, point.y) < panel.floor for series in panel.series for point in series.points)
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
    handles: dict[str, Line2D] = {}
    families: set[tuple[int, str]] = set()
    bars = bool(_of_type(figure, MarginPanel))
    mixed = bars
    for panel in _of_type(figure, XYPanel):
        mixed = mixed or len({series.side for series in panel.series if series.points}) > 1
        for series in panel.series:
            if series.label and series.label not in handles and (series.points or series.side == "here"):
                families.add((series.family, series.label))
                style = look(series.family)
                colour = FAINT if series.faint else style.colour
                line: Line | Literal["none"] = style.line if series.joined else "none"
                marker = style.marker if series.marked else "none"
                handles[series.label] = Line2D([], [], color=colour, linestyle=line, marker=marker, label=series.label)
        for level in panel.levels:
            label = f"{level.label} (paper)" if level.side == "paper" and figure.comparable else level.label
            handles.setdefault(label, Line2D([], [], label=label, **draw_panels.level_look(level)))
    listed = list(handles.values())
    if figure.kind == "identity":
        listed = [handles[label] for _, label in sorted(families)]
    if mixed:
        listed += [_side(side, bars) for side in SIDES]
    if figure.state:
        listed.append(Line2D([], [], linestyle="none", marker="none", label=figure.state))
    return listed


def _side(side: Side, bars: bool) -> Line2D:
    style = look(0 if side == "here" else 1)
    colour = style.colour if bars else INK
    marker = "o" if side == "here" or not bars else "s"
    face = colour if side == "here" else PAGE
    label = f"{MEANING[side]}, with 95 % interval" if bars and side == "here" else MEANING[side]
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
