"""The networks to be trained, each declared once in tables/runs.toml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from replicate.specs.file import RunName, Word
from replicate.specs.noise import Noise
from replicate.specs.recipe import Distillation, Evaluation, Recipe, Strict
from replicate.specs.resolve import NO_CHANGES, Fields, Layer, layers, merged


class RunSpec(Strict):
    """One network: a model trained with a recipe on a data set, from scratch or from another run.

    ``model`` and ``data`` are logical names that the scale binds; ``resolution`` is the paper's, in pixels,
    likewise. ``change`` replaces single fields of the recipe. ``distillation`` names how ``teacher`` is used.
    Starting from a run with ``weights = "ema"`` starts from its averaged weights.
    """

    model: str
    recipe: str | None = None
    """None: the network is only measured, since the paper took its accuracy from elsewhere."""
    data: str = "imagenet"
    resolution: int = 224
    init: str | None = None
    teacher: str | None = None
    distillation: str | None = None
    weights: Literal["last", "ema"] | None = None
    """Which weights are evaluated, where it is not what ``[evaluation]`` says (Table 8's EMA row)."""
    change: dict[str, object] = {}
    trained: bool = True
    """False: its recipe is read out beside others, and no data here suit it."""

    @property
    def trainable(self) -> bool:
        return self.trained and self.recipe is not None

    @property
    def method(self) -> str:
        return self.distillation or "none"


class Paper(Strict):
    """What holds for all tables of the paper."""

    macros: str = "Deit"
    """What the TeX macro of every number begins with."""
    device: str = ""
    """What the paper's throughputs were measured on, in words that the name of that device has: ``V100 16GB``."""
    noise: tuple[Noise, ...] = ()
    """What is known of other seeds of its trainings."""

    @field_validator("macros")
    @classmethod
    def _letters(cls, macros: str) -> str:
        if not (macros.isascii() and macros.isalpha()):
            raise ValueError("should have ASCII letters only, as the names of TeX macros")
        return macros


class RunsFile(Strict):
    """tables/runs.toml.

    A recipe that ``extends`` another one writes down what differs: in the file, and in a scale likewise.
    """

    paper: Paper = Paper()
    evaluation: Evaluation
    recipes: dict[str, Recipe]
    """Complete, as they are where a scale changes nothing."""
    written: dict[str, dict[str, object]] = {}
    """The fields of each recipe as its entry writes them. Filled in by reading ``recipes``."""
    extends: dict[str, str] = {}
    """The base of each recipe that has one. Filled in likewise."""
    distillation: dict[Word, Distillation] = {}
    runs: dict[RunName, RunSpec] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _complete_recipes(cls, raw: Any) -> Any:
        recipes = raw.get("recipes") if isinstance(raw, dict) else None
        if not isinstance(recipes, dict) or not all(isinstance(entry, dict) for entry in recipes.values()):
            return raw
        for name in ("written", "extends"):
            if name in raw:
                raise ValueError(f"{name} is filled in from [recipes.*]; remove it")
        extends = {name: entry["extends"] for name, entry in recipes.items() if "extends" in entry}
        written = {
            name: {field: value for field, value in entry.items() if field != "extends"}
            for name, entry in recipes.items()
        }
        complete = {name: merged(layers(name, extends, written)) for name in recipes}
        return raw | {"recipes": complete, "written": written, "extends": extends}

    def layers(self, recipe: str, scaled: Mapping[str, Fields] = NO_CHANGES, run: str = "") -> list[Layer]:
        """The layers of ``recipe``, with what the scale changes of its bases, and what ``run`` changes of it."""
        change = self.runs[run].change if run else None
        return layers(recipe, self.extends, self.written, scaled, run, change)
