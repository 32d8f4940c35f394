"""Runs and seeds to jobs: every value that decides a result is written out here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import TypeAdapter

from replicate.jobs.data import Data
from replicate.jobs.job import TEACHER_SEED, Job, kind_named
from replicate.jobs.key import Texts, key_of
from replicate.jobs.network import Network, Untrained
from replicate.specs.load import Specs
from replicate.specs.recipe import Distillation, Evaluation, Recipe
from replicate.specs.resolve import merged
from replicate.specs.run import RunSpec

K = TypeVar("K")
V = TypeVar("V")


@cache
def _field(name: str) -> TypeAdapter[Any]:
    """What a recipe does with the value of one of its fields, at a tenth of the cost of a whole one."""
    field = Recipe.model_fields[name]
    annotated: Any = Annotated[field.annotation, field]
    return TypeAdapter(annotated, config=Recipe.model_config)


@dataclass(slots=True)
class Expander:
    """Makes the jobs of runs; each is made once however many cells ask for it.

    ``keep`` is given each job, its inputs first, and returns the one of that key: `Graph.add` of a plan.
    """

    specs: Specs
    keep: Callable[[Job], Job]
    texts: Texts = field(default_factory=Texts)
    _jobs: dict[tuple[object, ...], Job] = field(default_factory=dict)
    # What payloads have in common is made and written out once: for each of 100,000 trainings it costs seconds.
    _recipes: dict[str, Recipe] = field(default_factory=dict)
    _changed: dict[str, Recipe] = field(default_factory=dict)
    _models: dict[tuple[str, str | None], Network] = field(default_factory=dict)
    _evaluations: dict[str | None, Evaluation] = field(default_factory=dict)
    _only_teach: frozenset[str] | None = None

    def add(self, job: Job, label: str) -> Job:
        """Give the new ``job`` its key, and keep it."""
        # It is nobody else's yet.
        object.__setattr__(job, "key", key_of(job.kind, label, job.written(self.texts)))
        return self.keep(job)

    def job(self, kind: str, run: str, seed: int = 0, on: str | None = None) -> Job:
        """The job of ``kind`` that `Job.of_run` of the kind makes, made once."""
        what = (kind, run, seed, on)
        job = self._jobs.get(what)
        if job is None:
            job = self._jobs[what] = kind_named(kind).of_run(self, run, seed, on)
        return job

    def data(self, name: str) -> Job:
        """The images of data set ``name``, or the corrected labels of another one's test images."""
        return self.job("data", "", 0, name)

    def test_data(self, name: str) -> Job:
        """The images of ``name`` that networks are evaluated on: of folders, those under val/ alone.

        So whoever evaluates published weights needs no training images.
        """
        what = ("test data", name)
        return self._jobs.get(what) or _keep(self._jobs, what, Data.named(self, name, test_only=True))

    def seeds_of(self, name: str, seeds: Sequence[int]) -> Sequence[int]:
        """The seeds that run ``name`` is read at, of those asked for.

        A run that only teaches has the seed that its students learned from: one of another seed would teach nobody,
        at the cost of a whole training. A network that is also a student, or a baseline of one, has them all.
        """
        if self._only_teach is None:
            runs = self.specs.runs.runs
            students = {run.model for run in runs.values() if run.teacher is not None}
            teachers = {run.teacher for run in runs.values() if run.teacher is not None}
            self._only_teach = frozenset(name for name in teachers if runs[name].model not in students)
        return (TEACHER_SEED,) if name in self._only_teach else seeds

    def network(self, name: str, seed: int) -> Job:
        """The training of run ``name``, with all that it starts from, or its published weights if they are read."""
        return self.job("weights" if name in self.specs.scale.released else "train", name, seed)

    def recipe(self, name: str) -> Recipe:
        """The recipe of run ``name``: of runs.toml, as the scale and then the run itself change it."""
        run = self.specs.runs.runs[name]
        if run.recipe is None:
            raise ValueError(f"the run '{name}' has no recipe: it can be measured, not trained")
        base = self._recipes.get(run.recipe) or _keep(self._recipes, run.recipe, self._layered(run.recipe))
        if not run.change:
            return base
        return self._changed.get(name) or _keep(self._changed, name, self._with(base, run.change))

    def _with(self, base: Recipe, change: dict[str, object]) -> Recipe:
        values = {name: _field(name).validate_python(value) for name, value in change.items()}
        changed = _changed(base, values)
        self.texts.derive(changed, base, values)
        return changed

    def _layered(self, recipe: str) -> Recipe:
        scale = self.specs.scale
        fields = merged(self.specs.runs.layers(recipe, scale.recipes))
        return Recipe.model_validate(fields if scale.precision is None else fields | {"precision": scale.precision})

    def model(self, name: str, distillation: str | None) -> Network:
        """The network ``name``, with a second token where the ``distillation`` has one."""
        what = (name, distillation)
        return self._models.get(what) or _keep(self._models, what, self._built(name, distillation))

    def _built(self, name: str, distillation: str | None) -> Network:
        model = self.specs.scale.models[name]
        token = distillation is not None and self.specs.runs.distillation[distillation].token
        timm = model.timm_distilled if token else model.timm
        assert timm is not None, f"{name} has no second token, which the specs' checks refuse"
        return Network(
            name,
            timm,
            dict(model.args),
            model.resizable,
            model.pos_embed_std,
            model.channels_last,
        )

    def distillation(self, name: str | None) -> Distillation | None:
        return None if name is None else self.specs.runs.distillation[name]

    def evaluation(self, weights: str | None) -> Evaluation:
        """How networks are evaluated; ``weights`` where a run says which."""
        return self._evaluations.get(weights) or _keep(self._evaluations, weights, self._evaluated(weights))

    def _evaluated(self, weights: str | None) -> Evaluation:
        evaluation = self.specs.runs.evaluation
        return evaluation if weights is None else evaluation.model_copy(update={"weights": weights})

    def untrained(self, model: str, resolution: int, distillation: str | None, data: str) -> Untrained:
        """The network ``model`` as it is measured."""
        scale = self.specs.scale
        pixels = scale.resolutions[str(resolution)]
        return Untrained(self.model(model, distillation), pixels, scale.data[data].classes)

    def size(self, run: RunSpec) -> int:
        """Edge of the images of ``run`` in pixels."""
        return self.specs.scale.resolutions[str(run.resolution)]

    def seeded(self, name: str, seed: int) -> str:
        """The end of a label that names a seed; empty for published weights, which have none."""
        return "" if name in self.specs.scale.released else f"-s{seed}"


def _changed(base: Recipe, values: dict[str, object]) -> Recipe:
    """What ``base.model_copy(update=values)`` makes, without another set of the names of all fields."""
    changed, put = Recipe.__new__(Recipe), object.__setattr__
    put(changed, "__dict__", {**base.__dict__, **values})
    put(changed, "__pydantic_fields_set__", base.__pydantic_fields_set__)
    put(changed, "__pydantic_extra__", None)
    put(changed, "__pydantic_private__", None)
    return changed


def _keep(known: dict[K, V], what: K, made: V) -> V:
    known[what] = made
    return made
