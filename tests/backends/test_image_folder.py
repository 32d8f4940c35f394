"""A table whose images are files on disk, trained on this machine: as at paper scale, in small."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_project import JOBS, TinyProject, new_project

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

Image = pytest.importorskip("PIL.Image")

FOLDER = {"source": "imagefolder", "name": "stripes", "classes": 2, "train": 64, "test": 40}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Upright and level stripes as JPEG files of several sizes."""
    root = tmp_path_factory.mktemp("datasets")
    draw = np.random.default_rng(7)
    for part, count in (("train", 32), ("val", 20)):
        for name in ("level", "upright"):
            folder = root / "stripes" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                height, width = draw.integers(40, 60, 2)
                line = np.where(np.arange(64) // 5 % 2, 220, 40)
                pixels = np.broadcast_to(line[:width] if name == "upright" else line[:height, None], (height, width))
                noisy = np.clip(pixels + draw.normal(0, 15, (height, width)), 0, 255).astype(np.uint8)
                Image.fromarray(np.stack([noisy] * 3, axis=2)).save(folder / f"{number:02}.JPEG", quality=90)
    return root


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    return new_project(tmp_path / "project", images=FOLDER)


def test_it_is_trained_evaluated_and_rendered(project: TinyProject, images: Path, tmp_path: Path) -> None:
    done = project.table(REPLICATE_DATA=str(images))
    assert done.returncode == 0, done.stderr
    cells = project.json()["cells"]
    assert [seed["images"] for cell in cells for seed in cell["seeds"]] == [40] * 4
    assert len(list(project.results.glob("*/result.json"))) == JOBS + 1
    # Evaluating reads the images under val/ alone.
    before = project.decisions()
    for path in [*project.results.glob("predict-*"), *project.results.glob("data-imagefolder-val-*")]:
        shutil.rmtree(path)
    shutil.copytree(images / "stripes" / "val", tmp_path / "stripes" / "val")
    again = project.table("--no-train", REPLICATE_DATA=str(tmp_path))
    assert again.returncode == 0, again.stderr
    assert project.decisions() == before


def test_without_the_variable_nothing_is_started(project: TinyProject) -> None:
    done = project.table(REPLICATE_DATA="")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: REPLICATE_DATA is not set (expected the folder that holds the image data sets)"
    )
    assert not list(project.results.glob("*"))


def test_a_folder_that_is_not_there_fails_the_job_that_lists_it(project: TinyProject, tmp_path: Path) -> None:
    done = project.table(REPLICATE_DATA=str(tmp_path))
    assert done.returncode == 1
    assert f"{tmp_path}/stripes is missing: the folder of data set 'stripes'" in done.stderr
