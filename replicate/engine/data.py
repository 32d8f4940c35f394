"""The data sets that runs are trained and evaluated on: made once by a data job, opened by every other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from replicate.engine.digits import split_digits
from replicate.engine.imagefolder import FolderSplit, list_splits
from replicate.engine.shapes import SHAPES, render_split
from replicate.errors import StoreFault, UnknownName, UserError
from replicate.store.atomic import replacing, write_json

VERSION = 1
STATISTICS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    # Measured on the training images of seed 1234, rounded.
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
    """Run a data job: write the arrays of ``shapes`` or ``digits``, or the fingerprint of an image folder.

    Raises UserError (UnknownName for the source) where ``data`` asks for something that cannot be had.
    """
    source = _source(data)
    if source == "imagefolder":
        write_json(folder / "index.json", _index(data))
        return
    if data["classes"] != len(SHAPES):  # ten digits, too
        raise UserError(f"data.classes: {len(SHAPES)} for '{source}', got {data['classes']}\n  correct it")
    seed, size = data["seed"], data["size"]
    if source == "shapes":
        splits = [(part, *render_split(seed, part, data[part], size)) for part in ("train", "test")]
    else:
        train, test = split_digits(seed, data["train"], data["test"], size)
        splits = [("train", *train), ("test", *test)]
    for part, images, labels in splits:
        _save(folder / f"{part}_images.npy", images)
        _save(folder / f"{part}_labels.npy", labels)


def open_data(data: dict[str, Any], folder: Path) -> DataSet:
    """Open the data set that ``make_data(data, folder)`` made.

    Raises UserError where an image folder is missing, or is no longer the one that the data job saw.
    """
    source = _source(data)
    mean, std = STATISTICS[source]
    if source == "imagefolder":
        train, test = list_splits(data["name"], data["classes"])
        index = json.loads((folder / "index.json").read_text())
        for part, listing in (("train", train), ("test", test)):
            if listing.fingerprint() != index[part]:
                raise UserError(
                    f"{listing.root}: the {sum(index[part]['counts'])} files that {folder} recorded, "
                    f"got other ones ({len(listing.files)} files)\n"
                    f"  restore the files, or remove {folder} to start from the new ones"
                )
        folders = FolderSplit(train, mean, std), FolderSplit(test, mean, std)
        return DataSet(*folders, data["classes"], mean, std)
    arrays = _open(folder, "train", data, mean, std), _open(folder, "test", data, mean, std)
    return DataSet(*arrays, data["classes"], mean, std)


def _source(data: dict[str, Any]) -> str:
    source: str = data["source"]
    if source not in STATISTICS:
        raise UnknownName("data source", source, STATISTICS)
    if data["version"] != VERSION:
        raise UserError(
            f"data.version: {VERSION}, the only one this release makes, got {data['version']}\n  correct it"
        )
    return source


def _index(data: dict[str, Any]) -> dict[str, Any]:
    train, test = list_splits(data["name"], data["classes"])
    return {"name": data["name"], "train": train.fingerprint(), "test": test.fingerprint()}


def _save(path: Path, array: NDArray[Any]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def _open(folder: Path, part: str, data: dict[str, Any], mean: Sequence[float], std: Sequence[float]) -> ArraySplit:
    images = np.load(folder / f"{part}_images.npy", mmap_mode="r")
    labels = np.load(folder / f"{part}_labels.npy")
    wanted = (data[part], 3, data["size"], data["size"])
    if images.shape != wanted or images.dtype != np.uint8 or len(labels) != len(images):
        raise StoreFault(f"{folder}: {part} images uint8 {wanted}, got {images.dtype} {images.shape}")
    return ArraySplit(images, labels, mean, std)
