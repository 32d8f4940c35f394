"""Files that another machine wrote: a network file system may show them some seconds late."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from replicate.errors import Unreadable
from replicate.store.store import Store


def wait_for_result(store: Store, key: str, seconds: float) -> bool:
    """Whether ``key`` has a result, or gets one within ``seconds``: a file system may show it late to other nodes."""
    deadline = time.monotonic() + seconds
    while not _readable(store, key):
        if time.monotonic() >= deadline:
            return False
        store.forget(key)
        time.sleep(1.0)
        with suppress(OSError):
            # Listing a folder makes NFS ask the server again.
            os.listdir(store.folder(key))
    return True


def _readable(store: Store, key: str) -> bool:
    # A file handle that has gone stale comes back; what stays so is noted by whoever is to compute the job.
    try:
        return store.result(key) is not None
    except Unreadable:
        return False


def wait_for_path(path: Path, seconds: float) -> None:
    """Wait up to ``seconds`` for ``path``."""
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(1.0)
        with suppress(OSError):
            os.listdir(path.parent)
