"""Real images on disk, laid out as ImageNet is: ``$REPLICATE_DATA/<name>/{train,val}/<class>/<image>``."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torchvision  # noqa: F401 - brings torch.ops.image
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from replicate.engine.data import ImageSource
from replicate.errors import UserError
from replicate.jobs.data import INDEX
from replicate.specs.scale import DATA_ROOT
from replicate.specs.sources import DataSpec
from replicate.specs.sources.imagefolder import FolderData
from replicate.store.files import write_json

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp")
"""What the name of an image ends in. What is in the file decides how it is read: a PNG may be called .JPEG."""
SHOWN = 5
"""So many of the files that are no images are named."""

IN_8_BITS = frozenset(["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"])
"""Pillow's modes that its own conversion to RGB is right for, transparency left out, as torchvision has it."""
IN_16_BITS = "I;16"
"""How the modes of 16-bit grey begin (PNG, TIFF). Pillow would cut them at 255: all white."""


PHOTOGRAPHS = ("JPEG", "RGB"), ("JPEG", "L")
"""Formats and modes that torchvision decodes, in two thirds of Pillow's time and to the same pixels."""
RGB = 3
"""torchvision's ImageReadMode.RGB."""
END = b"\xff\xd9"
"""How a JPEG file ends that is whole: torchvision fills up others, which Pillow refuses."""


@dataclass(frozen=True)
class Listing:
    """The images of one split, as paths relative to ``root``, class by class and sorted inside a class.

    Names are those of the bytes on disk, read as UTF-8 in every locale; bytes that are none stand as Python's
    surrogates.
    """

    root: Path
    names: tuple[str, ...]
    files: tuple[str, ...]
    labels: NDArray[np.int64]

    def fingerprint(self) -> dict[str, object]:
        """Class names, images per class and sha256 of the file list: equal lists have equal fingerprints."""
        digest = hashlib.sha256()
        for file in sorted(self.files):
            digest.update(file.encode("utf-8", "surrogateescape") + b"\n")
        counts = np.bincount(self.labels, minlength=len(self.names))
        return {"classes": list(self.names), "counts": counts.tolist(), "sha256": digest.hexdigest()}

    def path(self, index: int) -> Path:
        return self.root / _on_disk(self.files[index])


class FolderSplit:
    """A split whose images are decoded when asked for."""

    def __init__(self, listing: Listing, mean: Sequence[float], std: Sequence[float]) -> None:
        self._listing = listing
        self.labels = listing.labels
        self.mean = tuple(mean)
        self.std = tuple(std)

    def __len__(self) -> int:
        return len(self._listing.files)

    def image(self, index: int) -> Tensor:
        """Image ``index`` as uint8 [3, H, W]. Raises UserError, naming the file, if it cannot be decoded."""
        return decode(self._listing.path(index))


class Folders(ImageSource[FolderData]):
    """The images stay where they are: the data job stores names, counts and a digest of their files."""

    def make(self, data: FolderData, of: DataSpec | None, folder: Path) -> None:
        train, test = _listings(data, look=True)
        _check_counts(data, train, test)
        write_json(folder / INDEX, {"name": data.name, "train": train.fingerprint(), "test": test.fingerprint()})

    def splits(self, data: FolderData, folder: Path) -> tuple[FolderSplit, FolderSplit]:
        train, test = _listings(data)
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        for part, listing in (("train", train), ("test", test)):
            if listing.fingerprint() != index[part]:
                raise UserError(
                    f"{listing.root} holds other files than the {sum(index[part]['counts'])} that {folder} recorded: "
                    f"{len(listing.files)} files\n"
                    f"  restore the files, or remove {folder} to start from the new ones"
                )
        _check_counts(data, train, test)
        return FolderSplit(train, data.mean, data.std), FolderSplit(test, data.mean, data.std)


def _listings(data: FolderData, look: bool = False) -> tuple[Listing, Listing]:
    return list_splits(data.name, data.classes, train=data.train > 0, look=look)


def _check_counts(data: FolderData, train: Listing, test: Listing) -> None:
    listed, stated = (len(train.files), len(test.files)), (data.train, data.test)
    if listed in data.sizes():
        return
    faults = [
        f"{listing.root} has {count} images, expected {wanted}\n"
        f"  copy the data set again, or correct the numbers of '{data.name}' in the scale's file"
        for listing, wanted, count in zip((train, test), stated, listed, strict=True)
        if wanted != count
    ]
    raise UserError("\n\n".join(faults))


def list_splits(name: str, classes: int, train: bool = True, look: bool = False) -> tuple[Listing, Listing]:
    """The train and the validation listing of ``$REPLICATE_DATA/<name>``; without ``train`` the first is empty.

    look: whether each image is a file that holds something, which costs a look at each.

    Classes are numbered in the order of their folders' names sorted as strings, which for ImageNet's synsets
    is the order of every released weight; where all names are numbers (ImageNet-V2), in that of the numbers.
    All faults are raised as one UserError.
    """
    folder = root_folder() / name
    if not folder.is_dir():
        raise UserError(
            f"{folder} is missing: the folder of data set '{name}'\n"
            f"  put it (or a link to it) there, or point {DATA_ROOT} elsewhere"
        )
    faults: list[str] = []
    listings = [_list(folder / part, classes, look, faults) for part in (("train", "val") if train else ("val",))]
    if not train and not faults:
        listings.insert(0, Listing(folder / "train", listings[0].names, (), np.zeros(0, np.int64)))
    if not faults and listings[0].names != listings[1].names:
        odd = sorted(set(listings[0].names) ^ set(listings[1].names))
        if alike := _alike(odd):
            faults.append(_two_forms(folder, "train and val spell a class in", alike[0]))
        else:
            shown = ", ".join(odd[:5])
            faults.append(
                f"{folder}: train and val have different class folders: {shown} in one only\n  make them equal"
            )
    if faults:
        raise UserError("\n\n".join(faults))
    return listings[0], listings[1]


def decode(path: Path) -> Tensor:
    """Decode an image to RGB: uint8 [3, H, W].

    Raises UserError for a file that is no whole image, is too large, or whose pixels do not fit 8 bits; MemoryError
    names the file.
    """
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            mode = image.mode
            if (image.format, mode) in PHOTOGRAPHS and data.endswith(END) and torchvision_is_pillow():
                # Pillow says what is wrong with the rest.
                with suppress(RuntimeError):
                    return _photograph(data)
            pixels = _rgb(image)
    except MemoryError as error:
        raise MemoryError(f"{path} needs more memory than there is here") from error
    except Exception as error:  # Pillow's decoders raise a dozen kinds, each of its own
        raise UserError(
            f"{path} is no readable image: {type(error).__name__}: {error}\n  copy the file again from its source"
        ) from error
    if pixels is None:
        raise UserError(
            f"{path} has pixels of mode '{mode}', whose range is not known\n  save it with 8 or 16 bits a channel"
        )
    return torch.from_numpy(pixels).permute(2, 0, 1)


@cache
def torchvision_is_pillow() -> bool:
    """Whether the versions that are installed decode the same pixels of every kind of `PHOTOGRAPHS`."""
    noise = np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((83, 59), Image.Resampling.BICUBIC)
    try:
        for (form, mode), quality, subsampling, progressive in product(PHOTOGRAPHS, (30, 92), range(3), (False, True)):
            file = io.BytesIO()
            picture.convert(mode).save(file, form, quality=quality, subsampling=subsampling, progressive=progressive)
            with Image.open(file) as image:
                wanted = _rgb(image)
            if wanted is None or not np.array_equal(_photograph(file.getvalue()).permute(1, 2, 0).numpy(), wanted):
                return False
    except (AttributeError, OSError, RuntimeError):
        return False
    return True


def _photograph(data: bytes) -> Tensor:
    file = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    # The operator and not its wrapper, which announces at each call that a later torchvision will not have it.
    pixels: Tensor = torch.ops.image.decode_jpeg(file, RGB, False)
    return pixels


def _rgb(image: Image.Image) -> NDArray[np.uint8] | None:
    """``image`` as [H, W, 3]; None where its mode does not say what is white. Of 16 bits the upper 8 are kept."""
    if image.mode in IN_8_BITS:
        return np.array(image.convert("RGB"))
    if image.mode.startswith(IN_16_BITS):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return None


def root_folder() -> Path:
    """The folder of all image data sets. Raises UserError where ``REPLICATE_DATA`` is not set."""
    value = os.environ.get(DATA_ROOT)
    if not value:
        raise UserError(
            f"{DATA_ROOT} is not set: the folder that holds the image data sets\n  export {DATA_ROOT}=/path/to/datasets"
        )
    return Path(value)


def _list(folder: Path, classes: int, look: bool, faults: list[str]) -> Listing:
    nothing = Listing(folder, (), (), np.zeros(0, np.int64))
    if not folder.is_dir():
        faults.append(f"{folder} is missing: one folder a class belongs there\n  create it")
        return nothing
    with os.scandir(folder) as entries:
        names = sorted(_name(entry) for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if all(name.isdecimal() for name in names):
        names.sort(key=int)
    if not names:
        faults.append(
            f"{folder} has no class folders, but {len(_images(folder))} loose images\n"
            f"  move each image of {folder.name} into the folder of its class"
        )
        return nothing
    if len(names) != classes:
        faults.append(
            f"{folder} has {len(names)} class folders ({names[0]} .. {names[-1]}), expected {classes}\n"
            "  complete the folder, or correct the number of classes in the data set's entry"
        )
    faults += [_two_forms(folder, "two folders have one name in", names) for names in _alike(names)]
    files: list[str] = []
    labels: list[int] = []
    none: list[str] = []
    for label, name in enumerate(names):
        found = _images(folder / _on_disk(name))
        if not found:
            faults.append(
                f"{folder / name} has no images: no file that ends in {', '.join(SUFFIXES)}\n  copy the class again"
            )
        if look:
            none += [f"{folder / name / _name(entry)} {why}" for entry in found if (why := _no_image(entry))]
        files += sorted(f"{name}/{_name(entry)}" for entry in found)
        labels += [label] * len(found)
    if none:
        more = [f"... and {len(none) - SHOWN} more in {folder}"] if len(none) > SHOWN else []
        faults.append("\n".join([*sorted(none)[:SHOWN], *more, "  copy the image again, or remove what is none"]))
    return Listing(folder, tuple(names), tuple(files), np.asarray(labels, np.int64))


def _images(folder: Path) -> list[os.DirEntry[str]]:
    """What ``folder`` has under the name of an image. Folders and hidden files, such as a Mac's ``._x.jpg``, are none.

    Where a link leads is not asked: that costs a look at each.
    """
    with os.scandir(folder) as entries:
        return [
            entry
            for entry in entries
            if entry.name.lower().endswith(SUFFIXES)
            and not entry.name.startswith(".")
            and not entry.is_dir(follow_symlinks=False)
        ]


def _no_image(entry: os.DirEntry[str]) -> str:
    """Why there is no image, as far as that can be told without reading it; empty where there may be one."""
    try:
        found = entry.stat()
    except OSError as error:
        return "is a link to nowhere" if entry.is_symlink() else f"cannot be read: {error.strerror}"
    if not stat.S_ISREG(found.st_mode):
        return "is no file"
    return "" if found.st_size else "is empty"


def _name(entry: os.DirEntry[str]) -> str:
    """Return the name of ``entry`` as UTF-8, whatever the locale makes of its bytes."""
    name = entry.name
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "surrogateescape")


def _on_disk(name: str) -> str:
    """Return what Python must be given here for the file that `_name` calls ``name``."""
    return os.fsdecode(name.encode("utf-8", "surrogateescape"))


def _alike(names: Iterable[str]) -> list[list[str]]:
    """Names that look the same: composed here and decomposed there, as a Mac writes them."""
    forms: dict[str, list[str]] = defaultdict(list)
    for name in names:
        forms[unicodedata.normalize("NFC", name)].append(name)
    return [same for same in forms.values() if len(same) > 1]


def _two_forms(folder: Path, what: str, names: list[str]) -> str:
    return (
        f"{folder}: {what} two forms of Unicode: {' and '.join(map(ascii, names))}\n"
        "  rename one of them: they look the same, and are sorted to different places"
    )
