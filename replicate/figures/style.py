"""The house style of figures: one look, one page width, nothing that depends on the machine or the day.

Colours are Okabe and Ito's, which stay apart for the colour-blind, in an order of falling contrast; shapes and
line styles say the same once more for print in grey.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from replicate.errors import UserError


@contextmanager
def _alone() -> Iterator[None]:
    """Import matplotlib away from the user's surroundings, which it reads at that moment.

    A notebook exports an MPLBACKEND that need not be installed here. Settings and the list of fonts would be kept in
    folders of the user's home.
    """
    ours = {
        "MPLBACKEND": None,
        "MATPLOTLIBRC": None,
        "MPLCONFIGDIR": str(Path(tempfile.gettempdir()) / f"replicate-matplotlib-{os.getuid()}"),
    }
    before = {name: os.environ.get(name) for name in ours}
    log = logging.getLogger("matplotlib")
    level = log.level
    # A file `matplotlibrc` in the current folder is read all the same. What it says is undone in `house_style`.
    log.setLevel(logging.ERROR)
    _set_variables(ours)
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(
            f"matplotlib cannot read its settings: {error}\n  mend or remove the file 'matplotlibrc' in this folder"
        ) from error
    finally:
        _set_variables(before)
        log.setLevel(level)


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


_LOADED = "matplotlib" in sys.modules
"""By a notebook, whose own figures go on as they are."""

with _alone():
    import matplotlib
    from matplotlib import font_manager, rc_context

    # Asked for once, while our folder is named.
    matplotlib.get_configdir(), matplotlib.get_cachedir()
    if not _LOADED:
        matplotlib.use("agg")

FONT = "DejaVu Sans"
"""matplotlib brings it along, and it has ⚗ and ↑."""

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
    "font.family": FONT,
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
    "text.parse_math": False,  # a dollar in a spec is a dollar
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
}

METADATA: Mapping[str, Mapping[str, str | None]] = {
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}
"""Without dates and versions, so that the same figure is the same file."""


def glyphs() -> frozenset[int]:
    """The characters that can be drawn, plain and bold."""
    faces = (font_manager.FontProperties(family=[FONT], weight=weight) for weight in ("normal", "bold"))
    return frozenset.intersection(
        *(frozenset(font_manager.get_font(font_manager.findfont(face)).get_charmap()) for face in faces)
    )


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
