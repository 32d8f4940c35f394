"""Folders of image files, one a class, as ImageNet is laid out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from replicate.specs.recipe import Count
from replicate.specs.sources.source import ImageData, Size, register

IN_RELEASE: Mapping[str, tuple[int, int]] = {"inaturalist-2019": (265_213, 3_030)}
"""Train and test images in a folder data set's release, where Table 6 prints others: either pair is taken."""


@register
class FolderData(ImageData):
    """Folders of image files, one a class, under ``$REPLICATE_DATA/<name>/{train,val}``."""

    source: Literal["imagefolder"]
    version: Literal[1] = 1
    name: str
    classes: Count
    train: Size
    """0: nothing is trained on it, and there need be no folder ``train``."""
    test: Count

    engine = "replicate.engine.sources.imagefolder:Folders"
    # timm's IMAGENET_DEFAULT_MEAN and _STD, which DeiT uses.
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    @property
    def folder(self) -> str:
        return self.name

    def for_evaluation(self) -> Self:
        """Without the training images: whoever evaluates published weights needs no folder ``train``."""
        return self.model_copy(update={"train": 0})

    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The numbers of train and test images that it may have, the stated ones first."""
        released = IN_RELEASE.get(self.name, (self.train, self.test))
        return (self.train, self.test), (released[0] if self.train else 0, released[1])
