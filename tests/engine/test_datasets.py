"""The data job and the data sets it makes."""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from paper_recipe import data_job
from PIL import Image, ImageCms

from replicate.engine.data import make_data, open_data
from replicate.engine.sources.imagefolder import decode
from replicate.engine.sources.shapes import CENTRAL, SHAPES, render_split
from replicate.errors import NotAvailable, StoreFault, UserError
from replicate.specs.sources.digits import DigitsData
from replicate.specs.sources.imagefolder import IN_RELEASE
from replicate.specs.sources.shapes import ShapesData

pytestmark = pytest.mark.torch

SHAPES_48: dict[str, Any] = {
    "source": "shapes", "version": 2, "family": "shapes", "classes": 10, "size": 48, "train": 120, "test": 60,
    "seed": 1234, "noise": 0.05, "radius": [0.28, 0.38], "label_noise": 0.0, "tail": 0.0,
}  # fmt: skip
DIGITS: dict[str, Any] = {
    "source": "digits", "version": 1, "classes": 10, "size": 32, "train": 1200, "test": 597, "seed": 1,
    "skip": 0,
}  # fmt: skip
FOLDER: dict[str, Any] = {"source": "imagefolder", "version": 1, "name": "pets", "classes": 2, "train": 3, "test": 2}


# --- shapes


def test_shapes_are_made_and_opened(tmp_path: Path) -> None:
    make_data(data_job(SHAPES_48), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy",
    }  # fmt: skip
    assert np.load(tmp_path / "train_labels.npy").dtype == np.int16
    data = open_data(data_job(SHAPES_48), tmp_path)
    assert (len(data.train), len(data.test), data.classes) == (120, 60, 10)
    image = data.train.image(7)
    assert image.dtype == torch.uint8
    assert image.shape == (3, 48, 48)
    np.testing.assert_array_equal(image.numpy(), np.load(tmp_path / "train_images.npy")[7])
    image.zero_()  # a copy: the stored array is not touched
    assert data.train.image(7).any()
    assert data.test.labels.dtype == np.int64


def test_shapes_are_balanced_and_shuffled() -> None:
    _, labels = render_split(0, "train", 200, 16)
    assert np.bincount(labels).tolist() == [20] * 10
    blocks = labels.reshape(20, 10)
    assert len({tuple(block) for block in blocks}) > 15


def test_an_image_does_not_depend_on_the_others() -> None:
    few, many = render_split(3, "test", 20, 32), render_split(3, "test", 130, 32)
    np.testing.assert_array_equal(few[0], many[0][:20])
    np.testing.assert_array_equal(few[1], many[1][:20])


def test_splits_and_seeds_differ() -> None:
    train, test, other = (render_split(*key, 10, 32)[0] for key in ((0, "train"), (0, "test"), (1, "train")))
    assert not np.array_equal(train, test)
    assert not np.array_equal(train, other)


def test_objects_are_light_and_survive_evaluations_crop() -> None:
    size = 64
    images, _ = render_split(5, "train", 300, size)
    # Clutter ends at .5 and background at .3 (noise .05): above .5 + 4 * .05 is the object alone.
    light = images.max(axis=1) > 0.72 * 255
    margin = int(size * (1 - CENTRAL) / 2)
    rim = light.copy()
    rim[:, margin : size - margin, margin : size - margin] = False
    assert not rim.any()
    assert (light.sum(axis=(1, 2)) > 0).mean() > 0.9


def test_classes_can_be_told_apart_by_their_mean_picture() -> None:
    train, labels = render_split(0, "train", 600, 24)
    test, truth = render_split(0, "test", 300, 24)

    def light(images: np.ndarray) -> np.ndarray:
        # The bar and the noise are darker than the objects.
        return (images.max(axis=1) > 0.5 * 255).reshape(len(images), -1).astype(float)

    means = np.stack([light(train)[labels == k].mean(0) for k in range(10)])
    distance = ((light(test)[:, None] - means) ** 2).sum(-1)
    assert (distance.argmin(1) == truth).mean() > 0.5  # chance is .1


def test_statistics_describe_the_images() -> None:
    images, _ = render_split(1234, "train", 500, 48)
    mean, std = ShapesData.mean, ShapesData.std
    np.testing.assert_allclose(images.mean(axis=(0, 2, 3)) / 255, mean, atol=0.02)
    np.testing.assert_allclose(images.std(axis=(0, 2, 3)) / 255, std, atol=0.02)
    assert len(SHAPES) == 10


def test_damaged_shapes_are_refused(tmp_path: Path) -> None:
    make_data(data_job(SHAPES_48), tmp_path)
    with pytest.raises(StoreFault, match="holds other train images: "):
        open_data(data_job(SHAPES_48 | {"size": 32}), tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"source": "shape"}, StoreFault, "no data source .*'shape'"),
        ({"version": 1}, StoreFault, "version: Input should be 2"),
        ({"classes": 12}, UserError, "data.classes exceeds 10, the classes of 'shapes'"),
    ],
)
def test_what_cannot_be_made_is_refused(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        make_data(data_job(SHAPES_48 | change), tmp_path)
    assert not list(tmp_path.iterdir())


# --- digits


def test_digits_are_real_and_split_once(tmp_path: Path) -> None:
    make_data(data_job(DIGITS), tmp_path)
    data = open_data(data_job(DIGITS), tmp_path)
    images, labels = np.load(tmp_path / "train_images.npy"), np.load(tmp_path / "train_labels.npy")
    test = np.load(tmp_path / "test_images.npy")
    assert images.shape == (1200, 3, 32, 32)
    assert test.shape == (597, 3, 32, 32)
    assert (images[:, 0] == images[:, 2]).all()
    # The file holds 178, 182, 177, 183, 181, 182, 181, 179, 174 and 180 of the ten digits.
    both = np.concatenate([labels, data.test.labels])
    assert np.bincount(both).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(labels).min() > 90
    # Few of the 8 x 8 digits occur twice, so nearly no test image is among the training images.
    seen = {image.tobytes() for image in images}
    assert sum(image.tobytes() in seen for image in test) < 5
    mean, std = DigitsData.mean, DigitsData.std
    np.testing.assert_allclose(images.mean() / 255, mean[0], atol=0.02)
    np.testing.assert_allclose(images.std() / 255, std[0], atol=0.02)


def test_digits_split_by_seed(tmp_path: Path) -> None:
    small = DIGITS | {"size": 8, "train": 100, "test": 50}
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        make_data(data_job(small | {"seed": seed}), tmp_path / name)
        found.append((tmp_path / name / "train_images.npy").read_bytes())
    assert found[0] == found[1] != found[2]


def test_digits_are_found_without_importing_sklearn(tmp_path: Path) -> None:
    loaded = "sklearn" in sys.modules
    make_data(data_job(DIGITS | {"size": 8}), tmp_path)
    assert ("sklearn" in sys.modules) == loaded


def test_digits_need_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NotAvailable, match="scikit-learn is not installed"):
        make_data(data_job(DIGITS), tmp_path)


def test_there_are_1797_digits(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exceed 1797 digits: 1200 \\+ 598"):
        make_data(data_job(DIGITS | {"test": 598}), tmp_path)


# --- imagefolder


def write_jpeg(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (20, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, "JPEG", quality=95)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes, three training and two validation images, beside a file that is no image."""
    root = tmp_path / "datasets"
    for part, names in (("train", ["n2/b.JPEG", "n10/c.jpg", "n2/a.JPEG"]), ("val", ["n10/x.JPEG", "n2/y.JPEG"])):
        for name in names:
            write_jpeg(root / "pets" / part / name, (200, 30, 60) if "n2" in name else (10, 220, 90))
    (root / "pets" / "train" / "n2" / "notes.txt").write_text("not an image")
    monkeypatch.setenv("REPLICATE_DATA", str(root))
    return root


def test_folder_is_read_as_torchvision_reads_it(root: Path, tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    make_data(data_job(FOLDER), tmp_path)
    data = open_data(data_job(FOLDER), tmp_path)
    # As strings 'n10' comes before 'n2'; inside a class the files are sorted.
    assert data.train.labels.tolist() == [0, 1, 1]
    assert data.test.labels.tolist() == [0, 1]
    assert (data.mean, data.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    theirs = ImageFolder(str(root / "pets" / "train"))
    for i in range(3):
        image, label = theirs[i]
        np.testing.assert_array_equal(data.train.image(i).numpy(), np.asarray(image).transpose(2, 0, 1))
        assert label == data.train.labels[i]
    assert data.train.image(0).shape == (3, 12, 20)


def test_fingerprint_names_the_files_and_no_place(root: Path, tmp_path: Path) -> None:
    make_data(data_job(FOLDER), tmp_path)
    text = (tmp_path / "index.json").read_text()
    index = json.loads(text)
    assert index["train"]["classes"] == ["n10", "n2"]
    assert index["train"]["counts"] == [1, 2]
    assert len(index["test"]["sha256"]) == 64
    assert str(root) not in text


def test_a_changed_folder_is_noticed(root: Path, tmp_path: Path) -> None:
    make_data(data_job(FOLDER), tmp_path)
    (root / "pets" / "val" / "n2" / "y.JPEG").rename(root / "pets" / "val" / "n2" / "z.JPEG")
    with pytest.raises(UserError, match=r"val holds other files than the 2 that .* recorded"):
        open_data(data_job(FOLDER), tmp_path)


def test_greyscale_and_cmyk_become_rgb(root: Path, tmp_path: Path) -> None:
    for mode in ("L", "CMYK"):
        Image.new(mode, (5, 4)).save(root / "pets" / "train" / "n2" / f"{mode}.jpg")
    five = FOLDER | {"train": 5}
    make_data(data_job(five), tmp_path)
    train = open_data(data_job(five), tmp_path).train
    assert {tuple(train.image(i).shape) for i in range(5)} == {(3, 4, 5), (3, 12, 20)}


GREY = np.arange(0, 256, 5, dtype=np.uint8).reshape(4, 13)
COLOUR = np.random.default_rng(3).integers(0, 256, (4, 13, 3), dtype=np.uint8)


def png(depth: int, colour: int, samples: bytes, width: int, height: int) -> bytes:
    """A PNG of samples that Pillow cannot write: of 16 bits in colour, or of fewer than 8."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = len(samples) // height
    lines = b"".join(b"\0" + samples[start : start + row] for start in range(0, len(samples), row))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def sixteen(values: np.ndarray) -> bytes:
    return (values.astype(">u2") * 257).tobytes()


def in_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def half_transparent(values: np.ndarray) -> np.ndarray:
    return np.dstack([values, np.full(values.shape[:2], 128, np.uint8)])


@pytest.mark.parametrize("suffix", ["TIFF", "PNG"])
def test_sixteen_bit_grey_is_scaled_to_eight(tmp_path: Path, suffix: str) -> None:
    """Pillow's own conversion cuts at 255, so that all but the darkest pixels are white (pytorch/vision#2218)."""
    Image.fromarray(GREY.astype(np.uint16) * 257).save(path := tmp_path / "x.png", suffix)
    np.testing.assert_array_equal(decode(path).numpy().transpose(1, 2, 0), in_rgb(GREY))


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that a stand-in for Pillow opens."""
    for name in ("x.png", "pets/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"what Pillow makes of it")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("order", ["I;16", "I;16B", "I;16L"])
def test_sixteen_bits_in_any_order_of_bytes(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = (GREY.astype(np.uint16) * 256 + 7).astype(">u2" if order.endswith("B") else "<u2")
    image = Image.frombytes(order, GREY.shape[::-1], values.tobytes())
    monkeypatch.setattr(Image, "open", lambda path: image)
    np.testing.assert_array_equal(decode(Path("x.png")).numpy().transpose(1, 2, 0), in_rgb(GREY))


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(
    ("mode", "made", "near"),
    [
        ("1", lambda: Image.fromarray(GREY > 127), 0),
        ("L", lambda: Image.fromarray(GREY), 0),
        ("LA", lambda: Image.fromarray(half_transparent(GREY), "LA"), 0),
        ("P", lambda: Image.fromarray(GREY).convert("P"), 0),
        ("PA", lambda: Image.fromarray(GREY).convert("P").convert("PA"), 0),
        ("RGB", lambda: Image.fromarray(COLOUR), 0),
        ("RGBA", lambda: Image.fromarray(half_transparent(COLOUR)), 0),
        ("RGBa", lambda: Image.fromarray(half_transparent(COLOUR)).convert("RGBa"), 2),
        ("RGBX", lambda: Image.fromarray(COLOUR).convert("RGBX"), 0),
        ("CMYK", lambda: Image.fromarray(COLOUR).convert("CMYK"), 0),
        ("YCbCr", lambda: Image.fromarray(COLOUR).convert("YCbCr"), 4),
        ("HSV", lambda: Image.fromarray(COLOUR).convert("HSV"), 8),
        ("LAB", lambda: lab(Image.fromarray(COLOUR)), 40),
    ],
)
def test_every_mode_of_eight_bits_is_shown_as_it_is(
    mode: str, made: Callable[[], Image.Image], near: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """near: what rounding in that colour space costs at most, in levels."""
    image = made()
    assert image.mode == mode
    monkeypatch.setattr(Image, "open", lambda path: image)
    grey = in_rgb(np.where(GREY > 127, 255, 0).astype(np.uint8) if mode == "1" else GREY)
    true = grey if mode in ("1", "L", "LA", "P", "PA") else COLOUR
    shown = decode(Path("x.png")).numpy().transpose(1, 2, 0)
    assert np.abs(shown.astype(int) - true).max() <= near
    assert np.abs(shown.astype(int) - true).mean() <= near / 2


def lab(image: Image.Image) -> Image.Image:
    make = ImageCms.createProfile
    return ImageCms.applyTransform(image, ImageCms.buildTransform(make("sRGB"), make("LAB"), "RGB", "LAB"))


def test_a_png_of_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    for depth, colour, values in ((16, 2, COLOUR), (16, 4, half_transparent(GREY)), (16, 6, half_transparent(COLOUR))):
        path.write_bytes(png(depth, colour, sixteen(values), 13, 4))
        true = in_rgb(GREY) if colour == 4 else COLOUR
        np.testing.assert_array_equal(decode(path).numpy().transpose(1, 2, 0), true)
    for depth, true in ((1, [255, 255, 0]), (2, [255, 170, 85]), (4, [238, 68, 17])):
        path.write_bytes(png(depth, 0, {1: b"\xc0", 2: b"\xe4", 4: b"\xe4\x10"}[depth], 3, 1))
        assert decode(path)[0, 0].tolist() == true


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("mode", ["I", "F", "La"])
def test_a_mode_without_a_known_range_is_refused_by_name(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow cuts the first two at 255, too, and cannot convert the last."""
    image = Image.new("LA", (2, 2)).convert("La") if mode == "La" else Image.new(mode, (2, 2), 300)
    monkeypatch.setattr(Image, "open", lambda path: image)
    with pytest.raises(UserError, match=rf"^pets/x\.png has pixels of mode '{mode}', whose range .*\n  save it with 8"):
        decode(Path("pets/x.png"))


def test_an_image_that_is_too_large_is_named(tmp_path: Path) -> None:
    """Pillow takes more than 178,956,970 pixels for an attack."""
    path = tmp_path / "x.png"
    path.write_bytes(png(8, 0, bytes(10_000), 20_000, 10_000))
    with pytest.raises(UserError, match=r"x\.png is no readable image: DecompressionBombError: "):
        decode(path)


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(
    "raised",
    [RuntimeError("Failed to decode image"), NotImplementedError("unimplemented"), ZeroDivisionError("modulo")],
)
def test_whatever_a_decoder_raises_the_file_is_named(raised: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """AVIF, DDS and others: Pillow has no kind of its own for them."""

    def fail(*args: object) -> None:
        raise raised

    monkeypatch.setattr(Image, "open", lambda path: Image.new("RGB", (2, 2)))
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(UserError, match=rf"x\.png is no readable image: {type(raised).__name__}: "):
        decode(Path("x.png"))


@pytest.mark.usefixtures("pictures")
def test_an_image_that_does_not_fit_the_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MemoryError, match=r"x\.png needs more memory"):
        decode(Path("x.png"))


@pytest.mark.parametrize("damage", ["cut", "text"])
def test_a_corrupted_image_is_named(root: Path, tmp_path: Path, damage: str) -> None:
    path = root / "pets" / "train" / "n10" / "c.jpg"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"<html>not found</html>")
    make_data(data_job(FOLDER), tmp_path)
    with pytest.raises(UserError, match=r"c\.jpg is no readable image: .*\n  copy the file again"):
        open_data(data_job(FOLDER), tmp_path).train.image(0)


def test_numbers_of_images_that_are_not_the_stated_ones_are_refused_together(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        make_data(data_job(FOLDER | {"train": 4, "test": 1}), tmp_path)
    text = str(raised.value)
    for part, wanted, found in (("train", 4, 3), ("val", 1, 2)):
        assert (
            f"{root / 'pets' / part} has {found} images, expected {wanted}\n  copy the data set again, or correct"
            in text
        )
    assert not (tmp_path / "index.json").exists()
    make_data(data_job(FOLDER), tmp_path)
    with pytest.raises(UserError, match="train has 3 images, expected 4"):
        open_data(data_job(FOLDER | {"train": 4}), tmp_path)


def test_a_release_may_differ_from_the_papers_table(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = FOLDER | {"train": 4, "test": 1}
    monkeypatch.setitem(IN_RELEASE, "pets", (3, 2))
    make_data(data_job(stated), tmp_path)
    data = open_data(data_job(stated), tmp_path)
    assert (len(data.train), len(data.test)) == (3, 2)
    (root / "pets" / "train" / "n2" / "a.JPEG").unlink()
    with pytest.raises(UserError, match="train has 2 images, expected 4"):
        make_data(data_job(stated), tmp_path)


def test_unset_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPLICATE_DATA", raising=False)
    with pytest.raises(UserError, match=r"^REPLICATE_DATA is not set: .*\n  export REPLICATE_DATA="):
        make_data(data_job(FOLDER), tmp_path)


def test_missing_folder(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing: the folder of data set 'birds'"):
        make_data(data_job(FOLDER | {"name": "birds"}), tmp_path)


def test_val_that_is_not_sorted_into_classes(root: Path, tmp_path: Path) -> None:
    for name in ("n10/x.JPEG", "n2/y.JPEG"):
        path = root / "pets" / "val" / name
        path.rename(root / "pets" / "val" / path.name)
        path.parent.rmdir()
    with pytest.raises(UserError, match=r"val has no class folders, but 2 loose images\n  move each"):
        make_data(data_job(FOLDER), tmp_path)


def test_every_fault_of_a_folder_is_reported_at_once(root: Path, tmp_path: Path) -> None:
    (root / "pets" / "val" / "n2" / "y.JPEG").unlink()
    with pytest.raises(UserError) as raised:
        make_data(data_job(FOLDER | {"classes": 3}), tmp_path)
    text = str(raised.value)
    assert text.count("has 2 class folders (n10 .. n2), expected 3") == 2
    assert f"{root / 'pets' / 'val' / 'n2'} has no images" in text


def test_train_and_val_must_name_the_same_classes(root: Path, tmp_path: Path) -> None:
    (root / "pets" / "val" / "n2").rename(root / "pets" / "val" / "n3")
    with pytest.raises(UserError, match="different class folders: n2, n3 in one only"):
        make_data(data_job(FOLDER), tmp_path)
