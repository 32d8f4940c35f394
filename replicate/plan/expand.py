"""Runs and seeds to jobs: every value that decides a result is written out here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from replicate.plan.cost import data_seconds, predict_seconds, train_seconds
from replicate.plan.graph import Graph
from replicate.plan.job import Job, Kind, key_of
from replicate.spec.load import Specs
from replicate.spec.recipe import Distillation, Recipe
from replicate.spec.run import RunSpec, chain_of
from replicate.spec.scale import Model

VERSIONS: Mapping[Kind, int] = {"data": 1, "train": 1, "predict": 1, "measure": 1, "probe": 1}
"""Raised when the engine computes something else for the same payload; every key of the kind then moves."""

TEACHER_SEED = 0
"""One teacher for all seeds of the students: their spread is then that of the student alone."""


@dataclass(slots=True)
class Expander:
    """Makes the jobs of runs in one graph; each is expanded once however many cells ask for it."""

    specs: Specs
    graph: Graph = field(default_factory=Graph)
    _known: dict[tuple[object, ...], Job] = field(default_factory=dict)
    _recipes: dict[str, Recipe] = field(default_factory=dict)

    def data(self, name: str) -> Job:
        """The images of data set ``name``, or the corrected labels of another one's test images."""
        return self._once(("data", name), lambda: self._data(name))

    def train(self, name: str, seed: int) -> Job:
        """The training of run ``name``, with all that it starts from."""
        return self._once(("train", name, seed), lambda: self._train(name, seed))

    def predict(self, name: str, seed: int, on: str | None = None) -> Job:
        """The decisions of run ``name`` on the test images of ``on``, its own data set if None."""
        return self._once(("predict", name, seed, on), lambda: self._predict(name, seed, on))

    def measure(self, name: str) -> Job:
        """Throughput and dimensions of the network of run ``name``: untrained weights are as fast."""
        return self._once(("measure", name), lambda: self._measure(name))

    def probe(self, name: str, seed: int) -> Job:
        """Similarity of the two tokens of run ``name``, layer by layer."""
        return self._once(("probe", name, seed), lambda: self._probe(name, seed))

    def _once(self, what: tuple[object, ...], make: Callable[[], Job]) -> Job:
        known = self._known.get(what)
        if known is None:
            known = self._known[what] = make()
        return known

    def recipe(self, name: str) -> Recipe:
        """The recipe of run ``name``: of runs.toml, as the scale and then the run itself change it."""
        known = self._recipes.get(name)
        if known is None:
            run = self.specs.runs.runs[name]
            if run.recipe is None:
                raise ValueError(f"the run '{name}' has no recipe: it can be measured, not trained")
            known = self._recipes[name] = Recipe.model_validate(self._layers(run.recipe) | run.change)
        return known

    def _layers(self, recipe: str) -> dict[str, Any]:
        """From the furthest base on, what each recipe writes and then what the scale changes of it."""
        runs, values = self.specs.runs, dict[str, Any]()
        for name in chain_of(recipe, runs.extends, list(runs.recipes)):
            values |= runs.written[name] | self.specs.scale.recipes.get(name, {})
        return values

    def _data(self, name: str) -> Job:
        bound = self.specs.scale.data[name]
        body = bound.model_dump()
        if "of" in body:
            body["of"] = self.specs.scale.data[body["of"]].model_dump()
        payload = {"kind": "data", "version": VERSIONS["data"], "data": body}
        return self._add(payload, bound.source, {}, data_seconds(self.specs, name))

    def _train(self, name: str, seed: int) -> Job:
        run, scale = self.specs.runs.runs[name], self.specs.scale
        how = self._how(run)
        inputs = {"data": self.data(run.data).key}
        if run.init:
            inputs["init"] = self.train(run.init, seed).key
        if run.teacher:
            inputs["teacher"] = self.train(run.teacher, TEACHER_SEED).key
        payload = {
            "kind": "train",
            "version": VERSIONS["train"],
            "seed": seed,
            "size": scale.resolutions[str(run.resolution)],
            "model": _model(run.model, scale.models[run.model], how),
            "recipe": self.recipe(name).model_dump(),
            "distillation": how.model_dump() if how else None,
            "init_weights": (self.specs.runs.runs[run.init].weights if run.init else None) or "last",
            "inputs": inputs,
        }
        seconds = train_seconds(self.specs, run, self.recipe(name))
        return self._add(payload, f"{_label(run)}-s{seed}", inputs, seconds, name, seed)

    def _predict(self, name: str, seed: int, on: str | None) -> Job:
        run, scale = self.specs.runs.runs[name], self.specs.scale
        evaluation = self.specs.runs.evaluation.model_dump()
        if run.weights is not None:
            evaluation["weights"] = run.weights
        inputs = {"network": self.train(name, seed).key, "data": self.data(on or run.data).key}
        payload = {
            "kind": "predict",
            "version": VERSIONS["predict"],
            "size": scale.resolutions[str(run.resolution)],
            "evaluation": evaluation,
            "inputs": inputs,
        }
        seconds = predict_seconds(self.specs, run, on or run.data)
        label = _label(run) if on is None else f"{_label(run)}-on-{on}"
        return self._add(payload, f"{label}-s{seed}", inputs, seconds, name, seed)

    def _measure(self, name: str) -> Job:
        scale = self.specs.scale
        protocol = scale.measure.model_dump(exclude={"reference", "reference_resolution", "job_seconds"})
        if scale.measure.reference is not None:
            protocol["reference"] = self._network(
                scale.measure.reference, scale.measure.reference_resolution, None, "imagenet"
            )
        run = self.specs.runs.runs[name]
        payload = {
            "kind": "measure",
            "version": VERSIONS["measure"],
            **self._network(run.model, run.resolution, self._how(run), run.data),
            "protocol": protocol,
        }
        return self._add(payload, f"{run.model}-{run.resolution}", {}, scale.measure.job_seconds, name)

    def _probe(self, name: str, seed: int) -> Job:
        run = self.specs.runs.runs[name]
        inputs = {"network": self.train(name, seed).key, "data": self.data(run.data).key}
        payload = {
            "kind": "probe",
            "version": VERSIONS["probe"],
            "size": self.specs.scale.resolutions[str(run.resolution)],
            "images": min(PROBE_IMAGES, getattr(self.specs.scale.data[run.data], "test", PROBE_IMAGES)),
            "inputs": inputs,
        }
        seconds = predict_seconds(self.specs, run, run.data)
        return self._add(payload, f"{_label(run)}-s{seed}", inputs, seconds, name, seed)

    def _network(self, model: str, resolution: int, how: Distillation | None, data: str) -> dict[str, Any]:
        scale = self.specs.scale
        return {
            "model": _model(model, scale.models[model], how),
            "size": scale.resolutions[str(resolution)],
            "classes": scale.data[data].classes,
        }

    def _how(self, run: RunSpec) -> Distillation | None:
        return self.specs.runs.distillation[run.distillation] if run.distillation else None

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


def _model(name: str, model: Model, how: Distillation | None) -> dict[str, Any]:
    timm = model.timm_distilled if how is not None and how.token else model.timm
    return {
        "name": name,
        "timm": timm,
        "args": dict(model.args),
        "resizable": model.resizable,
        "pos_embed_std": model.pos_embed_std,
        "channels_last": model.channels_last,
    }


def _label(run: RunSpec) -> str:
    """``deit-b-384-token``, and the data where they are not ImageNet; the change of an ablation is in the digits."""
    data = "" if run.data == "imagenet" else f"-{run.data}"
    return f"{run.model}-{run.resolution}-{run.method}{data}"
