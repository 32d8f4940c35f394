"""What the search field of the site finds: pages, rows of tables, claims and jobs, by their words."""

from __future__ import annotations

import json

from replicate.render import wording
from replicate.site.addresses import fragment
from replicate.site.book import Book

Entry = tuple[str, str, str]
"""Kind, text and address."""


def entries(book: Book) -> list[Entry]:
    """In the order they are offered: tables, figures, claims, runs, rows, jobs."""
    found: list[Entry] = []
    for table in book.tables:
        title = f"{wording.title(table)} {table.id}: {table.caption}"
        found.append(("table", title, book.addresses.table(table.id)))
    for picture in book.pictures:
        figure = picture.figure
        text = f"{figure.title} {figure.id}: {figure.caption}".strip()
        found.append(("figure", text, book.addresses.figure(figure.id)))
    found += [("claim", line.claim.text, line.href) for line in book.claims]
    found += [("run", name, book.addresses.run(name)) for name in book.runs]
    for table in book.tables:
        for row in table.rows:
            address = f"{book.addresses.table(table.id)}#{fragment(f'row.{row.key}')}"
            found.append(("row", f"{row.label} ({wording.title(table)})", address))
    found += [("job", key, book.addresses.job(key)) for key in book.jobs]
    return found


def script(book: Book) -> str:
    """A file that sets one variable: pages opened from a disk may not fetch JSON."""
    text = json.dumps(entries(book), ensure_ascii=True, separators=(",", ":"))
    # The file may be pasted into a page: nothing in it can end a script element.
    return f"var SEARCH_INDEX = {text.replace('<', chr(92) + 'u003c')};\n"
