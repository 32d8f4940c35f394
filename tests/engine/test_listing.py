"""Folders of images as people have them: a Mac's files, links to nowhere, names in any bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT
from paper_recipe import data_job
from PIL import Image

from replicate.backends.doctor import probe
from replicate.engine.data import make_data, open_data
from replicate.engine.sources.imagefolder import list_splits
from replicate.errors import UserError

pytestmark = pytest.mark.torch

FOLDER: dict[str, Any] = {"source": "imagefolder", "version": 1, "name": "pets", "classes": 2, "train": 4, "test": 4}
COMPOSED = "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
LATIN_1 = os.fsdecode(b"caf\xe9")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data set ``pets``: two classes, two images of each in train and in val."""
    root = tmp_path / "datasets"
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            folder = root / "pets" / part / name
            folder.mkdir(parents=True)
            for index in range(2):
                Image.new("RGB", (4, 4), (index, 0, 0)).save(folder / f"{index}.JPEG")
    monkeypatch.setenv("REPLICATE_DATA", str(root))
    return root


def listed(root: Path, tmp_path: Path) -> dict[str, Any]:
    """The index that the data job writes of ``root``."""
    make_data(data_job(FOLDER), tmp_path)
    index: dict[str, Any] = json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))
    return index


def test_hidden_files_are_no_images(root: Path, tmp_path: Path) -> None:
    sound = listed(root, tmp_path)
    for place in ("train/cat/._0.JPEG", "val/dog/.0.png", "train/.DS_Store", "train/._cat"):
        (root / "pets" / place).write_bytes(b"\0\5\26\7")
    (root / "pets" / "train" / ".Trashes").mkdir()
    assert listed(root, tmp_path) == sound
    assert [len(split) for split in (open_data(data_job(FOLDER), tmp_path).train,)] == [4]


def test_a_folder_called_like_an_image_is_none(root: Path, tmp_path: Path) -> None:
    sound = listed(root, tmp_path)
    (root / "pets" / "train" / "cat" / "07.JPEG").mkdir()
    assert listed(root, tmp_path) == sound
    assert len(open_data(data_job(FOLDER), tmp_path).train) == 4


def test_what_cannot_be_an_image_is_named_by_the_job_that_lists(root: Path, tmp_path: Path) -> None:
    folder = root / "pets" / "train" / "cat"
    (folder / "nowhere.JPEG").symlink_to("/nowhere/x.JPEG")
    (folder / "empty.JPEG").touch()
    os.mkfifo(folder / "pipe.JPEG")
    (folder / "folder.JPEG").symlink_to(root, target_is_directory=True)
    with pytest.raises(UserError) as raised:
        make_data(data_job(FOLDER), tmp_path)
    assert str(raised.value).splitlines() == [
        f"{folder}/empty.JPEG is empty",
        f"{folder}/folder.JPEG is no file",
        f"{folder}/nowhere.JPEG is a link to nowhere",
        f"{folder}/pipe.JPEG is no file",
        "  copy the image again, or remove what is none",
    ]
    for index in range(6):
        (folder / f"z{index}.JPEG").touch()
    with pytest.raises(UserError, match=r"\n\.\.\. and 5 more in .*/train\n  copy the image"):
        make_data(data_job(FOLDER), tmp_path)


def test_links_to_images_are_images(root: Path, tmp_path: Path) -> None:
    sound = listed(root, tmp_path)
    path = root / "pets" / "train" / "cat" / "0.JPEG"
    path.rename(root / "elsewhere.JPEG")
    path.symlink_to(root / "elsewhere.JPEG")
    assert listed(root, tmp_path) == sound
    assert open_data(data_job(FOLDER), tmp_path).train.image(0).shape == (3, 4, 4)


def test_a_png_may_be_called_jpeg(root: Path, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (9, 8, 7)).save(root / "pets" / "train" / "cat" / "0.JPEG", "PNG")
    listed(root, tmp_path)
    assert open_data(data_job(FOLDER), tmp_path).train.image(0)[:, 0, 0].tolist() == [9, 8, 7]


@pytest.mark.parametrize("name", [COMPOSED, DECOMPOSED, LATIN_1, "class with blanks", "\N{SNOWMAN}"])
def test_a_class_of_any_name(root: Path, tmp_path: Path, name: str) -> None:
    for part in ("train", "val"):
        (root / "pets" / part / "cat").rename(root / "pets" / part / name)
        (root / "pets" / part / name / "0.JPEG").rename(root / "pets" / part / name / f"{name}.JPEG")
    index = listed(root, tmp_path)
    assert sorted([name, "dog"]) == index["train"]["classes"]
    data = open_data(data_job(FOLDER), tmp_path)
    assert [data.train.image(index).shape for index in range(4)] == [(3, 4, 4)] * 4
    assert probe.splits(str(root / "pets")).train.sha256 == index["train"]["sha256"]


def test_a_damaged_image_of_a_name_that_is_no_utf8_is_named(root: Path, tmp_path: Path) -> None:
    (root / "pets" / "train" / "cat" / f"{LATIN_1}.JPEG").write_bytes(b"<html>")
    make_data(data_job(FOLDER | {"train": 5}), tmp_path)
    with pytest.raises(UserError) as raised:
        open_data(data_job(FOLDER | {"train": 5}), tmp_path).train.image(2)
    assert f"{LATIN_1}.JPEG is no readable image" in str(raised.value)


def test_two_spellings_of_a_class_are_named(root: Path, tmp_path: Path) -> None:
    (root / "pets" / "train" / "cat").rename(root / "pets" / "train" / COMPOSED)
    (root / "pets" / "val" / "cat").rename(root / "pets" / "val" / DECOMPOSED)
    with pytest.raises(UserError, match=r"train and val spell a class in two forms of Unicode: .caf"):
        make_data(data_job(FOLDER), tmp_path)


def test_two_folders_of_one_name_are_named(root: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        (root / "pets" / part / "cat").rename(root / "pets" / part / COMPOSED)
        (root / "pets" / part / "dog").rename(root / "pets" / part / DECOMPOSED)
    with pytest.raises(UserError, match="train: two folders have one name in two forms of Unicode") as raised:
        make_data(data_job(FOLDER), tmp_path)
    assert str(raised.value).count("two folders have one name") == 2


def test_the_list_of_a_split_is_the_same_in_every_locale(root: Path, tmp_path: Path) -> None:
    """In a Latin-1 locale Python reads the bytes of an UTF-8 name as other letters."""
    for part in ("train", "val"):
        (root / "pets" / part / "cat").rename(root / "pets" / part / COMPOSED)
        (root / "pets" / part / "dog").rename(root / "pets" / part / LATIN_1)
    here = list_splits("pets", 2, look=True)[0]
    program = (
        "import codecs, sys; from replicate.engine.sources.imagefolder import decode, list_splits\n"
        "train, _ = list_splits('pets', 2, look=True)\n"
        "assert all(decode(train.path(index)).shape == (3, 4, 4) for index in range(4))\n"
        "print(codecs.lookup(sys.getfilesystemencoding()).name, ascii(train.fingerprint()))"
    )
    surroundings = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-c", program]
    done = subprocess.run(call, env=surroundings, capture_output=True, text=True, check=False)
    assert done.stdout == f"ascii {here.fingerprint()!a}\n", done.stderr
