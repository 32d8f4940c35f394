"""Classes that a teacher gives to the images of a stream, stored once for all students that see the same images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Self

from replicate.jobs.data import Data
from replicate.jobs.job import FILES_MB, Job, Line, Outcome, register
from replicate.jobs.key import Texts, key_of
from replicate.specs.recipe import Attention, Count, NonNegative, Precision, Probability, Recipe, Strict, epoch_length
from replicate.text import pairs

if TYPE_CHECKING:
    from replicate.jobs.train import Train

BLOCK = 10
"""Epochs of one job, at most: an hour of a V100 for each two of RegNetY-16GF on ImageNet. It divides the lengths of the
paper's trainings, so that the first blocks of a long one are those of a short one."""

ANSWERS = "answers.npy"
"""int16 [epochs, positions]: for each image of each epoch, by its position in the stream, the teacher's class."""


class Stream(Strict):
    """The fields of a recipe that decide which pixels the teacher sees, and in which order (`Recipe` explains them).

    How long the training is, how labels are smoothed and how the student learns are no part of it.
    """

    batch: Count
    mix_batch: Count
    repeats: Count
    crop_scale: tuple[float, float]
    crop_ratio: tuple[float, float]
    flip: Probability
    auto_augment: str
    color_jitter: NonNegative
    erase: Probability
    mixup: NonNegative
    cutmix: NonNegative
    mix_prob: Probability
    mix_switch: Probability

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        return cls(**{name: getattr(recipe, name) for name in cls.model_fields})

    def recipe(self, epochs: int, precision: Precision, attention: Attention) -> Recipe:
        """A recipe of the same images. What is set beside them has no effect on an image."""
        return Recipe(
            **self.model_dump(), epochs=epochs, precision=precision, attention=attention,
            optimizer="sgd", lr=1.0, lr_batch=1, weight_decay=0.0, momentum=0.0, warmup_epochs=0, warmup_lr=0.0,
            min_lr=0.0, label_smoothing=0.0, drop_path=0.0, dropout=0.0, train_mode=False, ema=0.0,
        )  # fmt: skip


@register
class Answers(Job):
    """Inputs: ``teacher`` and ``data``. The answers in ``epochs`` epochs from epoch ``first`` on, counted from 0."""

    size: int
    """Edge of the images in pixels."""
    stream: Stream
    precision: Precision
    attention: Attention
    first: int
    epochs: int

    title = "Answers of a teacher"
    # Inputs of trainings, as images are: nothing but a training asks for them.
    source = True
    seeded = True
    resumable = True
    like = "predict"

    def steps(self, images: int) -> int:
        """Batches of an epoch; the last, incomplete one is dropped."""
        return epoch_length(images) // self.stream.batch

    @property
    def needs_gpu(self) -> bool:
        # As the training of its students does (`Train.needs_gpu`).
        return self.precision == "fp16"

    def megabytes(self, jobs: Mapping[str, Job]) -> float:
        return FILES_MB + self._mb(jobs)

    def megabytes_meanwhile(self, jobs: Mapping[str, Job]) -> float:
        return self._mb(jobs)

    def _mb(self, jobs: Mapping[str, Job]) -> float:
        data = jobs[self.inputs["data"]]
        images = getattr(data.data, "train", 0) if isinstance(data, Data) else 0
        return 2 * self.steps(images) * self.stream.batch * self.epochs / 1e6

    def describe(self, result: Outcome | None) -> Iterator[Line]:
        yield "run", f"{self.run} (tables/runs.toml) teaches every training that sees these images"
        last = self.first + self.epochs
        which = f"epoch {last}" if self.epochs == 1 else f"epochs {self.first + 1} to {last}"
        yield "images", f"{which} of seed {self.seed}, {self.size} pixels, {self.precision}, {self.attention} attention"
        yield "stream", pairs(self.stream.model_dump())
        if result is not None:
            yield "result", pairs(result.summary)


def answers_for(student: Train) -> dict[str, Answers]:
    """The answers that ``student`` can read in place of asking its teacher, by role; none unless it learns from
    decisions.

    Blocks begin at multiples of `BLOCK`, whichever the student; only the last one of a student may be shorter.
    """
    distillation, recipe = student.distillation, student.recipe
    teacher = student.inputs.get("teacher")
    if teacher is None or distillation is None or distillation.method != "hard":
        return {}
    texts, stream = Texts(), Stream.of(recipe)
    name = teacher.partition("-")[2].rpartition("-")[0] or "teacher"
    found: dict[str, Answers] = {}
    for first in range(0, recipe.epochs, BLOCK):
        job = Answers(
            inputs={"data": student.inputs["data"], "teacher": teacher},
            seed=student.seed,
            size=student.size,
            stream=stream,
            precision=recipe.precision,
            attention=recipe.attention,
            first=first,
            epochs=min(BLOCK, recipe.epochs - first),
        )
        # It is nobody else's yet.
        key = key_of(job.kind, f"{name}-{student.size}-s{student.seed}-e{first}", job.written(texts))
        object.__setattr__(job, "key", key)
        found[f"answers from epoch {first + 1}"] = job
    return found
