"""Published weights in place of training, from the command to the table."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command_line import Call, released_name
from tiny_project import JOBS, TinyProject, ended, new_project

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

safetensors = pytest.importorskip("safetensors.torch")

STUDENT, TEACHER = "deit-ti-224/none", "regnety-16gf"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """The tiny table, all of it trained."""
    project = new_project(tmp_path_factory.mktemp("trained"))
    done = project.table()
    assert done.returncode == 0, done.stderr
    return project


@pytest.fixture(scope="module")
def files(trained: TinyProject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``$REPLICATE_DATA`` with the weights of a student, as the DeiT release has them, and of the teacher."""
    root = tmp_path_factory.mktemp("datasets")
    (root / "weights").mkdir()
    tensors = safetensors.load_file(trained.results / trained.key("train-deit-ti-224-none") / "model.safetensors")
    # What a training of the released code writes has both; the averaged ones are never reported (deit#67).
    other = {name: tensor + 1 for name, tensor in tensors.items()}
    torch.save({"model": tensors, "model_ema": other}, root / "weights" / "student.pth")
    tensors = safetensors.load_file(trained.results / trained.key("train-regnety") / "model.safetensors")
    safetensors.save_file(tensors, root / "weights" / "teacher.safetensors")
    return root


@pytest.fixture(scope="module")
def names(files: Path) -> dict[str, str]:
    folder = files / "weights"
    return {
        STUDENT: released_name(folder / "student.pth"),
        TEACHER: released_name(folder / "teacher.safetensors"),
    }


def released(project: TinyProject, *arguments: str, data: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return project.table("--from", "released", *arguments, REPLICATE_DATA=str(data), **env)


def cells_of(project: TinyProject) -> list[dict[str, Any]]:
    found = json.loads((project.folder / "out" / "tiny-released" / "tiny.json").read_text())
    return [cell for cell in found["cells"] if cell["row"] != "@"]


def test_the_numbers_are_those_of_the_training_that_was_published(
    trained: TinyProject, files: Path, names: dict[str, str], tmp_path: Path
) -> None:
    project = new_project(tmp_path, released=names)
    done = released(project, data=files)
    assert done.returncode == 0, done.stderr
    assert len(list(project.results.glob("*/result.json"))) == JOBS
    assert {path.name.split("-")[1] for path in project.results.glob("weights-*")} == {"deit", "regnety"}
    assert not list(project.results.glob("train-deit-ti-224-none*")) + list(project.results.glob("train-regnety*"))
    # The student that was published decides as it did, and those of the published teacher come out the same.
    assert set(project.decisions().values()) == set(trained.decisions().values())
    assert set(project.weights().values()) < set(trained.weights().values())
    origins = {(cell["row"], cell["column"]): cell["origin"] for cell in cells_of(project)}
    assert origins.pop(("none", "ti_224")) == "released weights"
    assert set(origins.values()) == {"trained here"}
    page = (project.folder / "out" / "tiny-released" / "tiny.md").read_text()
    assert "Numbers: trained here and released weights; n" in page
    assert "‡ released weights (unmarked: trained here)" in page


def test_without_training_the_published_are_evaluated_and_the_rest_waits(
    files: Path, names: dict[str, str], tmp_path: Path
) -> None:
    project = new_project(tmp_path, released=names)
    done = released(project, "--no-train", data=files)
    assert done.returncode == 3, done.stderr
    assert not list(project.results.glob("train-*"))
    assert {cell["origin"] for cell in cells_of(project)} == {"released weights", "not run"}
    # What it says of a number says where the network is from, and the command it prints leads there.
    said = ended(project.start("explain", "tiny", "none", "ti_224", "--from", "released")).stdout
    assert names[STUDENT] in said
    assert "released weights" in said
    assert "--from released" in said


def test_a_training_that_is_there_is_evaluated_without_another(trained: TinyProject, tmp_path: Path) -> None:
    project = new_project(tmp_path)
    shutil.copytree(trained.results, project.results)
    lacking = [*project.results.glob("predict-*"), *project.results.glob("train-deit-s-224-token*")]
    for path in lacking:
        shutil.rmtree(path)
    assert project.table("--no-train").returncode == 3
    assert [cell["state"] for cell in project.json()["cells"]].count("done") == 3
    assert not list(project.results.glob("train-deit-s-224-token*"))


def test_one_that_is_refused_fails_its_numbers_with_what_to_do(
    files: Path, names: dict[str, str], tmp_path: Path
) -> None:
    """Weights of another network; each other fault: tests/engine/test_released.py."""
    project = new_project(tmp_path, released={"deit-s-224/none": names[STUDENT]})
    done = released(project, "--no-train", data=files)
    assert done.returncode == 1
    assert "holds weights of another network" in done.stderr
    assert "Traceback" not in done.stderr
    assert [cell["state"] for cell in cells_of(project)].count("failed") == 1


def test_a_scale_inherits_no_published_weights(names: dict[str, str], tmp_path: Path, replicate: Call) -> None:
    """They are of the data and the networks of the scale that names them."""
    folder = new_project(tmp_path, released=names).folder / "tables"
    text = 'id = "own"\nextends = "tiny"\ntitle = "mine"\nseed_sd = 1.0\nseed_sd_source = "a guess"\n'
    (folder / "scales" / "own.toml").write_text(text)
    done = replicate("plan", "--from", "released", "--scale", "own", "--tables", str(folder))
    assert done.returncode == 2
    assert "the scale 'own' names no published weights" in done.stderr
