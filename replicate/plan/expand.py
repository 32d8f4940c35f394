"""Runs and seeds to jobs: every value that decides a result is written out here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import TypeAdapter

from replicate.plan.cost import data_seconds, predict_seconds, train_seconds
from replicate.plan.graph import Graph
from replicate.plan.job import Job, Kind, Part, key_of
from replicate.specs.load import Specs
from replicate.specs.recipe import Recipe
from replicate.specs.resolve import merged
from replicate.specs.run import RunSpec
from replicate.specs.scale import FolderData

K = TypeVar("K")
V = TypeVar("V")

VERSIONS: Mapping[Kind, int] = {"data": 1, "weights": 1, "train": 2, "predict": 1, "measure": 1, "probe": 1}
"""Raised when the engine computes something else for the same payload; every key of the kind then moves."""

TEACHER_SEED = 0
"""One teacher for all seeds of the students: their spread is then that of the student alone."""


@cache
def _field(name: str) -> TypeAdapter[Any]:
    """What a recipe does with the value of one of its fields, at a tenth of the cost of a whole one."""
    field = Recipe.model_fields[name]
    annotated: Any = Annotated[field.annotation, field]
    return TypeAdapter(annotated, config=Recipe.model_config)


@dataclass(slots=True)
class Expander:
    """Makes the jobs of runs in one graph; each is expanded once however many cells ask for it."""

    specs: Specs
    graph: Graph = field(default_factory=Graph)
    _known: dict[tuple[object, ...], Job] = field(default_factory=dict)
    # What payloads have in common is made and written out once: for each of 100,000 trainings it costs seconds.
    _recipes: dict[str, Part] = field(default_factory=dict)
    _models: dict[tuple[str, str | None], Part] = field(default_factory=dict)
    _distillations: dict[str, Part] = field(default_factory=dict)
    _evaluations: dict[str | None, Part] = field(default_factory=dict)

    def data(self, name: str) -> Job:
        """The images of data set ``name``, or the corrected labels of another one's test images."""
        what = ("data", name)
        return self._known.get(what) or _keep(self._known, what, self._data(name))

    def test_data(self, name: str) -> Job:
        """The images of ``name`` that networks are evaluated on: of folders, those under val/ alone.

        So whoever evaluates published weights needs no training images.
        """
        what = ("test data", name)
        return self._known.get(what) or _keep(self._known, what, self._data(name, test_only=True))

    def network(self, name: str, seed: int) -> Job:
        """The training of run ``name``, with all that it starts from, or its published weights if they are read."""
        what = ("network", name, seed)
        make = self._weights if name in self.specs.scale.released else self._train
        return self._known.get(what) or _keep(self._known, what, make(name, seed))

    def predict(self, name: str, seed: int, on: str | None = None) -> Job:
        """The decisions of run ``name`` on the test images of ``on``, its own data set if None."""
        what = ("predict", name, seed, on)
        return self._known.get(what) or _keep(self._known, what, self._predict(name, seed, on))

    def measure(self, name: str) -> Job:
        """Throughput and dimensions of the network of run ``name``: untrained weights are as fast."""
        what = ("measure", name)
        return self._known.get(what) or _keep(self._known, what, self._measure(name))

    def probe(self, name: str, seed: int) -> Job:
        """Similarity of the two tokens of run ``name``, layer by layer."""
        what = ("probe", name, seed)
        return self._known.get(what) or _keep(self._known, what, self._probe(name, seed))

    def recipe(self, name: str) -> Recipe:
        """The recipe of run ``name``: of runs.toml, as the scale and then the run itself change it."""
        return Recipe.model_validate(dict(self._recipe(name)))

    def _recipe(self, name: str) -> Part:
        run = self.specs.runs.runs[name]
        if run.recipe is None:
            raise ValueError(f"the run '{name}' has no recipe: it can be measured, not trained")
        base = self._recipes.get(run.recipe) or _keep(self._recipes, run.recipe, self._layered(run.recipe))
        if not run.change:
            return base
        return base.changed({name: _field(name).validate_python(value) for name, value in run.change.items()})

    def _layered(self, recipe: str) -> Part:
        values = merged(self.specs.runs.layers(recipe, self.specs.scale.recipes))
        return Part("recipe", Recipe.model_validate(values).model_dump())

    def _model(self, name: str, distillation: str | None) -> Part:
        what = (name, distillation)
        return self._models.get(what) or _keep(self._models, what, self._built(name, distillation))

    def _built(self, name: str, distillation: str | None) -> Part:
        model = self.specs.scale.models[name]
        token = distillation is not None and self.specs.runs.distillation[distillation].token
        values = {
            "name": name,
            "timm": model.timm_distilled if token else model.timm,
            "args": dict(model.args),
            "resizable": model.resizable,
            "pos_embed_std": model.pos_embed_std,
            "channels_last": model.channels_last,
        }
        return Part("model", values)

    def _distillation(self, name: str | None) -> Part | None:
        if name is None:
            return None
        known = self._distillations
        return known.get(name) or _keep(
            known, name, Part("distillation", self.specs.runs.distillation[name].model_dump())
        )

    def _evaluation(self, weights: str | None) -> Part:
        known = self._evaluations
        return known.get(weights) or _keep(known, weights, self._evaluated(weights))

    def _evaluated(self, weights: str | None) -> Part:
        changed = {} if weights is None else {"weights": weights}
        return Part("evaluation", self.specs.runs.evaluation.model_dump() | changed)

    def _data(self, name: str, test_only: bool = False) -> Job:
        bound = self.specs.scale.data[name]
        body = bound.model_dump()
        label: str = bound.source
        if test_only and isinstance(bound, FolderData) and bound.train:
            body["train"], label = 0, f"{bound.source}-val"
        if "of" in body:
            body["of"] = self.specs.scale.data[body["of"]].model_dump()
        payload = {"kind": "data", "version": VERSIONS["data"], "data": body}
        return self._add(payload, label, {}, data_seconds(self.specs, body))

    def _train(self, name: str, seed: int) -> Job:
        run, scale, recipe = self.specs.runs.runs[name], self.specs.scale, self._recipe(name)
        inputs = {"data": self.data(run.data).key}
        if run.init:
            inputs["init"] = self.network(run.init, seed).key
        if run.teacher:
            inputs["teacher"] = self.network(run.teacher, TEACHER_SEED).key
        payload = {
            "kind": "train",
            "version": VERSIONS["train"],
            "seed": seed,
            "size": scale.resolutions[str(run.resolution)],
            "model": self._model(run.model, run.distillation),
            "recipe": recipe,
            "distillation": self._distillation(run.distillation),
            "init_weights": (self.specs.runs.runs[run.init].weights if run.init else None) or "last",
            "inputs": inputs,
        }
        seconds = train_seconds(self.specs, run, recipe["epochs"])
        return self._add(payload, f"{_label(run)}-s{seed}", inputs, seconds, name, seed)

    def _weights(self, name: str, seed: int) -> Job:
        """``seed`` is that of what is trained beside them: the seed of published weights is unknown."""
        run = self.specs.runs.runs[name]
        payload = {
            "kind": "weights",
            "version": VERSIONS["weights"],
            "model": self._model(run.model, run.distillation),
            "size": self.specs.scale.resolutions[str(run.resolution)],
            "distillation": self._distillation(run.distillation),
            "data": self.specs.scale.data[run.data].model_dump(),
            "file": self.specs.scale.released[name],
        }
        return self._add(payload, _label(run), {}, self.specs.scale.job_seconds, name, seed)

    def _predict(self, name: str, seed: int, on: str | None) -> Job:
        run, scale = self.specs.runs.runs[name], self.specs.scale
        inputs = {"network": self.network(name, seed).key, "data": self.test_data(on or run.data).key}
        payload = {
            "kind": "predict",
            "version": VERSIONS["predict"],
            "size": scale.resolutions[str(run.resolution)],
            "evaluation": self._evaluation(run.weights),
            "inputs": inputs,
        }
        seconds = predict_seconds(self.specs, run, on or run.data)
        label = _label(run) if on is None else f"{_label(run)}-on-{on}"
        return self._add(payload, f"{label}{self._seeded(name, seed)}", inputs, seconds, name, seed)

    def _measure(self, name: str) -> Job:
        scale = self.specs.scale
        protocol = scale.measure.model_dump(exclude={"reference", "reference_resolution", "job_seconds"})
        if scale.measure.reference is not None:
            protocol["reference"] = self._untrained(
                scale.measure.reference, scale.measure.reference_resolution, None, "imagenet"
            )
        run = self.specs.runs.runs[name]
        payload = {
            "kind": "measure",
            "version": VERSIONS["measure"],
            **self._untrained(run.model, run.resolution, run.distillation, run.data),
            "protocol": protocol,
        }
        return self._add(payload, f"{run.model}-{run.resolution}", {}, scale.measure.job_seconds, name)

    def _probe(self, name: str, seed: int) -> Job:
        run = self.specs.runs.runs[name]
        inputs = {"network": self.network(name, seed).key, "data": self.test_data(run.data).key}
        payload = {
            "kind": "probe",
            "version": VERSIONS["probe"],
            "size": self.specs.scale.resolutions[str(run.resolution)],
            "images": min(PROBE_IMAGES, getattr(self.specs.scale.data[run.data], "test", PROBE_IMAGES)),
            "inputs": inputs,
        }
        seconds = predict_seconds(self.specs, run, run.data)
        return self._add(payload, f"{_label(run)}{self._seeded(name, seed)}", inputs, seconds, name, seed)

    def _seeded(self, name: str, seed: int) -> str:
        return "" if name in self.specs.scale.released else f"-s{seed}"

    def _untrained(self, model: str, resolution: int, distillation: str | None, data: str) -> dict[str, Any]:
        scale = self.specs.scale
        return {
            "model": self._model(model, distillation),
            "size": scale.resolutions[str(resolution)],
            "classes": scale.data[data].classes,
        }

    def _add(
        self,
        payload: dict[str, Any],
        label: str,
        inputs: dict[str, str],
        seconds: float,
        run: str = "",
        seed: int | None = None,
    ) -> Job:
        key = key_of(payload, label)
        return self.graph.add(Job(key, payload["kind"], payload, inputs, run, seed, seconds))


PROBE_IMAGES = 2000
"""Test images that token similarities are averaged over."""


def _keep(known: dict[K, V], what: K, made: V) -> V:
    known[what] = made
    return made


def _label(run: RunSpec) -> str:
    """``deit-b-384-token``, and the data where they are not ImageNet; the change of an ablation is in the digits."""
    data = "" if run.data == "imagenet" else f"-{run.data}"
    return f"{run.model}-{run.resolution}-{run.method}{data}"
