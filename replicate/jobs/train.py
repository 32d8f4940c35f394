"""Training of a network: pre-training, distillation and fine-tuning alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from replicate.jobs.answers import Answers, answers_for
from replicate.jobs.data import Data
from replicate.jobs.job import FILES_MB, TEACHER_SEED, Job, Line, Outcome, register
from replicate.jobs.network import Network, described, has_seconds, image_seconds, images, label, parameters
from replicate.specs.load import Specs
from replicate.specs.recipe import Distillation, Recipe, check_shares, check_whole
from replicate.specs.run import RunSpec
from replicate.text import pairs

if TYPE_CHECKING:
    from replicate.jobs.expand import Expander

CURVE = "curve.json"
"""Rate, loss, images seen and validation, epoch by epoch."""

VALIDATION_IMAGES = 256
"""Enough to see a curve rise (one standard error is 3 points at most), and 1-2 % of an epoch's time at mini scale."""

BATCH_NORM = "regnet"
"""How timm's names of networks with BatchNorm begin, of those that the paper trains. (Of others the engine knows.)"""

COPIES = 2
"""Checkpoints that a training keeps at once: the last and the one before it."""


@register
class Train(Job):
    """Inputs: ``data``, and where the run has them ``init``, what it starts from, and ``teacher``."""

    size: int
    """Edge of the images in pixels."""
    model: Network
    recipe: Recipe
    distillation: Distillation | None
    init_weights: Literal["last", "ema"] = "last"
    """Of the network that it starts from."""

    version = 2
    neutral = {"init_weights": "last", "recipe": {"clip_norm": 0.0, "attention": "fused"}}
    title = "Training"
    seeded = True
    trains = True
    resumable = True
    shared = True

    @classmethod
    def of_run(cls, expander: Expander, run: str, seed: int, on: str | None) -> Job:
        """The training of the run ``run``, with all that it starts from."""
        specs = expander.specs
        spec, recipe = specs.runs.runs[run], expander.recipe(run)
        inputs = {"data": expander.data(spec.data).key}
        if spec.init:
            inputs["init"] = expander.network(spec.init, seed).key
        if spec.teacher:
            inputs["teacher"] = expander.network(spec.teacher, TEACHER_SEED).key
        job = cls(
            inputs=inputs,
            run=run,
            seed=seed,
            seconds=train_seconds(specs, spec, recipe.epochs),
            estimated=all(has_seconds(specs, each) for each in (spec, *_teachers(specs, spec))),
            size=expander.size(spec),
            model=expander.model(spec.model, spec.distillation),
            recipe=recipe,
            distillation=expander.distillation(spec.distillation),
            watch=specs.scale.watch,
            init_weights=(specs.runs.runs[spec.init].weights if spec.init else None) or "last",
        )
        return expander.add(job, f"{label(spec)}-s{seed}")

    def aids(self) -> Mapping[str, Answers]:
        return answers_for(self)

    def check_processes(self, processes: int) -> None:
        check_shares(self.recipe, processes)
        if self._takes_statistics:
            check_whole(self.recipe, processes)

    @property
    def _takes_statistics(self) -> bool:
        return self.recipe.train_mode and self.model.timm.startswith(BATCH_NORM)

    def process_counts(self, most: int) -> tuple[int, ...]:
        """Those that tear no group of images that are mixed, and that leave the draws of dropout as they are."""
        recipe = self.recipe
        if recipe.dropout > 0 or recipe.batch % recipe.mix_batch:
            return (1,)
        groups = recipe.batch // recipe.mix_batch
        return tuple(count for count in range(1, most + 1) if groups % count == 0)

    def share(self, processes: int) -> int:
        return 0 if self._takes_statistics else self.recipe.batch // processes

    @property
    def needs_gpu(self) -> bool:
        # Its loss is scaled on a GPU. bf16 needs no scaling, and any processor computes it.
        return self.recipe.precision == "fp16"

    def megabytes(self, jobs: Mapping[str, Job]) -> float:
        return FILES_MB + self._copy(jobs) * (1 + bool(self.recipe.ema))

    def megabytes_meanwhile(self, jobs: Mapping[str, Job]) -> float:
        """Checkpoints: with the weights, their average and the moments."""
        moments = 2 if self.recipe.optimizer == "adamw" else 1
        return COPIES * self._copy(jobs) * (1 + bool(self.recipe.ema) + moments)

    def _copy(self, jobs: Mapping[str, Job]) -> float:
        """Megabytes of one copy of the weights."""
        data = jobs[self.inputs["data"]]
        classes = data.data.classes if isinstance(data, Data) else 0
        return 4 * parameters(self.model, self.size, classes, self.distillation) / 1e6

    def describe(self, result: Outcome | None) -> Iterator[Line]:
        yield "run", f"{self.described_run}, {self.size} pixels"
        yield "model", described(self.model)
        if self.distillation is not None:
            yield "distilled", pairs(self.distillation.model_dump())
        yield "recipe", pairs(self.recipe.model_dump())
        if result is not None:
            yield "result", pairs(result.summary)


def train_seconds(specs: Specs, run: RunSpec, epochs: int) -> float:
    """Expected seconds of a training, its teacher's among them."""
    alone = image_seconds(specs, run) * epochs * images(specs, run.data, "train")
    return specs.scale.job_seconds + alone + teacher_seconds(specs, run, epochs)


def teacher_seconds(specs: Specs, run: RunSpec, epochs: int) -> float:
    """The part of a training in which the teacher answers: once for each image of each epoch."""
    each = sum(specs.scale.predict_share * image_seconds(specs, teacher) for teacher in _teachers(specs, run))
    return each * epochs * images(specs, run.data, "train")


def stream_seconds(specs: Specs, run: RunSpec, epochs: int) -> float:
    """What making the images of so many epochs costs the processor that trains."""
    return specs.scale.stream_seconds * epochs * images(specs, run.data, "train")


def _teachers(specs: Specs, run: RunSpec) -> list[RunSpec]:
    return [] if run.teacher is None else [specs.runs.runs[run.teacher]]
