"""A table as one self-contained HTML page, and the templates that it shares with the site.

No network, no script; light and dark; for a screen, a phone and a printer.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from replicate.judge.table import Cell, Claim, Table
from replicate.render import layout, wording
from replicate.render.formats import Format
from replicate.render.layout import Variant
from replicate.text import plural

if TYPE_CHECKING:
    from jinja2 import BytecodeCache, Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class ClaimLine:
    """The claim with that number (from 1) of a table, as a line of a list; ``href`` is empty on the table's page."""

    table: Table
    claim: Claim
    number: int
    href: str = ""

    @property
    def anchor(self) -> str:
        return f"claim-{self.number}"


def claim_lines(table: Table, page: str = "") -> list[ClaimLine]:
    """The claims of ``table``, with the address of each on its ``page``, where one is given."""
    return [
        ClaimLine(table, claim, number, f"{page}#claim-{number}" if page else "")
        for number, claim in enumerate(table.claims, 1)
    ]


class NoLinks:
    """The links of a page by itself: its numbers and jobs lead nowhere."""

    def evidence(self, cell: Cell) -> str:
        return ""

    def job(self, key: str) -> str:
        return ""


def render(table: Table, variant: Variant = "paper") -> str:
    page = environment(TEMPLATES).get_template("page.html")
    return page.render(
        table=table, variant=variant, links=NoLinks(), claims=claim_lines(table), style=asset(TEMPLATES / "table.css")
    )


@cache
def environment(*folders: Path) -> Environment:
    """Templates of ``folders``, the first that has one wins; they can use the words and the layout of tables."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folders),
        bytecode_cache=_compiled(),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"wording": wording, "layout": layout, "plural": plural}
    return environment


def _compiled() -> BytecodeCache | None:
    """Return jinja's cache of compiled templates, in a temporary folder that only this user can write.

    Compiling them takes a tenth of `table --no-run`. Where the folder cannot be used they are compiled each time.
    """
    from jinja2 import FileSystemBytecodeCache
    from jinja2.bccache import Bucket

    class Cache(FileSystemBytecodeCache):
        def dump_bytecode(self, bucket: Bucket) -> None:
            with suppress(OSError):
                super().dump_bytecode(bucket)

    with suppress(OSError, RuntimeError):
        return Cache()
    return None


@cache
def asset(path: Path) -> Markup:
    """The text of a style or a script, which stands in a page as it is."""
    from markupsafe import Markup

    return Markup(path.read_text(encoding="utf-8"))


FORMAT = Format(".html", render)
