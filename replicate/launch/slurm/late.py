"""Files that another machine wrote: a network file system may show them some seconds late."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from replicate.store.store import Store


def has_result(store: Store, key: str, seconds: float) -> bool:
    """Whether ``key`` has a result, or gets one within ``seconds``: a file system may show it late to other nodes."""
    deadline = time.monotonic() + seconds
    while store.result(key) is None:
        if time.monotonic() >= deadline:
            return False
        store.forget(key)
        time.sleep(1.0)
        with suppress(OSError):
            # Listing a folder makes NFS ask the server again.
            os.listdir(store.folder(key))
    return True


def appears(path: Path, seconds: float) -> None:
    """Wait up to ``seconds`` for ``path``."""
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(1.0)
        with suppress(OSError):
            os.listdir(path.parent)
