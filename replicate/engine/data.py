"""The data sets that runs are trained and evaluated on: made once by a data job, opened by every other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from replicate.engine.context import Report, Stop
from replicate.engine.corrected import drawn_labels, read_json_labels
from replicate.engine.digits import split_digits
from replicate.engine.imagefolder import FolderSplit, Listing, list_splits
from replicate.engine.shapes import FAMILIES, given_labels, render_split
from replicate.errors import StoreFault, UserError
from replicate.jobs.data import INDEX, Data, images_file, labels_file
from replicate.jobs.key import canonical
from replicate.metrics.decided import CORRECTED
from replicate.specs.scale import DigitsData, FolderData, RealData, RealJsonData, ShapesData, sizes
from replicate.store.files import replacing, sha256_of, write_json

STATISTICS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    # Measured on the training images of seed 1234, rounded. Every generated family is normalised by those of the
    # ten shapes, as the paper normalises every transfer set by ImageNet's.
    "shapes": ((0.26, 0.26, 0.26), (0.22, 0.22, 0.22)),
    "digits": ((0.31, 0.31, 0.31), (0.36, 0.36, 0.36)),
    # timm's IMAGENET_DEFAULT_MEAN and _STD, which DeiT uses.
    "imagefolder": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Mean and standard deviation of the channels, for pixel values in 0..1."""


class Split(Protocol):
    """One half of a data set. ``labels`` is int64 [N]; ``mean`` and ``std`` are for pixel values in 0..1."""

    labels: NDArray[np.int64]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int: ...

    def image(self, index: int) -> Tensor:
        """Image ``index`` as uint8 [3, H, W]; sizes may differ between images."""
        ...


@dataclass(frozen=True)
class DataSet:
    train: Split
    test: Split
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class ArraySplit:
    """A split held in one array of equally large images, usually mapped from a file."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.integer[Any]],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        # Not the memmap itself: its indexing costs 5 us an image more.
        self._images = np.asarray(images)
        self.labels = labels.astype(np.int64)
        self.mean = tuple(mean)
        self.std = tuple(std)

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Tensor:
        """Image ``index`` as uint8 [3, H, W], a copy."""
        return torch.from_numpy(np.array(self._images[index]))


def run(job: Data, inputs: Mapping[str, Path], folder: Path, report: Report, stop: Stop) -> dict[str, Any]:
    """Run a data job. Returns `data_facts` and a ``fingerprint`` of the files written."""
    make_data(job, folder)
    # Not whatever is new in the folder: another caller may be looking in, and an earlier attempt left files.
    written = [*folder.glob("*.npy"), *folder.glob(INDEX)]
    files = {path.name: sha256_of(path) for path in written}
    return data_facts(job, folder) | {"fingerprint": hashlib.sha256(canonical(files)).hexdigest()}


def make_data(job: Data, folder: Path) -> None:
    """Write the arrays of ``shapes``, ``digits`` or corrected labels, or a folder's fingerprint.

    Raises UserError where ``job`` asks for something that cannot be had, or a folder holds another number of images
    than its data set states.
    """
    data = job.data
    match data:
        case FolderData():
            write_json(folder / INDEX, _index(data))
        case RealData():
            _save(folder / CORRECTED, drawn_labels(data, job.of))
        case RealJsonData():
            _save(folder / CORRECTED, read_json_labels(data, job.of))
        case ShapesData():
            _save_splits(folder, _shapes(data))
        case DigitsData():
            _save_splits(folder, _digits(data))
        case _:
            assert_never(data)


def data_facts(job: Data, folder: Path) -> dict[str, int]:
    """``train``, ``test`` and ``classes`` of what ``make_data(job, folder)`` made.

    Of corrected labels ``test`` counts the images, ``labelled`` those that have a label.
    """
    if isinstance(job.data, RealData | RealJsonData):
        labels = np.load(folder / CORRECTED)
        images, classes = labels.shape
        return {"train": 0, "test": images, "classes": classes, "labelled": int(labels.any(axis=1).sum())}
    made = open_data(job, folder)
    return {"train": len(made.train), "test": len(made.test), "classes": made.classes}


def open_data(job: Data, folder: Path) -> DataSet:
    """Open the data set that ``make_data(job, folder)`` made.

    Raises UserError where an image folder is missing, is no longer the one that the data job saw, or holds another
    number of images than its entry states, and for corrected labels, which have no images.
    """
    data = job.data
    if isinstance(data, RealData | RealJsonData):
        raise UserError(f"data.source: a data set with images, got '{data.source}'\n  name the one it corrects instead")
    mean, std = STATISTICS[data.source]
    if isinstance(data, FolderData):
        train, test = _listings(data)
        index = json.loads((folder / INDEX).read_text())
        for part, listing in (("train", train), ("test", test)):
            if listing.fingerprint() != index[part]:
                raise UserError(
                    f"{listing.root}: the {sum(index[part]['counts'])} files that {folder} recorded, "
                    f"got other ones ({len(listing.files)} files)\n"
                    f"  restore the files, or remove {folder} to start from the new ones"
                )
        _check_counts(data, train, test)
        folders = FolderSplit(train, mean, std), FolderSplit(test, mean, std)
        return DataSet(*folders, data.classes, mean, std)
    train_split, test_split = (_open(folder, part, count, data.size, mean, std) for part, count in _counts(data))
    return DataSet(train_split, test_split, data.classes, mean, std)


Rendered = Iterator[tuple[str, NDArray[np.uint8], NDArray[np.int16]]]
"""Of each split its name, images and labels."""


def _counts(data: ShapesData | DigitsData | FolderData) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("train", data.train), ("test", data.test)


def _shapes(data: ShapesData) -> Rendered:
    """Both splits; only test labels are wrong, and only training images are long-tailed."""
    if data.classes > len(FAMILIES[data.family]):
        raise UserError(
            f"data.classes: at most {len(FAMILIES[data.family])} of '{data.family}', got {data.classes}\n"
            "  ask for fewer"
        )
    for part, count in _counts(data):
        images, labels = render_split(
            data.seed,
            part,
            count,
            data.size,
            family=data.family,
            classes=data.classes,
            noise=data.noise,
            radius=data.radius,
            tail=data.tail if part == "train" else 0.0,
        )
        if part == "test":
            labels = given_labels(labels, data.seed, data.label_noise, data.classes)
        yield part, images, labels


def _digits(data: DigitsData) -> Rendered:
    train, test = split_digits(data.seed, data.train, data.test, data.size, data.skip)
    yield "train", *train
    yield "test", *test


def _listings(data: FolderData) -> tuple[Listing, Listing]:
    return list_splits(data.name, data.classes, train=data.train > 0)


def _check_counts(data: FolderData, train: Listing, test: Listing) -> None:
    listed, stated = (len(train.files), len(test.files)), (data.train, data.test)
    if listed in sizes(data.name, *stated):
        return
    faults = [
        f"{listing.root}: {wanted} images, got {count}\n"
        f"  copy the data set again, or correct the numbers of '{data.name}' in the scale's file"
        for listing, wanted, count in zip((train, test), stated, listed, strict=True)
        if wanted != count
    ]
    raise UserError("\n\n".join(faults))


def _index(data: FolderData) -> dict[str, Any]:
    train, test = _listings(data)
    _check_counts(data, train, test)
    return {"name": data.name, "train": train.fingerprint(), "test": test.fingerprint()}


def _save_splits(folder: Path, splits: Rendered) -> None:
    for part, images, labels in splits:
        _save(folder / images_file(part), images)
        _save(folder / labels_file(part), labels)


def _save(path: Path, array: NDArray[Any]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def _open(folder: Path, part: str, count: int, size: int, mean: Sequence[float], std: Sequence[float]) -> ArraySplit:
    # A file without images cannot be mapped.
    images = np.load(folder / images_file(part), mmap_mode="r" if count else None)
    labels = np.load(folder / labels_file(part))
    wanted = (count, 3, size, size)
    if images.shape != wanted or images.dtype != np.uint8 or len(labels) != len(images):
        raise StoreFault(f"{folder}: {part} images uint8 {wanted}, got {images.dtype} {images.shape}")
    return ArraySplit(images, labels, mean, std)
