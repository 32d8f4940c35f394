"""What another seed does to a number, as a scale and the paper state it: entries of ``[[noise]]``."""

from __future__ import annotations

from math import inf
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, model_validator

from replicate import metrics
from replicate.specs.file import Word
from replicate.specs.recipe import Count, Strict
from replicate.specs.table import MetricName

Of = Literal["training", "heads"]
"""``training``: a number of one network. ``heads``: the difference between two numbers of one network (its heads, or
two test sets), of which a better training lifts both."""


def _known(sd: object) -> object:
    """One fault for what is neither: of a union, pydantic reports one for each member."""
    known = isinstance(sd, int | float) and not isinstance(sd, bool) and 0 <= sd < inf
    if not known and sd != "unknown":
        raise ValueError("should be a number of 0 or more, or 'unknown'")
    return float(sd) if known else sd  # type: ignore[arg-type]


class Noise(Strict):
    """A standard deviation between trainings that differ in their seed alone, and how well it is known.

    It is of the numbers that fit every list it has; an empty list fits all, but of ``metrics`` the accuracies. Of
    several entries that fit a number, the first one counts.
    """

    sd: Annotated[float | Literal["unknown"], BeforeValidator(_known)]
    """In the unit of the metric: points of an accuracy, a share of a disagreement."""
    trainings: Count | None = None
    """How many were looked at, of how many ``networks``: each of these takes one degree of freedom."""
    networks: Count = 1
    of: Of = "training"
    metrics: tuple[MetricName, ...] = ()
    models: tuple[Word, ...] = ()
    resolutions: tuple[Count, ...] = ()
    data: tuple[Word, ...] = ()
    source: str

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if self.sd == "unknown":
            if self.trainings is not None:
                raise ValueError("'trainings' says how 'sd' was measured, and it is unknown; remove it")
        elif self.trainings is None:
            raise ValueError("'trainings' is required: how many trainings 'sd' was measured on")
        elif self.trainings <= self.networks:
            raise ValueError(f"'trainings' should be more than the {self.networks} 'networks', got {self.trainings}")
        return self

    @property
    def freedom(self) -> int:
        """Degrees of freedom of ``sd``; 0 where it is unknown."""
        return 0 if self.trainings is None else self.trainings - self.networks

    def fits(self, of: Of, metric: str, model: str, resolution: int, data: str) -> bool:
        if of != self.of or (self.metrics and metric not in self.metrics):
            return False
        if not self.metrics and not metrics.find(metric).accuracy:
            return False
        lists: tuple[tuple[object, tuple[object, ...]], ...] = (
            (model, self.models),
            (resolution, self.resolutions),
            (data, self.data),
        )
        return all(not names or name in names for name, names in lists)
