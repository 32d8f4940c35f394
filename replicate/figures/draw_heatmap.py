"""Draws a panel of numbers in a grid, the larger the darker."""

from __future__ import annotations

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from replicate.figures.model import HeatmapPanel
from replicate.figures.style import FAINT, GRID, PAGE

COLOURS = "Blues"
"""Falls evenly in lightness: it reads the same in grey and to the colour-blind."""


def draw_heatmap(axes: Axes, panel: HeatmapPanel, top: float, with_rows: bool) -> None:
    """``top`` is the value of the darkest colour."""
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
