"""The data sets that runs are trained and evaluated on: made once by a data job, opened by every other."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from replicate.engine.run import Report, Stop
from replicate.errors import StoreFault, UserError
from replicate.jobs.data import INDEX, Data, images_file, labels_file
from replicate.jobs.key import canonical
from replicate.metrics.decided import CORRECTED
from replicate.specs.sources import ArrayData, DataSpec, ImageData, LabelData
from replicate.store.files import replacing, sha256_of

PARTS = ("train", "test")
Arrays = tuple[NDArray[np.uint8], NDArray[np.int16]]
"""Images [N, 3, size, size] and their labels [N]."""


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


def run(job: Data, inputs: Mapping[str, Path], folder: Path, report: Report, stop: Stop) -> dict[str, object]:
    """Run a data job. Returns `data_facts` and a ``fingerprint`` of the files written."""
    make_data(job, folder)
    # Not whatever is new in the folder: another caller may be looking in, and an earlier attempt left files.
    written = [*folder.glob("[!.]*.npy"), *folder.glob(INDEX)]
    files = {path.name: sha256_of(path) for path in written}
    return data_facts(job, folder) | {"fingerprint": hashlib.sha256(canonical(files)).hexdigest()}


def make_data(job: Data, folder: Path) -> None:
    """Write what `open_data` and `data_facts` read again into ``folder``.

    Raises UserError where ``job`` asks for something that cannot be had, or a folder holds another number of images
    than its data set states.
    """
    source_of(job.data).make(job.data, job.of, folder)


def data_facts(job: Data, folder: Path) -> dict[str, int]:
    """``train``, ``test`` and ``classes`` of what ``make_data(job, folder)`` made.

    Of corrected labels ``test`` counts the images, ``labelled`` those that have a label.
    """
    return source_of(job.data).facts(job.data, folder)


def open_data(job: Data, folder: Path) -> DataSet:
    """Open the data set that ``make_data(job, folder)`` made.

    Raises UserError where an image folder is missing, is no longer the one that the data job saw, or holds another
    number of images than its entry states, and for corrected labels, which have no images.
    """
    return source_of(job.data).open(job.data, folder)


S = TypeVar("S", bound=DataSpec)
I = TypeVar("I", bound=ImageData)  # noqa: E741 - the initial, as of the others
A = TypeVar("A", bound=ArrayData)
L = TypeVar("L", bound=LabelData)


class Source(ABC, Generic[S]):
    """The part of a data source that needs arrays: what its entry ``data``, an ``S``, is made into and opened as."""

    @abstractmethod
    def make(self, data: S, of: DataSpec | None, folder: Path) -> None:
        """Write what the others read into ``folder``. of: the entry that corrected labels are of."""

    def open(self, data: S, folder: Path) -> DataSet:
        raise UserError(f"data.source has no images: '{data.source}'\n  name the data set that it corrects")

    def facts(self, data: S, folder: Path) -> dict[str, int]:
        opened = self.open(data, folder)
        return {"train": len(opened.train), "test": len(opened.test), "classes": opened.classes}

    def true_labels(self, data: S) -> NDArray[np.int16]:
        """What is really in each test image: int16 [N]. Raises UserError unless the source knows."""
        raise UserError(
            f"data.of has no true labels: those of '{data.source}' are not known\n"
            "  use the source 'real-json' with published corrections"
        )


class ImageSource(Source[I]):
    """A source with images, whose `splits` of the stored ``folder`` are normalised as its entry says."""

    @abstractmethod
    def splits(self, data: I, folder: Path) -> tuple[Split, Split]: ...

    def open(self, data: I, folder: Path) -> DataSet:
        return DataSet(*self.splits(data, folder), data.classes, data.mean, data.std)


class ArraySource(ImageSource[A]):
    """A source that yields its images once, and has them stored in arrays."""

    @abstractmethod
    def arrays(self, data: A) -> Iterator[Arrays]:
        """Images uint8 [N, 3, size, size] and labels int16 [N] of the training images, then of the test images."""

    def make(self, data: A, of: DataSpec | None, folder: Path) -> None:
        for part, (images, labels) in zip(PARTS, self.arrays(data), strict=True):
            _save(folder / images_file(part), images)
            _save(folder / labels_file(part), labels)

    def splits(self, data: A, folder: Path) -> tuple[Split, Split]:
        return _open(folder, "train", data.train, data), _open(folder, "test", data.test, data)


class LabelSource(Source[L]):
    """A source of corrected labels, of which an image may have any number."""

    @abstractmethod
    def right(self, data: L, of: ImageData) -> NDArray[np.bool_]:
        """Whether each class is right for each test image of ``of``: bool [N, K]."""

    def make(self, data: L, of: DataSpec | None, folder: Path) -> None:
        if not isinstance(of, ImageData):
            raise UserError(f"data.of has no images: '{of.source if of else 'none'}'\n  name another data set")
        if data.classes != of.classes:
            raise UserError(
                f"data.classes differs from the data set that it corrects: {data.classes}, and {of.classes} there\n"
                "  write the number of that data set"
            )
        _save(folder / CORRECTED, self.right(data, of))

    def facts(self, data: L, folder: Path) -> dict[str, int]:
        labels = np.load(folder / CORRECTED)
        images, classes = labels.shape
        return {"train": 0, "test": images, "classes": classes, "labelled": int(labels.any(axis=1).sum())}


def source_of(data: S) -> Source[S]:
    """What makes and opens ``data``: the class that its entry names. Raises UserError where there is none."""
    try:
        found: type[Source[S]] = resolve_name(data.engine)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"nothing makes data.source '{data.source}': {data.engine} cannot be imported ({error})\n"
            f"  correct 'engine' of {type(data).__name__}"
        ) from error
    if not issubclass(found, Source):
        raise UserError(f"nothing makes data.source '{data.source}': {data.engine} is no Source\n  derive it from one")
    return found()


def _save(path: Path, array: NDArray[Any]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def _open(folder: Path, part: str, count: int, data: ArrayData) -> ArraySplit:
    # A file without images cannot be mapped.
    images = np.load(folder / images_file(part), mmap_mode="r" if count else None)
    labels = np.load(folder / labels_file(part))
    wanted = (count, 3, data.size, data.size)
    if images.shape != wanted or images.dtype != np.uint8 or len(labels) != len(images):
        raise StoreFault(f"{folder} holds other {part} images: {images.dtype} {images.shape}, expected uint8 {wanted}")
    return ArraySplit(images, labels, data.mean, data.std)
