"""Ends the workers of a call that was interrupted; those in training write a checkpoint first."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

from replicate.jobs.job import Job
from replicate.text import plural

_POLL = 0.2
_SPEAKS_AFTER = 3.0
"""Seconds: a small network is done before that."""
_PATIENCE = 10.0
"""Seconds for a job that has no checkpoint to write: it may be about to end, and loses little."""
_SAME = 1.0
"""Seconds in which a second signal is the same wish: `timeout` sends its own to the process and to its group."""


class Interrupts:
    """Ctrl-C and SIGTERM while jobs run: the first is a KeyboardInterrupt, any other is only noted.

    From the first on, no exception may come in the middle of ending the workers; `timeout` sends two in a row.
    """

    def __init__(self) -> None:
        self.raising = True
        self.told: list[float] = []
        self._before: list[tuple[signal.Signals, Any]] = []

    def __enter__(self) -> Interrupts:
        # Signals are the main thread's; what is ignored, as behind `nohup`, stays so.
        if threading.current_thread() is threading.main_thread():
            numbers = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) is not signal.SIG_IGN]
            self._before = [(number, signal.signal(number, self._hear)) for number in numbers]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)

    def _hear(self, *_: object) -> None:
        self.told.append(time.monotonic())
        raising, self.raising = self.raising, False
        if raising:
            raise KeyboardInterrupt


def stop(running: Sequence[tuple[Job, BaseProcess]], interrupts: Interrupts, said: Callable[[str], None]) -> None:
    """Returns when all of ``running`` have ended.

    A training ends after its step and its checkpoint, which for a large network take as long as they take; a second
    Ctrl-C (or SIGTERM) kills what is left.
    """
    interrupts.raising = False
    begun, silent = time.monotonic(), True
    for _, process in running:
        process.terminate()
    while left := [(job, process) for job, process in running if process.is_alive()]:
        elapsed = time.monotonic() - begun
        again = any(when - begun >= _SAME for when in interrupts.told)
        for job, process in left:
            if again or (not job.resumable and elapsed >= _PATIENCE):
                process.kill()
        writing = sum(job.resumable for job, _ in left)
        if silent and writing and not again and elapsed >= _SPEAKS_AFTER:
            them = "it" if writing == 1 else "them"
            said(f"waiting for {plural(writing, 'job')} to write a checkpoint; Ctrl-C again to kill {them}")
            silent = False
        connection.wait([process.sentinel for _, process in left], timeout=_POLL)
    for _, process in running:
        process.join()
