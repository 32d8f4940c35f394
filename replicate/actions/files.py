"""Files of finished tables and figures, and the report, in the folder of their scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from replicate.actions.paper import Paper
from replicate.errors import NotAvailable, UserError
from replicate.text import STATES

if TYPE_CHECKING:
    from replicate.figures.model import Figure
    from replicate.judge.table import Table
    from replicate.plan.cells import Plan
    from replicate.specs.load import Specs
    from replicate.store.store import Store

TABLE_FORMATS = ("tex", "md", "csv", "html", "json")
"""Written where none is named."""
FIGURE_FORMATS = ("pdf", "png", "svg")
MACROS = "macros"
"""The format that is one file for the numbers of several tables."""
NUMBERS = "numbers.tex"
"""That file, of all tables."""
REPORT = "report"
"""The folder of the site."""


def write_tables(paper: Paper, tables: Sequence[Table], wanted: Iterable[str], macros: str) -> list[Path]:
    """Both variants of each table in the formats of ``wanted``; the numbers of all of them in the file ``macros``."""
    from replicate.render import formats
    from replicate.render import macros as macro_file
    from replicate.store.files import write_text

    folder, names = paper.rendered, [*wanted]
    kinds = [name for name in names if name != MACROS]
    varying = [name for name in kinds if formats.find(name).varies]
    paths: list[Path] = []
    with _written("table", folder):
        for table in tables:
            paths += formats.write(table, folder, kinds, "paper")
            paths += formats.write(table, folder, varying, "compare")
        if MACROS in names:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / macros, macro_file.render(tables))
            paths.append(folder / macros)
    return paths


def write_book(paper: Paper, tables: Sequence[Table]) -> list[Path]:
    """tables.tex and tables.pdf: ours beside the paper's, one table after the other."""
    from replicate.render import format_pdf
    from replicate.store.files import write_text

    source = paper.rendered / "tables.tex"
    write_text(source, format_pdf.book([*tables], "compare"))
    return [source, format_pdf.pdf(source)]


def write_figure(paper: Paper, figure: Figure, formats: Sequence[str] = FIGURE_FORMATS) -> list[Path]:
    """The files of ``figure``. Raises NotAvailable where matplotlib or seaborn is not installed."""
    # A folder of their own: some figures share the name of a table.
    folder = paper.rendered / "figures"
    try:
        from replicate.figures import draw

        with _written("figure", folder):
            return draw.write(figure, folder, tuple(formats))
    except ModuleNotFoundError as error:
        raise NotAvailable(
            f"cannot draw figures: '{(error.name or '').partition('.')[0]}' is not installed\n"
            "  install matplotlib and seaborn: pip install 'deit-replicate[figures]'; tables need neither"
        ) from error


@dataclass(frozen=True, slots=True)
class DrawnFigures:
    """Files of all figures; ``pending``: values that are not there yet; ``why_not``: set where none can be drawn."""

    paths: list[Path] = field(default_factory=list)
    pending: int = 0
    why_not: str = ""


def write_figures(paper: Paper, specs: Specs, store: Store) -> DrawnFigures:
    """Draw all figures as they stand now."""
    from replicate.figures.finish import finish_figure
    from replicate.figures.load import figures_of
    from replicate.figures.plan import plan_figure

    paths: list[Path] = []
    pending = 0
    for figure_id in figures_of(specs).specs:
        figure = finish_figure(plan_figure(specs, figure_id, paper.seeds), store)
        pending += figure.pending
        try:
            paths += write_figure(paper, figure)
        except NotAvailable as error:
            return DrawnFigures(why_not=str(error))
    return DrawnFigures(paths, pending)


def write_report(paper: Paper, plan: Plan, store: Store) -> list[Path]:
    """Write the site; its files, index.html first."""
    from replicate.site.book import draw_all, gather
    from replicate.site.site import write

    pictures, without = draw_all(plan, store)
    folder = paper.rendered / REPORT
    with _written("report", folder):
        return write(gather(plan, store, pictures, without), folder)


def write_overview(path: Path, name: str, tables: Sequence[Table]) -> bool:
    """Write the overview of ``tables`` between the markers of a file; whether that changed it. ``name``: for errors."""
    from replicate.render.overview import updated
    from replicate.store.files import write_text

    try:
        before = path.read_text(encoding="utf-8")
        after = updated(before, [*tables], name)
        if after != before:
            write_text(path, after)
    except OSError as error:
        raise UserError(f"{path} cannot be read or written: {error.strerror}") from error
    return after != before


def states_of(table: Table) -> dict[str, int]:
    """How many printed numbers of ``table`` are in each state, in the order of `STATES`."""
    counts = Counter[str](
        cell.state for ref, cell in table.cells.items() if not ref.is_reference and cell.state != "text"
    )
    return {state: counts[state] for state in STATES if state in counts}


@contextmanager
def _written(what: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the {what} cannot be written to {folder}: {error.strerror}\n"
            "  name a folder that you may write with --out DIR; results are not touched"
        ) from error
