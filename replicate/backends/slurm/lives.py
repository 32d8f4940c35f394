"""The lives of a task: how often Slurm started it, and which of them count against `requeue` of a profile.

One that was cut off by a preemption, a lost node or an administrator and got further than all before it costs nothing:
the next goes on from there. One that came to its time limit counts, since `requeue` says how many limits a job may
take; so does one that got no further, for it may come to the same end for ever.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from replicate.store.files import read_json, write_json


@dataclass(frozen=True, slots=True)
class Life:
    """``height``: how far the task's jobs were when it began, in jobs. timed: whether its time limit ended it."""

    height: float
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Lives:
    """Those of element ``index`` of the submission in ``folder``; the last is number ``restart``, counted from 0."""

    folder: Path
    index: int
    restart: int

    def begin(self, height: float) -> int:
        """Note that this one begins. Returns how many before it count."""
        lives = self._read()
        # Its own, where the same life is noted a second time, is written anew.
        known = {number: life for number, life in lives.items() if number < self.restart}
        self._write({**known, self.restart: Life(height)})
        heights = {number: life.height for number, life in known.items()} | {self.restart: height}
        best, count = 0.0, 0
        for number in range(self.restart):
            best = max(best, heights.get(number, 0.0))
            lasted = number in known and number + 1 in heights
            count += not lasted or known[number].timed or heights[number + 1] <= best
        return count

    def ends_in_time(self) -> None:
        """Note that the time limit of this one is near."""
        lives = self._read()
        if self.restart in lives:
            self._write({**lives, self.restart: Life(lives[self.restart].height, timed=True)})

    @property
    def _path(self) -> Path:
        return self.folder / f"lives_{self.index}.json"

    def _read(self) -> dict[int, Life]:
        """Empty where it was not, or could not be, written: lives that nothing is known of count."""
        with suppress(TypeError, ValueError, AttributeError):
            return {int(number): Life(**life) for number, life in read_json(self._path).items()}
        return {}

    def _write(self, lives: dict[int, Life]) -> None:
        # A full disk ends the job by itself.
        with suppress(OSError):
            body = {str(number): {"height": life.height, "timed": life.timed} for number, life in lives.items()}
            write_json(self._path, body)
