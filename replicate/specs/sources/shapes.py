"""Generated images of shapes, flowers, vehicles and creatures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from replicate.specs.recipe import Count, NonNegative, Positive, Probability
from replicate.specs.sources.source import ArrayData, Size, register

Family = Literal["shapes", "coloured", "flowers", "vehicles", "creatures"]


@register
class ShapesData(ArrayData):
    """``size`` is the edge that images are drawn at, in pixels."""

    source: Literal["shapes"]
    version: Literal[2]
    family: Family = "shapes"
    classes: Annotated[int, Field(ge=2, le=40)]
    size: Count
    train: Size
    test: Count
    seed: Annotated[int, Field(ge=0)]
    noise: NonNegative = 0.05
    """Standard deviation of each pixel, where white is 1."""
    radius: tuple[Positive, Positive] = (0.28, 0.38)
    """Smallest and largest radius of an object, where the central part of an image has an edge of 1."""
    label_noise: Probability = 0.0
    """Share of the test labels that are wrong; training labels never are."""
    tail: NonNegative = 0.0
    """Training images of class k in proportion to ``(k + 1) ** -tail``; 0 is equally many."""

    engine = "replicate.engine.sources.shapes:Shapes"
    # Measured on the training images of seed 1234, rounded. Every generated family is normalised by those of the ten
    # shapes, as the paper normalises every transfer set by ImageNet's.
    mean = (0.26, 0.26, 0.26)
    std = (0.22, 0.22, 0.22)
