"""The server that workers are forked from."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing import forkserver, resource_tracker
from typing import Any


def preloaded(module: str) -> Any:
    """The context of worker processes, with its fork server started; that imports ``module``, once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    # A Ctrl-C reaches the whole process group; while the server imports torch it would print a traceback.
    # What is blocked here stays blocked in the server and its forks, which are told to stop by SIGTERM.
    # First the tracker, which the server would start, and which blocks SIGINT for itself and then unblocks it.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context
