"""Runs and seeds to jobs: every value that decides a result is written out here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from replicate.plan.graph import Graph
from replicate.plan.job import Job, Kind, key_of
from replicate.spec.load import Specs
from replicate.spec.recipe import Distillation, Recipe
from replicate.spec.run import RunSpec
from replicate.spec.scale import Model

VERSIONS: Mapping[Kind, int] = {"data": 1, "train": 1, "predict": 1}
"""Raised when the engine computes something else for the same payload; every key of the kind then moves."""


@dataclass(slots=True)
class Expander:
    """Makes the jobs of runs in one graph; each (run, seed) is expanded once."""

    specs: Specs
    graph: Graph = field(default_factory=Graph)
    _trained: dict[tuple[str, int], Job] = field(default_factory=dict)
    _predicted: dict[tuple[str, int], Job] = field(default_factory=dict)
    _recipes: dict[str, Recipe] = field(default_factory=dict)

    def data(self, name: str) -> Job:
        bound = self.specs.scale.data[name]
        payload = {"kind": "data", "version": VERSIONS["data"], "data": bound.model_dump()}
        seconds = self.specs.scale.job_seconds + 1e-3 * (bound.train + bound.test)
        return self._add(payload, bound.source, {}, seconds)

    def train(self, name: str, seed: int) -> Job:
        """The training of run ``name``, with all that it starts from."""
        known = self._trained.get((name, seed))
        if known is None:
            known = self._trained[name, seed] = self._train(name, seed)
        return known

    def predict(self, name: str, seed: int) -> Job:
        """The decisions of run ``name`` on the test images of its data set."""
        known = self._predicted.get((name, seed))
        if known is None:
            known = self._predicted[name, seed] = self._predict(name, seed)
        return known

    def recipe(self, name: str) -> Recipe:
        """The recipe of run ``name``: of runs.toml, as the scale and then the run itself change it."""
        known = self._recipes.get(name)
        if known is None:
            run = self.specs.runs.runs[name]
            values = self.specs.runs.recipes[run.recipe].model_dump()
            known = self._recipes[name] = Recipe.model_validate(
                values | self.specs.scale.recipes.get(run.recipe, {}) | run.change
            )
        return known

    def _train(self, name: str, seed: int) -> Job:
        run, scale = self.specs.runs.runs[name], self.specs.scale
        how = self.specs.runs.distillation[run.distillation] if run.distillation else None
        inputs = {"data": self.data(run.data).key}
        if run.init:
            inputs["init"] = self.train(run.init, seed).key
        if run.teacher:
            # One teacher for all seeds of the students: their spread is then that of the student alone.
            inputs["teacher"] = self.train(run.teacher, TEACHER_SEED).key
        model = scale.models[run.model]
        payload = {
            "kind": "train",
            "version": VERSIONS["train"],
            "seed": seed,
            "size": scale.resolutions[str(run.resolution)],
            "model": _model(run.model, model, how),
            "recipe": self.recipe(name).model_dump(),
            "distillation": how.model_dump() if how else None,
            "inputs": inputs,
        }
        return self._add(payload, f"{_label(run)}-s{seed}", inputs, self._train_seconds(name), name, seed)

    def _predict(self, name: str, seed: int) -> Job:
        run, scale = self.specs.runs.runs[name], self.specs.scale
        inputs = {"network": self.train(name, seed).key, "data": self.data(run.data).key}
        payload = {
            "kind": "predict",
            "version": VERSIONS["predict"],
            "size": scale.resolutions[str(run.resolution)],
            "evaluation": self.specs.runs.evaluation.model_dump(),
            "inputs": inputs,
        }
        each = self._image_seconds(run.model, run.resolution) * scale.predict_share
        seconds = scale.job_seconds + scale.data[run.data].test * each
        return self._add(payload, f"{_label(run)}-s{seed}", inputs, seconds, name, seed)

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

    def _train_seconds(self, name: str) -> float:
        run, scale = self.specs.runs.runs[name], self.specs.scale
        each = self._image_seconds(run.model, run.resolution)
        if run.teacher:
            teacher = self.specs.runs.runs[run.teacher]
            each += scale.predict_share * self._image_seconds(teacher.model, teacher.resolution)
        return scale.job_seconds + each * self.recipe(name).epochs * scale.data[run.data].train

    def _image_seconds(self, model: str, resolution: int) -> float:
        """Seconds to train on one image; at a resolution without a cost, the known one in proportion to pixels."""
        known = self.specs.scale.models[model].seconds
        if str(resolution) in known or not known:
            return known.get(str(resolution), 0.0)
        nearest, seconds = max(known.items(), key=lambda item: int(item[0]))
        sizes = self.specs.scale.resolutions
        ratio = sizes[str(resolution)] / sizes.get(nearest, int(nearest))
        return seconds * ratio**2


TEACHER_SEED = 0


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
    """``deit-b-384-token``: the change of an ablation is in the digits of the key."""
    return f"{run.model}-{run.resolution}-{run.method}"
