"""What a training says of itself at the end of each epoch: one line of JSON in the job's folder.

Written as it happens, so that a training can be watched; no part of the result, since it holds times.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from replicate.jobs.job import HOUR
from replicate.store.files import parsed, write_text
from replicate.text import duration

EPOCHS = "epochs.jsonl"


@dataclass(frozen=True, slots=True)
class EpochLine:
    """An epoch that ended, counted from 1, of ``epochs``.

    loss: mean over its steps. rate: the learning rate. top1: [%] of a few hundred test images; None without any.
    images: seen since the training began. seconds: wall time of the epoch, and waiting: how much of it was spent on
    waiting for images, both since the training was last resumed. speed: images a second of all processes together.
    memory_mb: the most that this process has used, of the GPU where there is one. gpus: that work on it together.
    """

    epoch: int
    epochs: int
    loss: float
    rate: float
    top1: float | None
    images: int
    seconds: float
    waiting: float
    speed: float
    memory_mb: float
    gpus: int

    @property
    def left(self) -> float:
        """Seconds that the other epochs take at this one's speed."""
        whole = self.images / self.epoch
        return (self.epochs - self.epoch) * whole / self.speed if self.speed > 0 else 0.0

    @property
    def short(self) -> str:
        """For a list of jobs: ``top-1 31.2 %, 812 images/s, about 3 min left``."""
        top1 = "" if self.top1 is None else f"top-1 {self.top1:.1f} %, "
        hours = f" ({self.gpus * self.left / HOUR:,.1f} GPU-hours)" if self.gpus else ""
        return f"{top1}{self.speed:,.0f} images/s, about {duration(self.left)} left{hours}"

    def __str__(self) -> str:
        waiting = f"{self.waiting:.1f} of {self.seconds:.1f} s waiting for images"
        return (
            f"epoch {self.epoch}/{self.epochs}: loss {self.loss:.4f}, rate {self.rate:.3g}, {self.short}; {waiting}, "
            f"{self.memory_mb:,.0f} MB"
        )


def begin(folder: Path, done: int) -> None:
    """Forget the epochs after the first ``done``: a training that resumes does them again."""
    kept = [line for line in read(folder) if line.epoch <= done]
    if kept or (folder / EPOCHS).exists():
        with suppress(OSError):
            write_text(folder / EPOCHS, "".join(map(_json, kept)))


def append(folder: Path, line: EpochLine) -> None:
    """Add ``line``. A full disk loses it: the training goes on."""
    with suppress(OSError), (folder / EPOCHS).open("a", encoding="utf-8") as file:
        file.write(_json(line))


def read(folder: Path) -> Sequence[EpochLine]:
    """The epochs so far, without what cannot be read, such as a line that is just being written."""
    try:
        text = (folder / EPOCHS).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        with suppress(ValueError, TypeError, KeyError):
            stated = parsed(line)
            found.append(EpochLine(**{each.name: stated[each.name] for each in fields(EpochLine)}))
    return [line for line in found if _whole(line)]


def _whole(line: EpochLine) -> bool:
    """Whether all of it are numbers that a training writes."""
    numbers = [each for name, each in asdict(line).items() if not (name == "top1" and each is None)]
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in numbers):
        return False
    return all(isinstance(each, int) and each >= 1 for each in (line.epoch, line.epochs, line.images))


def _json(line: EpochLine) -> str:
    return json.dumps(asdict(line)) + "\n"
