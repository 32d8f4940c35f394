"""Writes the site: every page from its template, the files beside them, and nothing left over from before."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from replicate import text
from replicate.errors import UserError
from replicate.judge.table import Cell, Table
from replicate.render import format_csv, format_html, format_json, format_md, format_tex, overview, wording
from replicate.site import curve, run_page
from replicate.site.addresses import fragment
from replicate.site.book import Book, Picture
from replicate.site.checklist import checklist
from replicate.specs.table import TableHead
from replicate.store.files import write_bytes, write_text

TEMPLATES = Path(__file__).parent / "templates"

INDEX = "index.html"
LISTED = "site.json"
"""Names the files of the site, so that the next one removes what it no longer has, and nothing else."""


@dataclass(frozen=True, slots=True)
class Page:
    address: str
    template: str
    title: str
    context: Mapping[str, object]


def write(book: Book, folder: Path) -> list[Path]:
    """Write the site into ``folder``; the paths of its files, the first page first."""
    files = dict(render(book))
    for name in sorted(_before(folder) - set(files)):
        (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    write_text(folder / LISTED, json.dumps(sorted(files), indent=1) + "\n")
    return [folder / name for name in files]


def render(book: Book) -> Iterator[tuple[str, bytes]]:
    """Address and bytes of every file of the site."""
    environment = _environment()
    for page in pages(book):
        depth = page.address.count("/")
        html = environment.get_template(page.template).render(
            page.context, book=book, title=page.title, address=page.address, root="../" * depth, policy=_policy()
        )
        yield page.address, html.encode()
    yield "search.js", _search(book).encode()
    for picture in book.pictures:
        yield book.addresses.figure(picture.figure.id).replace(".html", ".svg"), picture.svg
    for table in book.tables:
        stem = book.addresses.table(table.id).removesuffix(".html")
        yield f"{stem}.csv", format_csv.render(table).encode()
        yield f"{stem}.json", format_json.render(table).encode()
        yield f"{stem}.md", format_md.render(table, "compare").encode()
        try:
            yield f"{stem}.tex", format_tex.render(table, "paper").encode()
        except UserError as error:
            # A label that has no form in LaTeX: the rest of the site is as good as ever.
            yield f"{stem}.tex", f"% {' '.join(str(error).split())}\n".encode()


def pages(book: Book) -> Iterator[Page]:
    """Every page of the site, the first page first."""
    yield Page(INDEX, "overview.html", "Overview", _overview(book))
    yield Page("claims.html", "claims.html", "Claims", {"groups": _claim_groups(book)})
    yield Page("runs.html", "runs.html", "Runs", {"runs": run_page.run_lines(book)})
    yield Page("jobs.html", "jobs.html", "Jobs", {})
    yield Page("checklist.html", "checklist.html", "Reproducibility checklist", {"items": checklist(book)})
    for table in book.tables:
        name = f"{wording.title(table)}: {table.id}"
        yield Page(book.addresses.table(table.id), "table.html", name, _table(book, table))
    for picture in book.pictures:
        figure = picture.figure
        address = book.addresses.figure(figure.id)
        image = address.rpartition("/")[2].replace(".html", ".svg")
        name = f"{figure.title or 'Figure'}: {figure.id}"
        keys = [(key, book.addresses.job(key)) for key in picture.plan.direct]
        context = {"figure": figure, "image": image, "cells": _cells(book, picture), "direct": keys}
        yield Page(address, "figure.html", name, context)
    for name in book.runs:
        yield Page(book.addresses.run(name), "run.html", f"Run {name}", run_page.context(book, name))
    for key in book.addresses.data:
        yield Page(book.addresses.data_set(key), "data.html", f"Data {key}", run_page.data_context(book, key))


def _overview(book: Book) -> dict[str, object]:
    """What the template of the first page is given."""
    lines = [overview.summarise(table) for table in book.tables]
    cells = sum((Counter(line.origins) for line in lines), Counter[str]())
    made = sum(cells.values()) - cells["printed in the paper only"] - cells["not run"]
    return {"lines": lines, "cells": cells, "made": made, "missing": _missing(book), "groups": _claim_groups(book)}


def _claim_groups(book: Book) -> list[tuple[wording.ClaimGroup, list[format_html.ClaimLine]]]:
    return wording.claim_groups(book.claims, lambda line: line.claim)


def _missing(book: Book) -> list[tuple[Table, list[Cell]]]:
    """The numbers that are not there: those of one table with one state and reason together."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for table in book.tables:
        for cell in table.cells.values():
            if cell.state not in ("done", "text") and not cell.ref.is_reference:
                groups.setdefault((table.id, cell.state, cell.reason), []).append(cell)
    return [(book.table(table_id), cells) for (table_id, _, _), cells in groups.items()]


def _table(book: Book, table: Table) -> dict[str, object]:
    """What the template of a table's page is given."""
    return {
        "table": table,
        "claims": format_html.claim_lines(table),
        "tolerance": _tolerance(book.plan.specs.table(table.id).table, table),
    }


def _tolerance(head: TableHead, table: Table) -> str:
    allowed = ", ".join(f"{name} ±{value:g}" for name, value in head.tolerance.items())
    again = {cell.tolerance for cell in table.cells.values() if cell.origin == "released weights"}
    again -= {"", *(f"±{value:g}" for value in head.tolerance.values())}
    of_released = f" Of released weights {', '.join(sorted(again))}: no training lies between." if again else ""
    return f"{allowed}. {head.tolerance_reason}{of_released}"


def _cells(book: Book, picture: Picture) -> list[tuple[Table, Cell]]:
    """The cells that a figure shows, but for points that no table prints."""
    tables = {table.id: table for table in book.tables}
    return [(tables[ref.table], tables[ref.table].cells[ref]) for ref in picture.plan.cells if ref.table in tables]


def _entries(book: Book) -> list[tuple[str, str, str]]:
    """Kind, text and address of all that the search finds, in the order it is offered."""
    entries = []
    for table in book.tables:
        title = f"{wording.title(table)} {table.id}: {table.caption}"
        entries.append(("table", title, book.addresses.table(table.id)))
    for picture in book.pictures:
        figure = picture.figure
        title = f"{figure.title} {figure.id}: {figure.caption}".strip()
        entries.append(("figure", title, book.addresses.figure(figure.id)))
    entries += [("claim", line.claim.text, line.href) for line in book.claims]
    entries += [("run", name, book.addresses.run(name)) for name in book.runs]
    for table in book.tables:
        for row in table.rows:
            address = f"{book.addresses.table(table.id)}#{fragment(f'row.{row.key}')}"
            entries.append(("row", f"{row.label} ({wording.title(table)})", address))
    entries += [("job", key, book.addresses.job(key)) for key in book.jobs]
    return entries


def _search(book: Book) -> str:
    """The script that holds the words of the search: pages opened from a disk may not fetch JSON."""
    entries = json.dumps(_entries(book), ensure_ascii=True, separators=(",", ":"))
    # The file may be pasted into a page: nothing in it can end a script element.
    return f"var SEARCH_INDEX = {entries.replace('<', chr(92) + 'u003c')};\n"


def _before(folder: Path) -> set[str]:
    """The files of the site that was written here before."""
    try:
        listed = json.loads((folder / LISTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    names = {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()
    return {name for name in names if not name.startswith("/") and ".." not in name.split("/")}


def _policy() -> str:
    """Only what the site itself holds may be loaded or run, and nothing may leave it."""
    styles, scripts = _digest(_style()), _digest(format_html.asset(TEMPLATES / "site.js"))
    return (
        f"default-src 'none'; img-src 'self' data:; style-src '{styles}'; script-src 'self' '{scripts}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"


@cache
def _environment() -> Environment:
    environment = format_html.environment(TEMPLATES, format_html.TEMPLATES)
    environment.globals |= {"style": _style(), "behaviour": format_html.asset(TEMPLATES / "site.js")}
    environment.globals |= {"text": text, "overview": overview, "run_page": run_page, "curve": curve}
    return environment


@cache
def _style() -> Markup:
    return format_html.asset(format_html.TEMPLATES / "table.css") + format_html.asset(TEMPLATES / "site.css")
