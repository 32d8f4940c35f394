"""Files of finished tables and figures, and the report, in the folder of their scale."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from replicate.actions.paper import Paper
from replicate.errors import NotAvailable, ReplicateError, UserError
from replicate.text import STATES

if TYPE_CHECKING:
    from replicate.figures.model import Figure
    from replicate.judge.table import Table
    from replicate.plan.cells import Plan
    from replicate.render.layout import Variant
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


Part = Callable[[str], AbstractContextManager[None]]
"""What is entered around each part of a whole, with the name of the part: where the part fails, it says whether the
rest goes on."""


def at_once(name: str) -> AbstractContextManager[None]:
    """The first part that fails is the end."""
    return nullcontext()


class FolderUnusable(UserError):
    """Nothing can be written to a folder."""


@dataclass(frozen=True, slots=True)
class Unwritten:
    """Why parts of a whole were not written, by their names; the others were."""

    reasons: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Note the failure of a part. What all parts would fail at is raised: a folder, a program that is missing."""
        try:
            yield
        except (FolderUnusable, NotAvailable):
            raise
        except ReplicateError as error:
            self.reasons[name] = str(error)
        except Exception as error:
            # A mistake of this program: whoever mends it needs the place.
            traceback.print_exc()
            self.reasons[name] = f"{type(error).__name__}: {error}"


def write_tables(
    paper: Paper, tables: Sequence[Table], wanted: Iterable[str], macros: str, part: Part = at_once
) -> list[Path]:
    """Both variants of each table in the formats of ``wanted``; the numbers of all of them in the file ``macros``."""
    from replicate.render import formats
    from replicate.render import macros as macro_file
    from replicate.store.files import write_text

    folder, names = paper.rendered, [*dict.fromkeys(wanted)]
    variants: tuple[Variant, ...] = ("paper", "compare")
    paths: list[Path] = []
    for table in tables:
        for name in names:
            if name == MACROS:
                continue
            for variant in variants if formats.find(name).varies else variants[:1]:
                with part(f"table {table.id} ({name})"), _written("table", folder):
                    paths += formats.write(table, folder, [name], variant)
    if MACROS in names:
        sound = _those_that_can(tables, lambda table: macro_file.render([table]), MACROS, part)
        with part(macros), _written("table", folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / macros, macro_file.render(sound))
            paths.append(folder / macros)
    return paths


def _those_that_can(
    tables: Sequence[Table], render: Callable[[Table], object], what: str, part: Part
) -> Sequence[Table]:
    """The tables without those that fail alone: one of them keeps no file of all from being written."""
    sound: list[Table] = []
    for table in tables:
        with part(f"table {table.id} ({what})"):
            render(table)
            sound.append(table)
    return sound


def write_book(paper: Paper, tables: Sequence[Table], part: Part = at_once) -> list[Path]:
    """tables.tex and tables.pdf: ours beside the paper's, one table after the other."""
    from replicate.render import format_pdf
    from replicate.store.files import write_text

    source = paper.rendered / "tables.tex"
    sound = _those_that_can(tables, lambda table: format_pdf.book([table], "compare"), source.name, part)
    if not sound:
        return []
    with part(source.name):
        write_text(source, format_pdf.book(sound, "compare"))
        return [source, format_pdf.pdf(source)]
    return []


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


def write_figures(paper: Paper, specs: Specs, store: Store, part: Part = at_once) -> DrawnFigures:
    """Draw all figures as they stand now."""
    from replicate.figures.finish import finish_figure
    from replicate.figures.load import figures_of
    from replicate.figures.plan import plan_figure

    paths: list[Path] = []
    pending = 0
    for figure_id in figures_of(specs).specs:
        try:
            with part(f"figure {figure_id}"):
                figure = finish_figure(plan_figure(specs, figure_id, paper.seeds), store)
                pending += figure.pending
                paths += write_figure(paper, figure)
        except NotAvailable as error:
            return DrawnFigures(why_not=str(error))
    return DrawnFigures(paths, pending)


def write_report(paper: Paper, plan: Plan, store: Store, unwritten: Unwritten | None = None) -> list[Path]:
    """Write the site; its files, index.html first. A figure that cannot be drawn is left out, and the site says so."""
    from replicate.site.book import draw_all, gather
    from replicate.site.site import write

    pictures, without = draw_all(plan, store, (unwritten or Unwritten()).part)
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
        raise FolderUnusable(
            f"the {what} cannot be written to {folder}: {error.strerror}\n"
            "  name a folder that you may write with --out DIR; results are not touched"
        ) from error
