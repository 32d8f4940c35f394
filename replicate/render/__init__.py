"""A finished table to each format: the only place where text is escaped; nothing is computed or rounded here.

``formats.write`` makes files, ``format_txt.show`` prints. Every renderer is ``render(table, variant) -> str``
(CSV and JSON hold both variants at once), and the same table gives the same bytes.
"""

from functools import cache
from pkgutil import iter_modules


@cache
def format_names() -> tuple[str, ...]:
    """Return the formats of a table that this folder has, without importing them: each is a ``format_NAME.py``."""
    return tuple(
        module.name.removeprefix("format_").replace("_", "-")
        for module in iter_modules(__path__)
        if module.name.startswith("format_")
    )
