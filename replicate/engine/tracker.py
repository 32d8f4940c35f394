"""Hands the epochs of a training on to TensorBoard, Weights & Biases or Trackio, each an optional package.

In a thread of its own: a tracker that fails, or waits for a network, holds up no training and changes no result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import assert_never

from replicate.jobs.job import Job
from replicate.specs.watch import TrackerName
from replicate.store.epochs import EpochLine

PROJECT = "deit-replicate"
"""What a tracker on the web calls all of it; a training is called by its key."""

FOLDER = "tensorboard"
"""In the folder of a job: what ``tensorboard --logdir results`` reads. A folder is no artefact of a result."""

LAST_SECONDS = 30.0
"""How long a training that has ended waits for its tracker to send the rest."""

Numbers = Mapping[str, float]
Log = Callable[[Numbers, int], object]
Close = Callable[[], object]


class Tracker:
    """Takes epochs and returns at once; `close` ends it. What goes wrong is said once, in the log of the job."""

    def __init__(self, name: TrackerName, job: Job, folder: Path) -> None:
        self._name: TrackerName = name
        self._job, self._folder = job, folder
        self._lines: SimpleQueue[EpochLine | None] = SimpleQueue()
        # A daemon: the process ends though it waits for a network.
        self._thread = Thread(target=self._run, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def __call__(self, line: EpochLine) -> None:
        self._lines.put(line)

    def close(self) -> None:
        self._lines.put(None)
        self._thread.join(LAST_SECONDS)
        if self._thread.is_alive():
            print(f"{self._name} was not done after {LAST_SECONDS:.0f} s; the last epochs may not have reached it")

    def _run(self) -> None:
        try:
            first = self._lines.get()
            if first is None:
                return
            log, close = _opened(self._name, self._job, self._folder, first.epoch)
            line: EpochLine | None = first
            while line is not None:
                log(numbers(line), line.epoch)
                line = self._lines.get()
            close()
        except (Exception, SystemExit) as error:
            print(f"{self._name} failed, and gets no more epochs: {type(error).__name__}: {error}", flush=True)


def numbers(line: EpochLine) -> Numbers:
    """What is handed on of an epoch: all of its line but its number."""
    stated = asdict(line)
    return {name: value for name, value in stated.items() if name not in ("epoch", "epochs") and value is not None}


def _opened(name: TrackerName, job: Job, folder: Path, first: int) -> tuple[Log, Close]:
    """Open the tracker ``name`` for ``job``. It forgets what it showed from the epoch ``first`` on."""
    about = {"run": job.run, "seed": job.seed, **job.payload}
    match name:
        case "tensorboard":
            writer = import_module("torch.utils.tensorboard").SummaryWriter(str(folder / FOLDER), purge_step=first)

            def log(values: Numbers, epoch: int) -> None:
                for which, value in values.items():
                    writer.add_scalar(which, value, epoch)
                writer.flush()

            return log, writer.close
        case "wandb":
            wandb = import_module("wandb")
            wandb.init(project=PROJECT, name=job.key, id=job.key, resume="allow", config=about, dir=str(folder))
            return lambda values, epoch: wandb.log(dict(values), step=epoch), wandb.finish
        case "trackio":
            trackio = import_module("trackio")
            trackio.init(project=PROJECT, name=job.key, resume="allow", config=about)
            return lambda values, epoch: trackio.log(dict(values), step=epoch), trackio.finish
        case _:
            assert_never(name)
