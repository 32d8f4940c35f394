"""The data sets that runs are trained and evaluated on: made once by a data job, opened by every other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from replicate.engine.corrected import drawn_labels, read_json_labels
from replicate.engine.digits import split_digits
from replicate.engine.imagefolder import FolderSplit, Listing, list_splits
from replicate.engine.shapes import FAMILIES, given_labels, render_split
from replicate.errors import StoreFault, UnknownName, UserError
from replicate.specs.scale import sizes
from replicate.store.files import replacing, write_json

VERSIONS = {"shapes": 2, "digits": 1, "imagefolder": 1, "real": 1, "real-json": 1}
"""The only version of each source that this release makes."""
CORRECTED = "real_labels.npy"
"""Corrected labels of another data set's test images: bool [N, K], any number of right classes an image."""
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


def make_data(data: dict[str, Any], folder: Path) -> None:
    """Run a data job: write the arrays of ``shapes``, ``digits`` or corrected labels, or a folder's fingerprint.

    Raises UserError (UnknownName for the source) where ``data`` asks for something that cannot be had, or a folder
    holds another number of images than ``data`` states.
    """
    source = _source(data)
    if source == "imagefolder":
        write_json(folder / "index.json", _index(data))
    elif source in ("real", "real-json"):
        _source(data["of"])
        _save(folder / CORRECTED, drawn_labels(data) if source == "real" else read_json_labels(data))
    else:
        for part, images, labels in _shapes(data) if source == "shapes" else _digits(data):
            _save(folder / f"{part}_images.npy", images)
            _save(folder / f"{part}_labels.npy", labels)


def data_facts(data: dict[str, Any], folder: Path) -> dict[str, int]:
    """``train``, ``test`` and ``classes`` of what ``make_data(data, folder)`` made.

    Of corrected labels ``test`` counts the images, ``labelled`` those that have a label.
    """
    if data["source"] in ("real", "real-json"):
        labels = np.load(folder / CORRECTED)
        images, classes = labels.shape
        return {"train": 0, "test": images, "classes": classes, "labelled": int(labels.any(axis=1).sum())}
    made = open_data(data, folder)
    return {"train": len(made.train), "test": len(made.test), "classes": made.classes}


def open_data(data: dict[str, Any], folder: Path) -> DataSet:
    """Open the data set that ``make_data(data, folder)`` made.

    Raises UserError where an image folder is missing, is no longer the one that the data job saw, or holds another
    number of images than ``data`` states, and for corrected labels, which have no images.
    """
    source = _source(data)
    if source not in STATISTICS:
        raise UserError(f"data.source: a data set with images, got '{source}'\n  name the one it corrects instead")
    mean, std = STATISTICS[source]
    if source == "imagefolder":
        train, test = _listings(data)
        index = json.loads((folder / "index.json").read_text())
        for part, listing in (("train", train), ("test", test)):
            if listing.fingerprint() != index[part]:
                raise UserError(
                    f"{listing.root}: the {sum(index[part]['counts'])} files that {folder} recorded, "
                    f"got other ones ({len(listing.files)} files)\n"
                    f"  restore the files, or remove {folder} to start from the new ones"
                )
        _check_counts(data, train, test)
        folders = FolderSplit(train, mean, std), FolderSplit(test, mean, std)
        return DataSet(*folders, data["classes"], mean, std)
    arrays = _open(folder, "train", data, mean, std), _open(folder, "test", data, mean, std)
    return DataSet(*arrays, data["classes"], mean, std)


def _source(data: dict[str, Any]) -> str:
    source: str = data["source"]
    if source not in VERSIONS:
        raise UnknownName("data source", source, VERSIONS)
    if data["version"] != VERSIONS[source]:
        raise UserError(
            f"data.version: {VERSIONS[source]}, the only one of '{source}' that this release makes, "
            f"got {data['version']}\n  correct it"
        )
    return source


def _shapes(data: dict[str, Any]) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.int16]]]:
    """Both splits; only test labels are wrong, and only training images are long-tailed."""
    family, classes, seed = data["family"], data["classes"], data["seed"]
    if family not in FAMILIES:
        raise UnknownName("family", family, FAMILIES)
    if classes > len(FAMILIES[family]):
        raise UserError(f"data.classes: at most {len(FAMILIES[family])} of '{family}', got {classes}\n  ask for fewer")
    for part in ("train", "test"):
        images, labels = render_split(
            seed,
            part,
            data[part],
            data["size"],
            family=family,
            classes=classes,
            noise=data["noise"],
            radius=tuple(data["radius"]),
            tail=data["tail"] if part == "train" else 0.0,
        )
        if part == "test":
            labels = given_labels(labels, seed, data["label_noise"], classes)
        yield part, images, labels


def _digits(data: dict[str, Any]) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.int16]]]:
    if data["classes"] != 10:
        raise UserError(f"data.classes: 10 for 'digits', got {data['classes']}\n  correct it")
    train, test = split_digits(data["seed"], data["train"], data["test"], data["size"], data["skip"])
    yield "train", *train
    yield "test", *test


def _listings(data: dict[str, Any]) -> tuple[Listing, Listing]:
    return list_splits(data["name"], data["classes"], train=data["train"] > 0)


def _check_counts(data: dict[str, Any], train: Listing, test: Listing) -> None:
    found, stated = (len(train.files), len(test.files)), (data["train"], data["test"])
    if found in sizes(data["name"], *stated):
        return
    faults = [
        f"{listing.root}: {wanted} images, got {count}\n"
        f"  copy the data set again, or correct the numbers of '{data['name']}' in the scale's file"
        for listing, wanted, count in zip((train, test), stated, found, strict=True)
        if wanted != count
    ]
    raise UserError("\n\n".join(faults))


def _index(data: dict[str, Any]) -> dict[str, Any]:
    train, test = _listings(data)
    _check_counts(data, train, test)
    return {"name": data["name"], "train": train.fingerprint(), "test": test.fingerprint()}


def _save(path: Path, array: NDArray[Any]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def _open(folder: Path, part: str, data: dict[str, Any], mean: Sequence[float], std: Sequence[float]) -> ArraySplit:
    # A file without images cannot be mapped.
    images = np.load(folder / f"{part}_images.npy", mmap_mode="r" if data[part] else None)
    labels = np.load(folder / f"{part}_labels.npy")
    wanted = (data[part], 3, data["size"], data["size"])
    if images.shape != wanted or images.dtype != np.uint8 or len(labels) != len(images):
        raise StoreFault(f"{folder}: {part} images uint8 {wanted}, got {images.dtype} {images.shape}")
    return ArraySplit(images, labels, mean, std)
