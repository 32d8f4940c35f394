"""Damaged images of every format: whatever a decoder does, the error is ours and names the file."""

from __future__ import annotations

import io
import random
import time
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from replicate.engine.sources import imagefolder
from replicate.engine.sources.imagefolder import decode
from replicate.errors import UserError

pytestmark = pytest.mark.torch

SECONDS = 4.0
"""Of all formats together. The order of the damage is fixed, so a slower machine does the beginning of it."""
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "TGA", "ICO", "PCX", "DDS", "SGI", "JPEG2000", "AVIF")
"""A file may have any of them, whatever its name ends in."""
MODES = ("RGB", "L", "P", "RGBA", "1", "I;16", "CMYK", "LA")


def whole_files() -> Iterator[bytes]:
    """An image of each format in each mode that Pillow can write here."""
    draw = np.random.default_rng(5)
    picture = Image.fromarray(draw.integers(0, 256, (13, 17, 3), dtype=np.uint8))
    for name in FORMATS:
        for mode in MODES:
            stream = io.BytesIO()
            try:
                grey = picture.convert("L")
                made = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else picture
                (made if mode == "I;16" else made.convert(mode)).save(stream, name)
            except (OSError, KeyError, ValueError):
                continue
            yield stream.getvalue()


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """A file that was cut, overwritten, or put together wrongly."""
    data = bytearray(whole)
    match draw.randrange(4):
        case 0:
            del data[draw.randrange(len(data)) :]
        case 1:
            for _ in range(draw.randint(1, 8)):
                data[draw.randrange(len(data))] = draw.randrange(256)
        case 2:
            # Where formats keep sizes and offsets.
            place = draw.randrange(min(len(data), 64))
            data[place : place + 4] = draw.randbytes(4)
        case _:
            place = draw.randrange(len(data))
            data[place:place] = data[draw.randrange(len(data)) :][:200]
    return bytes(data)


def test_a_damaged_image_is_named_whatever_its_decoder_raises(tmp_path: Path) -> None:
    path = tmp_path / "x.JPEG"
    files, draw = list(whole_files()), random.Random(11)
    assert len(files) >= 40
    if features.check("avif"):
        assert any(b"ftypavif" in file for file in files)
    refused = readable = 0
    end = time.monotonic() + SECONDS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while time.monotonic() < end and refused + readable < 20_000:
            path.write_bytes(damaged(draw.choice(files), draw))
            said = ""
            try:
                pixels = decode(path)
            except (UserError, MemoryError) as error:
                said = str(error)
            if said:
                assert said.startswith(f"{path} ")
                refused += 1
            else:
                assert pixels.shape[0] == 3
                readable += 1
    assert min(refused, readable) > 50


def by_pillow(path: Path) -> np.ndarray | None:
    """What Pillow alone makes of a file; None where it refuses it, or `decode` would."""
    try:
        with Image.open(path) as image:
            return imagefolder._rgb(image)
    except Exception:
        return None


def same(path: Path) -> bool:
    """Whether `decode` refuses what Pillow refuses, and makes the same pixels, laid out alike, of all else."""
    wanted = by_pillow(path)
    try:
        found = decode(path)
    except UserError:
        return wanted is None
    assert wanted is not None
    alike = torch.from_numpy(wanted).permute(2, 0, 1)
    return torch.equal(found, alike) and found.stride() == alike.stride()


def test_torchvision_decodes_pillows_pixels_in_every_mode_and_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs are decoded by torchvision, everything else by Pillow."""
    assert imagefolder.torchvision_is_pillow()
    photograph, decoded = imagefolder._photograph, []
    monkeypatch.setattr(imagefolder, "_photograph", lambda data: decoded.append(1) or photograph(data))
    path, files = tmp_path / "x.JPEG", list(whole_files())
    for file in files:
        path.write_bytes(file)
        before = len(decoded)
        assert same(path)
        with Image.open(path) as image:
            assert len(decoded) - before == (image.format == "JPEG" and image.mode in ("RGB", "L"))
    assert 2 <= len(decoded) < len(files) / 4


def test_torchvision_refuses_the_damaged_photographs_that_pillow_refuses(tmp_path: Path) -> None:
    path, draw, files = tmp_path / "x.JPEG", random.Random(3), list(photographs())
    refused = 0
    for _ in range(600):
        path.write_bytes(damaged(draw.choice(files), draw))
        assert same(path)
        refused += by_pillow(path) is None
    assert 100 < refused < 500


def photographs() -> Iterator[bytes]:
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (19, 31, 3), dtype=np.uint8)).resize((66, 45))
    for mode, subsampling, progressive in product(("RGB", "L"), range(3), (False, True)):
        stream = io.BytesIO()
        picture.convert(mode).save(stream, "JPEG", quality=80, subsampling=subsampling, progressive=progressive)
        yield stream.getvalue()


def test_pillow_decodes_all_where_torchvisions_pixels_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    photograph = imagefolder._photograph
    monkeypatch.setattr(imagefolder, "_photograph", lambda data: photograph(data) ^ 1)
    assert not imagefolder.torchvision_is_pillow.__wrapped__()

    def refuses(data: bytes) -> torch.Tensor:
        raise RuntimeError("built without JPEG")

    monkeypatch.setattr(imagefolder, "_photograph", refuses)
    assert not imagefolder.torchvision_is_pillow.__wrapped__()
