"""Ends the workers of a call that was interrupted; those in training write a checkpoint first."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.process import BaseProcess

from replicate.english import count
from replicate.launch import worker
from replicate.plan.job import Job

_POLL = 0.2
_SPEAKS_AFTER = 3.0
"""Seconds: a small network is done before that."""
_PATIENCE = 10.0
"""Seconds for a job that has no checkpoint to write: it may be about to end, and loses little."""
_SAME = 1.0
"""Seconds in which a second signal is the same wish: `timeout` sends its own to the process and to its group."""


def stop(running: Sequence[tuple[Job, BaseProcess]], said: Callable[[str], None]) -> None:
    """Returns when all of ``running`` have ended.

    A training ends after its step and its checkpoint, which for a large network take as long as they take; a second
    Ctrl-C (or SIGTERM) kills what is left.
    """
    begun, silent = time.monotonic(), True
    with _interrupts() as told:
        for _, process in running:
            process.terminate()
        while left := [(job, process) for job, process in running if process.is_alive()]:
            elapsed = time.monotonic() - begun
            again = any(when - begun >= _SAME for when in told)
            for job, process in left:
                if again or (job.kind not in worker.RESUMABLE and elapsed >= _PATIENCE):
                    process.kill()
            writing = sum(job.kind in worker.RESUMABLE for job, _ in left)
            if silent and writing and not again and elapsed >= _SPEAKS_AFTER:
                them = "it" if writing == 1 else "them"
                said(f"waiting for {count(writing, 'job')} to write a checkpoint; Ctrl-C again to kill {them}")
                silent = False
            connection.wait([process.sentinel for _, process in left], timeout=_POLL)
    for _, process in running:
        process.join()


@contextmanager
def _interrupts() -> Iterator[list[float]]:
    """When Ctrl-C and SIGTERM came, instead of exceptions in the middle of what must not be left half done."""
    told: list[float] = []
    if threading.current_thread() is not threading.main_thread():
        # Signals are the main thread's.
        yield told
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [(number, signal.signal(number, lambda *_: told.append(time.monotonic()))) for number in numbers]
    try:
        yield told
    finally:
        for number, handler in before:
            signal.signal(number, handler)
