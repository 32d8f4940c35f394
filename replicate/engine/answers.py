"""What a teacher says of the images of a stream: asked live, or read from what a job of answers stored.

Stored answers are those that the teacher would give live, image by image, so they change no bit of a training on the
machine that they were made on. What is stored for another teacher, precision or stream, or does not agree with a sample
of live answers, is not used.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from replicate.engine import input_results, models
from replicate.engine.batches import Batch, Crops, TrainBatches, training_batches
from replicate.engine.checkpoint import Checkpoints, Snapshot
from replicate.engine.data import DataSet
from replicate.engine.device_ops import onto
from replicate.engine.keyed_random import generator
from replicate.engine.micro_batch import MicroBatches
from replicate.engine.prefetcher import Prefetcher
from replicate.engine.ranks import Ranks
from replicate.engine.run import Progress, Report, Stop, Stopped
from replicate.errors import NotAvailable, StoreFault
from replicate.jobs.answers import ANSWERS, BLOCK, Answers
from replicate.jobs.job import same_result
from replicate.jobs.train import Train
from replicate.specs.recipe import Attention, Precision
from replicate.store.files import write_bytes

log = logging.getLogger(__name__)

SAMPLE = 1000
"""Images that a GPU's answers of a block are compared on, at least; on a CPU one batch is, which has to be equal."""
DIFFERENT = 0.001
"""Share of a sample that may differ on a GPU, whose kernels differ with the number of images at a time."""


def run(job: Answers, inputs: Mapping[str, Path], folder: Path, report: Report, stop: Stop) -> dict[str, object]:
    """Run an answers job: ``answers.npy`` in ``folder``, int16 [epochs, positions].

    report: gets ``{"epoch", "epochs", "step", "steps"}``, epoch and step counted from 1 and within the block.
    stop: asked after each batch; True writes a checkpoint there and raises `Stopped`, and the next call goes on.
    Returns the number of epochs, images and of classes that were given.
    Errors: `NotAvailable` for fp16 without a GPU, and those of `TrainBatches` and `input_results.network`.
    """
    device = models.best_device()
    if job.needs_gpu and device.type != "cuda":
        raise NotAvailable(
            f"answers of precision '{job.precision}' need a GPU, got device '{device.type}'\n"
            "  run it where torch finds a GPU"
        )
    data = input_results.data_set(inputs)
    teacher = Teacher(inputs["teacher"], job.size, data.classes, job.attention, job.precision, device)
    with closing(_Batches(job, data, device)) as batches:
        return _answer(job, teacher, batches, folder, report, stop)


def _answer(
    job: Answers, teacher: Teacher, batches: _Batches, folder: Path, report: Report, stop: Stop
) -> dict[str, object]:
    steps, width = batches.steps, job.stream.batch
    checkpoints, progress = Checkpoints(folder, job), Progress(report)
    answers, start = np.empty((job.epochs, steps * width), np.int16), 0
    if (snapshot := checkpoints.newest()) is not None:
        answers[:], start = snapshot.tensors["answers"].numpy(), snapshot.position

    def save(position: int) -> None:
        checkpoints.save(Snapshot(position, {"answers": torch.from_numpy(answers)}, {}))

    for position in range(start, job.epochs * steps):
        epoch, step = divmod(position, steps)
        images = batches.images(job.first + epoch, step)
        answers[epoch, step * width : (step + 1) * width] = teacher.classes(images).to(torch.int16).cpu().numpy()
        fields: dict[str, object] = {"epoch": epoch + 1, "epochs": job.epochs, "step": step + 1, "steps": steps}
        progress(fields, always=position == job.epochs * steps - 1)
        if stop():
            save(position + 1)
            raise Stopped(f"answers: stopped after epoch {epoch + 1}, step {step + 1}: {checkpoints.last}")
        if checkpoints.due():
            save(position + 1)
    buffer = io.BytesIO()
    np.save(buffer, answers)
    write_bytes(folder / ANSWERS, buffer.getvalue())
    checkpoints.clear()
    return {"epochs": job.epochs, "images": answers.size, "classes": len(np.unique(answers))}


class _Batches:
    """The images of the stream of ``job``, on ``device``; prepared ahead for a GPU, as a training's are."""

    def __init__(self, job: Answers, data: DataSet, device: torch.device) -> None:
        assert job.seed is not None, "its payload has one"
        end = job.first + job.epochs
        recipe = job.stream.recipe(end, job.precision, job.attention)
        self._batches = training_batches(data, recipe, job.size, job.seed, Ranks(), device)
        self._device, self.steps = device, self._batches.steps_per_epoch
        self._ahead: Prefetcher[Crops] | None = None
        if device.type == "cuda":
            self._ahead = Prefetcher(self._crops, end * self.steps)

    def images(self, epoch: int, step: int) -> Tensor:
        return self._batch(epoch, step).images

    def _batch(self, epoch: int, step: int) -> Batch:
        if self._ahead is None:
            return self._batches.batch(epoch, step)
        return self._batches.finished(self._ahead(epoch * self.steps + step), self._device)

    def _crops(self, position: int) -> Crops:
        return self._batches.crops(*divmod(position, self.steps)).pinned()

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
        self._batches.close()


class Teacher:
    """The trained network in ``folder``, on ``device``."""

    def __init__(
        self, folder: Path, size: int, classes: int, attention: Attention, precision: Precision, device: torch.device
    ) -> None:
        # Before the first step: building a network draws from torch's generator, as dropout does.
        self.network = input_results.network(folder, size, classes, attention=attention).to(device)
        self._precision, self._device = precision, device
        self._format = models.memory_format(input_results.network_of(folder).model)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits [b, K] of its heads together."""
        with models.autocast(self._precision, self._device):
            return models.joint(self.network, images.contiguous(memory_format=self._format))

    def classes(self, images: Tensor) -> Tensor:
        """Its decisions int64 [b], in smaller parts where the memory of a GPU does not suffice."""
        parts = MicroBatches(len(images)).each(lambda some: self.logits(some).argmax(dim=1), images)
        return torch.cat(parts)


class Lessons:
    """What the teacher of a training says of each batch: stored answers where there are some, else live ones."""

    def __init__(
        self, job: Train, inputs: Mapping[str, Path], data: DataSet, team: Ranks, device: torch.device
    ) -> None:
        recipe = job.recipe
        self.teacher = Teacher(inputs["teacher"], job.size, data.classes, recipe.attention, recipe.precision, device)
        self._job, self._data, self._team, self._device = job, data, team, device
        self._stored = {block.first: (block, inputs[role]) for role, block in job.aids().items() if role in inputs}
        self._open: tuple[int, NDArray[np.int16] | None] = -1, None

    def __call__(self, images: Tensor, epoch: int, positions: range) -> Tensor:
        """Logits [b, K] of ``images``, or their classes [b] as stored for the ``positions`` of their epoch."""
        first = epoch // BLOCK * BLOCK
        if self._open[0] != first:
            self._open = first, self._block(first)
        answers = self._open[1]
        if answers is None:
            return self.teacher.logits(images)
        found = torch.from_numpy(answers[epoch - first, positions.start : positions.stop].astype(np.int64))
        return onto(found, self._device)

    def _block(self, first: int) -> NDArray[np.int16] | None:
        """The stored answers of the block that begins with epoch ``first``; None where none are to be used."""
        if first not in self._stored:
            return None
        job, folder = self._stored[first]
        try:
            answers = read_answers(folder, job, len(self._data.train), self._data.classes)
            self._compare(job, answers)
        except StoreFault as fault:
            log.warning("%s\n  the teacher answers live in its place", fault)
            return None
        print(
            f"the teacher's answers in epochs {first + 1} to {first + job.epochs} are read from {job.key}", flush=True
        )
        return answers

    def _compare(self, job: Answers, answers: NDArray[np.int16]) -> None:
        """Raise StoreFault where a random sample of ``answers`` is not what the teacher says here."""
        recipe, team, on_cpu = self._job.recipe, self._team, self._device.type == "cpu"
        assert job.seed is not None, "its payload has one"
        # Not those of the training, whose thread may be making the next batch.
        batches = TrainBatches(self._data, recipe, job.size, job.seed, team.rank, team.world_size)
        draws = generator(job.seed, f"sample for {self._job.key}", job.first, team.rank)
        compared = different = 0
        while compared < (1 if on_cpu else SAMPLE):
            epoch, step = int(draws.integers(job.epochs)), int(draws.integers(batches.steps_per_epoch))
            crops = batches.crops(job.first + epoch, step, erase=not on_cpu)
            images = batches.finished(crops, self._device).images
            where = batches.positions(step)
            said = self.teacher.classes(images).cpu().numpy()
            different += int((said != answers[epoch, where.start : where.stop]).sum())
            compared += len(images)
        if different > (0 if on_cpu else DIFFERENT * compared):
            raise StoreFault(f"{job.key}: {different} of {compared} stored answers are not what the teacher says here")


def read_answers(folder: Path, job: Answers, images: int, classes: int) -> NDArray[np.int16]:
    """Return what ``job`` stored in ``folder``, int16 [epochs, positions].

    images, classes: of the training set. Raises StoreFault for a file that is cut short or damaged, and for answers
    of another teacher, precision or stream.
    """
    try:
        payload = json.loads((folder / "job.json").read_text(encoding="utf-8"))["payload"]
        if not same_result(job, payload):
            raise StoreFault(f"{folder.name}: answers of another teacher, precision or stream")
        answers = np.load(folder / ANSWERS, allow_pickle=False)
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise StoreFault(f"{folder.name}/{ANSWERS}: cut short or damaged ({error})") from error
    shape = job.epochs, job.steps(images) * job.stream.batch
    if answers.dtype != np.int16 or answers.shape != shape:
        raise StoreFault(f"{folder.name}/{ANSWERS}: {answers.dtype} {answers.shape}, expected int16 {shape}")
    if answers.size and not (int(answers.min()) >= 0 and int(answers.max()) < classes):
        raise StoreFault(f"{folder.name}/{ANSWERS}: classes beyond the {classes} of the data set")
    found: NDArray[np.int16] = answers
    return found
