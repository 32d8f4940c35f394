"""The networks to be trained, each declared once in tables/runs.toml."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from replicate.spec.recipe import Distillation, Evaluation, Recipe, Strict


class RunSpec(Strict):
    """One network: a model trained with a recipe on a data set, from scratch or from another run.

    ``model`` and ``data`` are logical names that the scale binds; ``resolution`` is the paper's, in pixels,
    likewise. ``change`` replaces single fields of the recipe. ``distillation`` names how ``teacher`` is used.
    """

    model: str
    recipe: str
    data: str = "imagenet"
    resolution: int = 224
    init: str | None = None
    teacher: str | None = None
    distillation: str | None = None
    weights: Literal["last", "ema"] | None = None
    """Which weights are evaluated, where it is not what ``[evaluation]`` says (Table 8's EMA row)."""
    change: dict[str, Any] = {}

    @property
    def method(self) -> str:
        return self.distillation or "none"


class RunsFile(Strict):
    """tables/runs.toml."""

    evaluation: Evaluation
    recipes: dict[str, Recipe]
    distillation: dict[str, Distillation] = {}
    runs: dict[str, RunSpec] = Field(min_length=1)
