"""Jobs that somebody cancelled: ``<store>/.slurm/cancelled/KEY`` says who.

Slurm only knows that a job was cancelled, not whether it is wanted all the same. Without these files a ``--wait`` in
another terminal would submit it again within seconds. A new call of ``table`` or ``retry`` takes them back.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from replicate.backends.slurm.client import user
from replicate.backends.slurm.submission import FOLDER
from replicate.store.files import write_text

_FOLDER = "cancelled"


def note(root: Path, keys: Iterable[str]) -> None:
    folder = root / FOLDER / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for key in keys:
        write_text(folder / key, f"{user()} on {socket.gethostname()}")


def take_back(root: Path, keys: Collection[str]) -> None:
    for key in _listed(root):
        if key in keys:
            (root / FOLDER / _FOLDER / key).unlink(missing_ok=True)


def read(root: Path, keys: Collection[str]) -> Mapping[str, str]:
    """Those of ``keys`` that were cancelled, and by whom."""
    found = {}
    for key in _listed(root):
        if key in keys:
            with suppress(OSError):
                found[key] = (root / FOLDER / _FOLDER / key).read_text(encoding="utf-8")
    return found


def _listed(root: Path) -> list[str]:
    try:
        return os.listdir(root / FOLDER / _FOLDER)
    except OSError:
        return []
