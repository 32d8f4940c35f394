"""What is drawn: the same bytes every time, letters that print, no text that covers another or leaves the page."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ROOT, environment

from figures.small_figures import FIGURES, finish
from replicate.errors import UnknownName
from replicate.figures.finish import finish_figure
from replicate.figures.load import load_with_figures
from replicate.figures.model import Axis, Figure, Point, Series, XYPanel
from replicate.figures.plan import plan_figure
from replicate.specs.cell import CellRef
from replicate.store.store import Store

pytest.importorskip("matplotlib")
pytest.importorskip("seaborn")

from matplotlib.figure import Figure as Canvas
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from replicate.figures import draw as renderer
from replicate.figures.style import FONT, LOOKS, house_style

pytestmark = pytest.mark.drawn

font = get_font(findfont(FontProperties(family=[FONT])))
REAL = sorted(path.stem for path in (ROOT / "figures").glob("*.toml"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    """A finished figure of every kind, at mini scale, all results there."""
    return {name: finish(tmp_path_factory.mktemp(name), name) for name in FIGURES}


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_figure_is_the_same_file(drawn: dict[str, Figure], name: str, tmp_path: Path) -> None:
    first, again = (renderer.write(drawn[name], tmp_path / turn, renderer.FORMATS) for turn in ("first", "again"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    pdf = first[0].read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"/CreationDate" not in pdf


RC = "font.size: 22\naxes.grid: False\ntext.usetex: True\nfont.family: cursive\nbackend: GTK9\nno.such.key: 1\n"
"""The user's own settings, with some that matplotlib refuses."""
SURROUNDINGS: dict[str, dict[str, str]] = {
    "a terminal of JupyterLab without a locale": {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONHASHSEED": "7",
        "MATPLOTLIBRC": ".",
        "MPLCONFIGDIR": ".",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "latin-1",
        "HOME": "",
    },
    "folders and a locale that are not there": {
        "MATPLOTLIBRC": "/nowhere/matplotlibrc",
        "MPLCONFIGDIR": "/nowhere",
        "TMPDIR": "/nowhere",
        "LC_ALL": "tr_TR.ISO-8859-9",
    },
}


def drawn_elsewhere(figure: Figure, folder: Path, **surroundings: str) -> subprocess.CompletedProcess[str]:
    """The digests of the files of ``figure``, drawn in ``folder`` by a process of its own."""
    import pickle

    (folder / "figure.pickle").write_bytes(pickle.dumps(figure))
    code = (
        "import hashlib, pickle, pathlib\n"
        "from replicate.figures import draw as figure\n"
        "one = pickle.loads(pathlib.Path('figure.pickle').read_bytes())\n"
        "for kind in figure.FORMATS: print(hashlib.sha256(figure.render(one, kind)).hexdigest())\n"
    )
    env = environment(HOME=str(folder)) | surroundings
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_another_process_writes_the_same_bytes(drawn: dict[str, Figure], surroundings: str, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(RC)
    done = drawn_elsewhere(drawn["speed"], tmp_path, **SURROUNDINGS[surroundings])
    assert done.stderr == ""
    here = [hashlib.sha256(renderer.render(drawn["speed"], kind)).hexdigest() for kind in renderer.FORMATS]
    assert done.stdout.split() == here
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.pickle", "matplotlibrc"]


def test_settings_that_cannot_be_read_are_named(drawn: dict[str, Figure], tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_bytes(b"font.family: caf\xe9\n")
    done = drawn_elsewhere(drawn["speed"], tmp_path)
    assert "UserError: matplotlib cannot read its settings: " in done.stderr
    assert done.stderr.endswith("\n  mend or remove the file 'matplotlibrc' in this folder\n")


FREE = frozenset(["title", "label", "name", "banner", "notes", "rows", "columns", "shown", "groups", "source", "ticks"])
"""Fields of a figure that hold words of a spec."""


def reworded(part: Any, text: str, field: str = "") -> Any:
    """``part`` of a figure with ``text`` in the place of all its words."""
    if is_dataclass(part) and not isinstance(part, type | CellRef):
        names = [entry.name for entry in fields(part)]
        return replace(part, **{name: reworded(getattr(part, name), text, name) for name in names})
    if isinstance(part, tuple):
        return tuple(reworded(item, text, field) for item in part)
    return text if isinstance(part, str) and field in FREE else part


@pytest.mark.parametrize("name", FIGURES)
def test_words_of_a_spec_are_text_everywhere(drawn: dict[str, Figure], name: str) -> None:
    """``$1k to $2k`` was set as mathematics, ``Ba$$in`` ended in a traceback, ``_a`` was left out of a legend."""
    sign = "_$x$^{\\foo}$$#%~&"
    figure = reworded(drawn[name], sign)
    with house_style():
        written = {text for text, _ in texts(renderer.draw(figure))}
    assert any(sign in text for text in written)
    svg = renderer.render(figure, "svg").decode()
    # In a formula the x would be oblique, and the dollars, braces and backslashes gone.
    assert "DejaVuSans-Oblique" not in svg
    glyphs = set(re.findall(r'id="DejaVuSans-([0-9a-f]+)"', svg))
    assert {f"{font.get_char_index(ord(letter)):x}" for letter in sign} <= glyphs
    renderer.render(figure, "pdf")


def test_the_svg_needs_no_font_and_no_network(drawn: dict[str, Figure]) -> None:
    svg = renderer.render(drawn["speed"], "svg").decode()
    assert "<text" not in svg
    assert "dc:date" not in svg
    outside = [link for link in re.findall(r'(?:href|src)="([^"]*)"', svg) if not link.startswith("#")]
    assert [link for link in outside if "purl.org" not in link] == []


def texts(canvas: Canvas) -> list[tuple[str, Bbox]]:
    """Everything that is written, with its place in pixels; ticks beyond the end of an axis are not."""
    written: list[Text] = []
    draw = Text.draw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", lambda text, renderer: (written.append(text), draw(text, renderer))[1])
        canvas.draw_without_rendering()
    # The extent of an annotation includes its line; that of its words is asked for.
    found = {text: Text.get_window_extent(text) for text in written if text.get_visible() and text.get_text().strip()}
    return [(text.get_text().strip(), box) for text, box in found.items()]


def collisions(canvas: Canvas) -> list[str]:
    # A pixel of air that the box of a letter has around it is no collision.
    boxes = [(text, box.padded(-1)) for text, box in texts(canvas)]
    return [f"{one!r} and {two!r}" for (one, box), (two, other) in combinations(boxes, 2) if box.overlaps(other)]


def outside(canvas: Canvas) -> list[str]:
    page = canvas.bbox.padded(0.5)
    return [
        text for text, box in texts(canvas) if not (page.contains(box.x0, box.y0) and page.contains(box.x1, box.y1))
    ]


@pytest.mark.parametrize("scale", ["mini", "paper"])
@pytest.mark.parametrize("name", REAL)
def test_no_text_of_a_figure_covers_another_or_leaves_the_page(name: str, scale: str, tmp_path: Path) -> None:
    plan = plan_figure(load_with_figures(ROOT / "tables", scale), name, (0,))
    figure = finish_figure(plan, Store(tmp_path))
    assert figure.pending == figure.wanted
    with house_style():
        canvas = renderer.draw(figure)
        assert collisions(canvas) == []
        assert outside(canvas) == []
        written = [text for text, _ in texts(canvas)]
    assert any(f"{figure.pending} of {figure.wanted} not run" in text for text in written)
    assert (figure.banner in written) == (scale == "mini")


@pytest.mark.parametrize("name", FIGURES)
def test_nor_where_everything_is_there(drawn: dict[str, Figure], name: str) -> None:
    with house_style():
        canvas = renderer.draw(drawn[name])
        assert collisions(canvas) == []
        assert outside(canvas) == []


def test_the_small_print_says_which_networks_were_published(tmp_path: Path) -> None:
    said = {}
    for name in ("margins", "curves"):
        with house_style():
            found = texts(renderer.draw(finish(tmp_path / name, name, "paper", released=True)))
        said[name] = " ".join(text for text, _ in found)
    assert "Here: scale 'paper', released weights." in said["margins"]
    assert "Here: scale 'paper', seed 0." in said["curves"]
    assert "Published weights, which have no curve: deit-ti-224/none, deit-b-224/none." in said["curves"]
    assert "nothing to show" in said["curves"]
    mixed = replace(finish(tmp_path / "longer", "longer", "paper"), origins=("trained here", "released weights"))
    assert renderer._small_print(mixed)[0].startswith("Here: scale 'paper', released weights, and seed 0 of what was")


def crowd(count: int) -> Figure:
    """Points that almost cover each other, all with names."""
    draw = np.random.default_rng(0)
    spots = draw.normal(size=(count, 2)) * (1.0, 0.2)
    points = tuple(Point(float(x), float(y), f"net-{at}") for at, (x, y) in enumerate(spots))
    panel = XYPanel("", Axis("x"), Axis("y"), (Series("all", "here", 0, points, joined=False),))
    return Figure("crowd", None, "scatter", "Crowd.", "paper", "", True, (panel,), count, 0, 0, (0,), "")


def test_names_of_a_crowd_do_not_overlap() -> None:
    with house_style():
        canvas = renderer.draw(crowd(25))
        names = [one for one in canvas.axes[0].texts if one.get_text().startswith("net-")]
        assert len(names) == 25
        assert collisions(canvas) == []
        canvas.draw_without_rendering()
        boxes = [Text.get_window_extent(one) for one in names]
        dots = canvas.axes[0].transData.transform([(point.x, point.y) for point in points_of(crowd(25))])
    covered = [tuple(dot) for dot in dots for box in boxes if box.contains(*dot)]
    assert covered == []


def points_of(figure: Figure) -> tuple[Point, ...]:
    panel = figure.panels[0]
    assert isinstance(panel, XYPanel)
    return panel.series[0].points


def test_files_are_written_whole_and_formats_checked(drawn: dict[str, Figure], tmp_path: Path) -> None:
    paths = renderer.write(drawn["field"], tmp_path / "new", ["png", "svg", "png"])
    assert [path.name for path in paths] == ["field.png", "field.svg"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["field.png", "field.svg"]
    with pytest.raises(UnknownName, match="unknown format 'gif'"):
        renderer.write(drawn["field"], tmp_path, ["gif"])


def seen(colour: str, deuteranopia: bool) -> np.ndarray:
    """In CIE Lab; of a deuteranope by Machado et al. 2009."""
    rgb = np.asarray([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    if deuteranopia:
        machado = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
        linear = np.clip(np.asarray(machado) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.asarray(to_xyz) @ linear / (0.9505, 1.0, 1.089))
    return np.asarray([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("deuteranopia", [False, True])
def test_the_families_of_a_figure_are_told_apart(deuteranopia: bool) -> None:
    # Figures with lines have four families; 20 is about twice what is plainly seen side by side.
    for one, other in combinations(LOOKS[:4], 2):
        distance = np.linalg.norm(seen(one.colour, deuteranopia) - seen(other.colour, deuteranopia))
        assert distance > 20, (one.colour, other.colour)


def test_and_in_grey_by_shape_and_line() -> None:
    assert len({look.marker for look in LOOKS}) == len(LOOKS)
    assert len({str(look.line) for look in LOOKS}) == len(LOOKS)
