"""Ctrl-C and SIGTERM while jobs run on this machine, and how the workers then end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any

from replicate.backends.team import Team
from replicate.text import plural

_SPEAKS_AFTER = 3.0
"""Seconds: a small network is done before that."""
_PATIENCE = 10.0
"""Seconds for a job that has no checkpoint to write: it may be about to end, and loses little."""
_SAME = 1.0
"""A second signal within so many seconds is the same request: `timeout` tells the process, and then its group."""


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
            numbers = [
                which for which in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(which) is not signal.SIG_IGN
            ]
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


def stop_workers(running: Sequence[Team], interrupts: Interrupts, said: Callable[[str], None]) -> None:
    """Returns when all of ``running`` have ended.

    A training ends after its step and its checkpoint, which for a large network take as long as they take; a second
    Ctrl-C (or SIGTERM) kills what is left.
    """
    interrupts.raising = False
    begun, silent = time.monotonic(), True
    for team in running:
        team.terminate()
    while left := [team for team in running if team.alive]:
        elapsed = time.monotonic() - begun
        again = any(when - begun >= _SAME for when in interrupts.told)
        for team in left:
            if again or (not team.job.resumable and elapsed >= _PATIENCE):
                team.kill()
            team.look()
        writing = sum(team.job.resumable for team in left)
        if silent and writing and not again and elapsed >= _SPEAKS_AFTER:
            them = "it" if writing == 1 else "them"
            said(f"waiting for {plural(writing, 'job')} to write a checkpoint; Ctrl-C again to kill {them}")
            silent = False
        connection.wait([sentinel for team in left for sentinel in team.sentinels], timeout=0.2)
    for team in running:
        team.join()
        if team.trouble and not any(when - begun >= _SAME for when in interrupts.told):
            said(f"{team.job.key}: {team.trouble}; the next call goes on from its last checkpoint")
