"""Damaged images of every format: whatever a decoder does, the error is ours and names the file."""

from __future__ import annotations

import io
import random
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

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
