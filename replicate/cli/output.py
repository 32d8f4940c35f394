"""Standard output as the commands need it: no sign and no full disk ends one with a traceback."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

OUTPUT = "standard output"


class _Output(io.TextIOWrapper):
    """Standard output that lets no sign end a command, and whose errors can be told from those of files."""

    def write(self, text: str) -> int:
        with _named():
            return super().write(text)

    def flush(self) -> None:
        with _named():
            super().flush()


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = OUTPUT
        raise


def set_output() -> None:
    """From now on escape what the encoding of standard output does not have.

    ASCII is taken for a locale that nobody has set, and UTF-8 written, as click and Python itself do.
    """
    old = sys.stdout
    if isinstance(old, io.TextIOWrapper):
        codecs.register_error("escaped", _escaped)
        encoding = "utf-8" if codecs.lookup(old.encoding).name == "ascii" else old.encoding
        sys.stdout = _Output(old.buffer, encoding, "escaped", None, old.line_buffering, old.write_through)


def unusable(error: OSError) -> str:
    """What could not be used, and why."""
    said = error.strerror or str(error)
    if error.filename == OUTPUT:
        # A flush at exit would complain again.
        sys.stdout = None
    return f"{error.filename}: cannot be used, got '{said}'" if error.filename else said


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """As JSON writes it, which so stays JSON. A ``?`` would be the mark of what is undecided."""
    from json import dumps

    if not isinstance(error, UnicodeEncodeError):
        raise error
    return dumps(error.object[error.start : error.end])[1:-1], error.end
