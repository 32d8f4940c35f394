"""Corrected labels of the test images of another data set: the role of ReaL (Beyer et al., arXiv:2006.07159).

ReaL gives each ImageNet validation image the set of all classes that are right, and drops the images for
which none is. An answer counts as right where it is in the set.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from replicate.engine.data import LabelSource, source_of
from replicate.engine.keyed_random import uniforms
from replicate.engine.sources.imagefolder import list_splits, root_folder
from replicate.errors import UserError
from replicate.specs.sources import ImageData
from replicate.specs.sources.imagefolder import FolderData
from replicate.specs.sources.real import RealData, RealJsonData

Corrected = NDArray[np.bool_]

FILE = "real.json"
NUMBER = re.compile(r"(\d+)\.[A-Za-z]+$")
"""The number of an image among all of its split, at the end of a name such as ILSVRC2012_val_00000293.JPEG."""


class DrawnLabels(LabelSource[RealData]):
    """One class each, as one object is drawn.

    A keyed share ``data.dropped`` of the images has no label and is left out of the accuracy, as ReaL does.
    """

    def right(self, data: RealData, of: ImageData) -> Corrected:
        labels = source_of(of).true_labels(of)
        corrected = np.zeros((len(labels), data.classes), np.bool_)
        corrected[np.arange(len(labels)), labels] = True
        dropped = uniforms(data.seed, "corrected labels dropped", 0, 0, len(labels), 1)[:, 0] < data.dropped
        corrected[dropped] = False
        return corrected


class PublishedLabels(LabelSource[RealJsonData]):
    """The published corrections, ``$REPLICATE_DATA/<name>/real.json``, in the order of our test images.

    The file is a list, by the number in the name of an image, of the lists of its right classes. Raises
    UserError for a file that is missing or no such list, and where numbers and images do not match.
    """

    def right(self, data: RealJsonData, of: ImageData) -> Corrected:
        if not isinstance(of, FolderData):
            raise UserError(
                f"data.of has no files of images: '{of.source}'\n"
                "  name the data set whose file names the corrections number"
            )
        return _read(root_folder() / data.name / FILE, of)


def _read(path: Path, of: FolderData) -> Corrected:
    classes = of.classes
    try:
        lists = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as corrected labels: {type(error).__name__}: {error}\n"
            "  download it from https://github.com/google-research/reassessed-imagenet"
        ) from error
    if not _is_lists(lists, classes):
        raise UserError(f"{path} is no list of lists of classes 0 to {classes - 1}\n  download it again")
    _, test = list_splits(of.name, of.classes, train=False)
    if len(lists) != len(test.files):
        raise UserError(
            f"{path} has {len(lists)} entries for the {len(test.files)} images in {test.root}\n"
            "  take both from the same split"
        )
    numbers = [_number(file) for file in test.files]
    if sorted(numbers) != list(range(1, len(numbers) + 1)):
        raise UserError(
            f"{test.root}: names do not end in the numbers 1 to {len(numbers)}\n"
            "  restore the names of the release, such as ILSVRC2012_val_00000001.JPEG"
        )
    corrected = np.zeros((len(numbers), classes), np.bool_)
    for row, number in zip(corrected, numbers, strict=True):
        row[lists[number - 1]] = True
    return corrected


def _is_lists(value: object, classes: int) -> bool:
    def fits(item: object) -> bool:
        return isinstance(item, int) and 0 <= item < classes

    return isinstance(value, list) and all(isinstance(entry, list) and all(map(fits, entry)) for entry in value)


def _number(file: str) -> int:
    match = NUMBER.search(file)
    return int(match[1]) if match else 0
