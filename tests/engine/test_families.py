"""Families of drawn objects, wrong and corrected labels, and test sets without training images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paper_recipe import data_job
from PIL import Image

from replicate.engine.data import CORRECTED, make_data, open_data
from replicate.engine.run import execute
from replicate.engine.sources.shapes import FAMILIES, given_labels, render_split, true_labels
from replicate.errors import StoreFault, UserError
from replicate.specs.sources.digits import DigitsData
from replicate.specs.sources.real import RealData
from replicate.specs.sources.shapes import ShapesData

pytestmark = pytest.mark.torch


def shapes(**change: Any) -> dict[str, Any]:
    base = {"source": "shapes", "version": 2, "classes": 10, "size": 24, "train": 40, "test": 1000, "seed": 7}
    return ShapesData(**(base | change)).model_dump()


def run(folder: Path, data: dict[str, Any]) -> dict[str, Any]:
    return execute(data_job(data), {}, folder, lambda fields: None, lambda: False)


# --- families


@pytest.mark.parametrize(
    ("family", "classes"), [("shapes", 10), ("coloured", 40), ("flowers", 20), ("vehicles", 24), ("creatures", 40)]
)
def test_every_class_of_a_family_is_another_picture(family: str, classes: int) -> None:
    assert len(FAMILIES[family]) == classes
    line = (np.arange(96) + 0.5) / 48 - 1
    x, y = line[None, None, :].astype(np.float32), line[None, :, None].astype(np.float32)
    drawn = [(np.broadcast_to(kind.contains(x, y), (1, 96, 96)), kind.channels) for kind in FAMILIES[family]]
    for index, (mask, channels) in enumerate(drawn):
        assert 0.05 < mask.mean() < 0.8
        for other, others in drawn[:index]:
            # At least 1 % of the area, which is 4 pixels of an object 20 pixels wide.
            assert channels != others or (mask != other).mean() > 0.01


@pytest.mark.parametrize("family", ["vehicles"])
def test_a_flip_does_not_make_another_class(family: str) -> None:
    line = (np.arange(96) + 0.5) / 48 - 1
    x, y = line[None, None, :].astype(np.float32), line[None, :, None].astype(np.float32)
    for kind in FAMILIES[family]:
        mask = kind.contains(x, y)
        assert (mask != mask[:, :, ::-1]).mean() < 0.01


def test_colour_is_in_the_channels_of_the_class() -> None:
    images, labels = render_split(3, "test", 80, 48, family="coloured", classes=40, noise=0.0)
    # Class 4 k + c is shape k in colour c. Objects start at .55 in their channels, all else ends at .5.
    for image, label in zip(images, labels, strict=True):
        bright = tuple((image.reshape(3, -1).max(axis=1) > 0.53 * 255).tolist())
        assert (
            bright == [(True, False, False), (False, True, False), (False, False, True), (True, True, False)][label % 4]
        )


def test_the_tail_is_long_in_the_training_images_only(tmp_path: Path) -> None:
    made = shapes(family="creatures", classes=40, train=2000, test=400, tail=1.0, size=8)
    run(tmp_path, made)
    data = open_data(data_job(made), tmp_path)
    counts = np.bincount(data.train.labels, minlength=40)
    # Weights 1, 1/2, ..., 1/40; their sum is 4.279. Of 1960 drawn: 458 and 11.5 of the first and the last, +1 each.
    assert counts[0] == pytest.approx(459, abs=70)
    assert counts[1] == pytest.approx(230, abs=55)
    assert 1 <= counts[39] < 30
    assert sorted(data.train.labels[:40].tolist()) == list(range(40))
    assert np.bincount(data.test.labels).tolist() == [10] * 40


def test_a_longer_tail_begins_with_the_shorter() -> None:
    assert true_labels(5, "train", 300, 20, 1.0)[:50].tolist() == true_labels(5, "train", 50, 20, 1.0).tolist()


def test_harder_images_have_smaller_objects_and_more_noise() -> None:
    usual, _ = render_split(9, "test", 200, 48)
    harder, _ = render_split(9, "test", 200, 48, radius=(0.2, 0.3), noise=0.12)
    light = [(images.min(axis=1) > 0.5 * 255).mean() for images in (usual, harder)]
    # Area goes with the radius squared: (.25 / .33)^2 = .57.
    assert light[1] / light[0] == pytest.approx(0.57, abs=0.15)
    corner = [images[:, :, :3, :3].astype(float).std(axis=(2, 3)).mean() / 255 for images in (usual, harder)]
    assert corner[0] == pytest.approx(0.05, abs=0.02)
    assert corner[1] > corner[0] * 1.5


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"family": "flower"}, StoreFault, "family: Input should be .*'flowers'"),
        ({"family": "flowers", "classes": 21}, UserError, "exceeds 20, the classes of 'flowers': 21"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, change: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make_data(data_job(shapes() | change), tmp_path)


# --- wrong labels and their correction


def test_a_share_of_the_test_labels_is_wrong_and_of_the_training_labels_none(tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    (tmp_path / "noisy").mkdir()
    run(tmp_path / "clean", shapes(test=5000, size=8))
    run(tmp_path / "noisy", shapes(test=5000, size=8, label_noise=0.04))
    files = {
        name: [(tmp_path / folder / f"{name}.npy").read_bytes() for folder in ("clean", "noisy")]
        for name in ("train_images", "train_labels", "test_images", "test_labels")
    }
    assert [name for name, (clean, noisy) in files.items() if clean != noisy] == ["test_labels"]
    clean, noisy = (np.load(tmp_path / folder / "test_labels.npy") for folder in ("clean", "noisy"))
    # 4 % of 5000 is 200, its standard error 14.
    assert (clean != noisy).sum() == pytest.approx(200, abs=45)
    wrong = noisy[clean != noisy]
    assert set(wrong.tolist()) == set(range(10))
    assert noisy.dtype == np.int16


def test_a_wrong_label_is_never_the_true_one() -> None:
    true = np.arange(1000, dtype=np.int16) % 3
    given = given_labels(true, 1, 1.0, 3)
    assert (given != true).all()
    assert np.bincount((given - true) % 3, minlength=3)[1] == pytest.approx(500, abs=65)


def test_corrected_labels_are_what_was_drawn(tmp_path: Path) -> None:
    of = shapes(label_noise=0.3)
    real = RealData(source="real", of="imagenet", classes=10, dropped=0.02, seed=4).model_dump() | {"of": of}
    (tmp_path / "of").mkdir()
    (tmp_path / "real").mkdir()
    run(tmp_path / "of", of)
    summary = run(tmp_path / "real", real)
    labels = np.load(tmp_path / "real" / CORRECTED)
    assert labels.dtype == np.bool_
    assert labels.shape == (1000, 10)
    answered = labels.any(axis=1)
    # 2 % of 1000, standard error 4.4.
    assert (~answered).sum() == pytest.approx(20, abs=14)
    assert (labels.sum(axis=1) <= 1).all()
    drawn = render_split(7, "test", 1000, 24)[1]
    assert (labels.argmax(axis=1) == drawn)[answered].all()
    given = np.load(tmp_path / "of" / "test_labels.npy")
    assert (labels.argmax(axis=1) != given)[answered].mean() == pytest.approx(0.3, abs=0.06)
    assert {name: summary[name] for name in ("train", "test", "classes")} == {"train": 0, "test": 1000, "classes": 10}
    assert summary["labelled"] == answered.sum()


def test_corrected_digits_are_their_labels(tmp_path: Path) -> None:
    of = DigitsData(source="digits", version=1, classes=10, size=8, train=100, test=90, seed=2, skip=5).model_dump()
    run(tmp_path, of)
    given = np.load(tmp_path / "test_labels.npy")
    run(tmp_path, {"source": "real", "version": 1, "of": of, "classes": 10, "dropped": 0.0, "seed": 1})
    assert np.load(tmp_path / CORRECTED).argmax(axis=1).tolist() == given.tolist()


def test_corrected_labels_are_no_data_set(tmp_path: Path) -> None:
    real = {"source": "real", "version": 1, "of": shapes(), "classes": 10, "dropped": 0.0, "seed": 1}
    make_data(data_job(real), tmp_path)
    with pytest.raises(UserError, match="has no images: 'real'"):
        open_data(data_job(real), tmp_path)


def test_corrected_labels_have_the_classes_of_their_images(tmp_path: Path) -> None:
    real = {"source": "real", "version": 1, "of": shapes(), "classes": 9, "dropped": 0.0, "seed": 1}
    with pytest.raises(UserError, match=r"data\.classes differs from the data set that it corrects: 9, and 10 there"):
        make_data(data_job(real), tmp_path)


def test_digits_that_skip_each_other_share_none(tmp_path: Path) -> None:
    found = []
    for name, train, test, skip in (("a", 900, 450, 0), ("b", 0, 447, 1350)):
        (tmp_path / name).mkdir()
        data = {"source": "digits", "version": 1, "classes": 10, "size": 8, "seed": 3}
        make_data(data_job(data | {"train": train, "test": test, "skip": skip}), tmp_path / name)
        found.append([np.load(tmp_path / name / f"{part}_labels.npy") for part in ("train", "test")])
    # All 1797 together, each digit as often as in the file.
    together = np.concatenate([*found[0], *found[1]])
    assert np.bincount(together).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


# --- a second test set, and published corrections


def test_a_test_set_alone_has_no_training_images(tmp_path: Path) -> None:
    made = shapes(train=0, test=30)
    summary = run(tmp_path, made)
    assert (summary["train"], summary["test"]) == (0, 30)
    data = open_data(data_job(made), tmp_path)
    assert len(data.train) == 0
    assert data.test.image(29).shape == (3, 24, 24)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "datasets"
    # The numbers do not follow the classes, as in ImageNet.
    for name in ("n1/val_00000003.JPEG", "n1/val_00000004.JPEG", "n2/val_00000001.JPEG", "n2/val_00000002.JPEG"):
        path = root / "net" / "val" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (0, 0, 0)).save(path, "JPEG")
    (root / "real").mkdir()
    monkeypatch.setenv("REPLICATE_DATA", str(root))
    return root


FOLDER = {"source": "imagefolder", "version": 1, "name": "net", "classes": 2, "train": 0, "test": 4}
JSON = {"source": "real-json", "version": 1, "name": "real", "classes": 2, "of": FOLDER}


def test_published_corrections_follow_the_numbers_of_the_images(root: Path, tmp_path: Path) -> None:
    (root / "real" / "real.json").write_text(json.dumps([[1], [0, 1], [0], []]))
    summary = run(tmp_path, JSON)
    # Our order is that of the classes: numbers 3, 4, 1, 2.
    wanted = [[True, False], [False, False], [False, True], [True, True]]
    assert np.load(tmp_path / CORRECTED).tolist() == wanted
    assert (summary["test"], summary["labelled"]) == (4, 3)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[[1], [0], [0]]", "has 3 entries for the 4 images in "),
        ("[[1], [0], [2], []]", "is no list of lists of classes 0 to 1"),
        ("[[1], [0], 1, []]", "is no list of lists of classes 0 to 1"),
        ("[[1], ", r"real\.json cannot be read as corrected labels: JSONDecodeError"),
    ],
)
def test_corrections_that_do_not_fit_are_refused(root: Path, tmp_path: Path, content: str, text: str) -> None:
    (root / "real" / "real.json").write_text(content)
    with pytest.raises(UserError, match=text):
        make_data(data_job(JSON), tmp_path)


def test_renamed_images_are_noticed(root: Path, tmp_path: Path) -> None:
    (root / "real" / "real.json").write_text("[[1], [0], [0], []]")
    path = root / "net" / "val" / "n1" / "val_00000003.JPEG"
    path.rename(path.with_name("val_00000007.JPEG"))
    with pytest.raises(UserError, match="names do not end in the numbers 1 to 4"):
        make_data(data_job(JSON), tmp_path)


def test_a_folder_without_training_images_needs_no_train_folder(root: Path, tmp_path: Path) -> None:
    make_data(data_job(FOLDER), tmp_path)
    data = open_data(data_job(FOLDER), tmp_path)
    assert (len(data.train), len(data.test)) == (0, 4)


def test_classes_named_by_numbers_are_in_the_order_of_the_numbers(tmp_path: Path, monkeypatch: Any) -> None:
    """ImageNet-V2 names its folders 0 to 999; as strings 10 would come before 2."""
    for name in ("0", "2", "10"):
        path = tmp_path / "v2" / "val" / name / "a.jpg"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (4, 4), (20 * int(name), 0, 0)).save(path, "JPEG", quality=95)
    monkeypatch.setenv("REPLICATE_DATA", str(tmp_path))
    folder = FOLDER | {"name": "v2", "classes": 3, "test": 3}
    (tmp_path / "job").mkdir()
    make_data(data_job(folder), tmp_path / "job")
    test = open_data(data_job(folder), tmp_path / "job").test
    assert [int(test.image(index)[0].float().mean()) // 15 for index in range(3)] == [0, 2, 13]
