"""scikit-learn's handwritten digits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from replicate.specs.recipe import Count
from replicate.specs.sources.source import ArrayData, Size, register


@register
class DigitsData(ArrayData):
    """1,797 real images of 8 x 8, enlarged to ``size``."""

    source: Literal["digits"]
    version: Literal[1]
    classes: Literal[10]
    size: Count
    train: Size
    test: Count
    seed: Annotated[int, Field(ge=0)]
    skip: Size = 0
    """Digits of the seed's order that are left out before the first."""

    engine = "replicate.engine.sources.digits:Digits"
    mean = (0.31, 0.31, 0.31)
    std = (0.36, 0.36, 0.36)
