"""The fork server of this machine's worker processes: what it imports, and where its sockets are.

Apart from `replicate.backends.local`, since nothing of a run decides how processes are made.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from typing import Any

from replicate.errors import UserError

_LONGEST = 70
"""Bytes of a folder for sockets. An address has at most 107 on Linux, and multiprocessing adds 32."""


def preloaded(modules: list[str]) -> Any:
    """The context of worker processes, with its fork server started; that imports ``modules``, once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(modules)
    # A Ctrl-C reaches the whole process group; while the server imports torch it would print a traceback.
    # What is blocked here stays blocked in the server and its forks, which are told to stop by SIGTERM.
    # First the tracker, which the server would start, and which blocks SIGINT for itself and then unblocks it.
    with _our_modules():
        resource_tracker.ensure_running()
    _choose_socket_folder()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _our_modules():
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


@contextmanager
def _our_modules() -> Iterator[None]:
    """Have the tracker and the fork server import what this process imports.

    Python would look for their modules in the current folder first, where a ``random.py`` or another ``replicate`` may
    lie.
    """
    root = str(Path(__file__).parents[2])
    ours = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _choose_socket_folder() -> None:
    """Have multiprocessing keep its sockets in a short folder where TMPDIR is a long one, as batch systems make them.

    Everything else stays in TMPDIR. Raises UserError where there is no other folder to write to.
    """
    long = tempfile.gettempdir()
    if len(os.fsencode(long)) <= _LONGEST:
        return
    for short in ("/tmp", "/var/tmp", "/dev/shm"):
        tempfile.tempdir = short
        try:
            # It is made by the first call, which all later ones and the workers remember, and removed at the end.
            util.get_temp_dir()
            return
        except OSError:
            continue
        finally:
            tempfile.tempdir = long
    raise UserError(
        f"TMPDIR is too long for sockets: {len(os.fsencode(long))} bytes, expected at most {_LONGEST}\n"
        "  export TMPDIR=/another/folder"
    )
