"""Corrected labels of another data set's test images, drawn or published: the role of ReaL (arXiv:2006.07159)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from replicate.specs.recipe import Count, Probability
from replicate.specs.sources.source import LabelData, register


@register
class RealData(LabelData):
    """What is really in the test images of the generated data set ``of``."""

    source: Literal["real"]
    version: Literal[1] = 1
    of: str
    classes: Count
    dropped: Probability
    """Share of the images without any right label, which do not count."""
    seed: Annotated[int, Field(ge=0)]

    engine = "replicate.engine.sources.real:DrawnLabels"


@register
class RealJsonData(LabelData):
    """Published corrected labels, ``$REPLICATE_DATA/<name>/real.json``, of the validation images of ``of``."""

    source: Literal["real-json"]
    version: Literal[1] = 1
    name: str
    of: str
    classes: Count

    engine = "replicate.engine.sources.real:PublishedLabels"

    @property
    def folder(self) -> str:
        return self.name
