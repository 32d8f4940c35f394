"""The house style of figures: one look, one page width, nothing that depends on the machine or the day.

Colours are Okabe and Ito's, which stay apart for the colour-blind, in an order of falling contrast; shapes and
line styles say the same once more for print in grey.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

# Before matplotlib is imported: it would make folders in the user's home for its settings and its list of fonts.
os.environ.setdefault("MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / f"replicate-matplotlib-{os.getuid()}"))

import matplotlib

matplotlib.use("agg")

from matplotlib import rc_context

INK, FAINT, GRID, PAGE = "#1d1f23", "#6b7280", "#e3e5e9", "#ffffff"
WARN_PAGE, WARN_INK = "#fff4d6", "#6b4e00"
WIDTH = 7.0
"""Inches: the text width of a page with one column."""


Line = Literal["-"] | tuple[float, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Look:
    colour: str
    marker: str
    line: Line


LOOKS = (
    Look("#0072b2", "o", "-"),
    Look("#c24e00", "s", (0.0, (5.0, 1.6))),
    Look("#009e73", "^", (0.0, (1.4, 1.2))),
    Look("#1d1f23", "D", (0.0, (6.0, 1.5, 1.2, 1.5))),
    Look("#7a3e87", "v", (0.0, (3.0, 1.2))),
    Look("#56b4e9", "P", (0.0, (1.0, 2.2))),
    Look("#b07c00", "X", (0.0, (8.0, 2.0))),
    Look("#cc79a7", "<", (0.0, (4.0, 1.2, 1.2, 1.2, 1.2, 1.2))),
    Look("#6b7280", ">", (0.0, (2.0, 2.0))),
    Look("#004c77", "h", (0.0, (5.0, 1.0, 1.0, 1.0))),
    Look("#8f3f00", "p", (0.0, (2.5, 1.0))),
    Look("#00664a", "*", (0.0, (1.5, 1.0))),
)

SETTINGS: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",  # matplotlib brings it along, and it has ⚗ and ↑
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 5.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "figure.dpi": 200,
    "savefig.dpi": "figure",  # a text is as wide when it is laid out as when it is drawn
    "text.hinting": "no_hinting",
    "figure.facecolor": PAGE,
    "savefig.facecolor": PAGE,
    "pdf.fonttype": 42,  # whole letters: many journals refuse the outlines of Type 3
    "svg.fonttype": "path",  # no font is needed where it is read
    "svg.hashsalt": "replicate",
    "path.simplify": False,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
}

METADATA: Mapping[str, Mapping[str, str | None]] = {
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}
"""Without dates and versions, so that the same figure is the same file."""


def look(family: int) -> Look:
    return LOOKS[family % len(LOOKS)]


@contextmanager
def house_style() -> Iterator[None]:
    """The settings above on matplotlib's own defaults: no file of the user changes a figure."""
    with rc_context():
        matplotlib.rcdefaults()
        for name, value in SETTINGS.items():
            matplotlib.rcParams[name] = value  # type: ignore[index]
        yield
