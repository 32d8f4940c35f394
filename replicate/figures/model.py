"""A finished figure: everything that is drawn, as plain numbers and words.

The renderers draw this; they compute no value and decide no verdict. Values are in the unit of the axis label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from replicate.judge.table import Origin, Verdict
from replicate.specs.cell import CellRef

Side = Literal["here", "paper"]
SIDES: tuple[Side, ...] = get_args(Side)


@dataclass(frozen=True, slots=True)
class Axis:
    """``ticks`` are (value, text); empty leaves them to the renderer."""

    label: str
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """``low`` and ``high`` are the 95 % interval of ``y``. ``cells`` are the places it was read from."""

    x: float
    y: float
    name: str = ""
    low: float | None = None
    high: float | None = None
    cells: tuple[CellRef, ...] = ()
    origin: Origin = "printed in the paper only"
    verdict: Verdict = "not compared"


@dataclass(frozen=True, slots=True)
class Series:
    """``family`` numbers the look: series of one family share it in every panel, ours filled, the paper's hollow."""

    label: str
    side: Side
    family: int
    points: tuple[Point, ...]
    joined: bool = True
    marked: bool = True
    faint: bool = False
    """A reference that is drawn behind the rest."""


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal line."""

    label: str
    side: Side
    y: float


@dataclass(frozen=True, slots=True)
class XYPanel:
    """Points and lines over two axes. ``identity`` adds the line where both are equal, ``band`` its half-width.

    ``dodged``: families stand at the same few places and are drawn a little apart.
    """

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    levels: tuple[Level, ...] = ()
    identity: bool = False
    band: float | None = None
    dodged: bool = False
    floor: float | None = None
    """Both axes start here; the few points below it stand at the edge."""


@dataclass(frozen=True, slots=True)
class HeatmapPanel:
    """Numbers in a grid, [row][column]: ``values`` for the colour (None: no value), ``shown`` printed in it."""

    title: str
    label: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    shown: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """One margin. ``at`` counts the rows from the top."""

    at: int
    side: Side
    value: float
    shown: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class MarginPanel:
    """Margins to a base, one row a label; those beyond ``limit`` are drawn at the edge with ``shown``.

    ``groups`` are (first row, heading).
    """

    title: str
    label: str
    rows: tuple[str, ...]
    bars: tuple[Bar, ...]
    limit: float
    groups: tuple[tuple[int, str], ...] = ()


Panel = XYPanel | HeatmapPanel | MarginPanel


@dataclass(frozen=True, slots=True)
class Figure:
    id: str
    number: int | None
    kind: str
    caption: str
    scale: str
    banner: str
    """Printed above the panels, unless it is empty."""
    comparable: bool
    """False when this is another experiment than the paper's; the paper's values then have their own panel."""
    panels: tuple[Panel, ...]
    wanted: int
    """Values that jobs here make for it."""
    pending: int
    """Of these, the ones that are not there."""
    paper_only: int
    """Values that nothing here makes."""
    seeds: tuple[int, ...]
    source: str
    origins: tuple[Origin, ...] = ()
    """Of the values that were made here."""
    notes: tuple[str, ...] = ()
    spec: str = ""
    digest: str = ""

    @property
    def complete(self) -> bool:
        return self.pending == 0

    @property
    def title(self) -> str:
        return f"Figure {self.number}" if self.number is not None else ""

    @property
    def state(self) -> str:
        """What is missing, in words; empty when nothing is. It is part of the drawing."""
        parts = [f"{self.pending} of {self.wanted} not run"] if self.pending else []
        if self.paper_only:
            parts.append(f"{self.paper_only} printed in the paper only")
        return "; ".join(parts)


def by_side(panels: Sequence[XYPanel], comparable: bool) -> tuple[Panel, ...]:
    """Where nothing may be compared, the paper's points and ours get panels of their own, with their own axes.

    Elsewhere both share a panel. Sides without any point are left out.
    """
    if comparable:
        return tuple(panels)
    divided: list[Panel] = []
    for panel in panels:
        for side, title in (("here", "here: miniature"), ("paper", "the paper, as printed")):
            series = tuple(drawn for drawn in panel.series if drawn.side == side)
            levels = tuple(level for level in panel.levels if level.side == side)
            if any(drawn.points for drawn in series) or levels or side == "here":
                heading = f"{panel.title}, {title}" if panel.title else title
                divided.append(replace(panel, title=heading, series=series, levels=levels))
    return tuple(divided)
