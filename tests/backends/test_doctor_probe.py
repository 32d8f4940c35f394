"""What a node answers to ``doctor``, and what is said of it, without a cluster."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from replicate.backends.doctor import probe
from replicate.backends.doctor.files import Files
from replicate.backends.slurm.profile import Profile
from replicate.specs.scale import PublishedFile
from replicate.specs.sources.imagefolder import FolderData


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for split, name in (("train", "a"), ("train", "b"), ("val", "a"), ("val", "b")):
        folder = tmp_path / "data" / "pets" / split / name
        folder.mkdir(parents=True)
        (folder / "0.JPEG").touch()
    return tmp_path / "data"


def files_of(*names: str, weights: tuple[str, ...] = ()) -> Files:
    data = [FolderData(source="imagefolder", name=name, classes=2, train=2, test=2) for name in names]
    return Files(data, [PublishedFile.of(name) for name in weights])


def profile_of(data: Path) -> Profile:
    paths = {"shared": "/shared", "data": str(data)}
    return Profile.model_validate({"name": "lab", "python": "/usr/bin/python3", "paths": paths})


def answered(folder: Path, question: probe.Question) -> probe.Answer:
    """By a copy that is started as on a node: nothing of the package can be imported there."""
    folder.mkdir(exist_ok=True)
    shutil.copyfile(probe.__file__, folder / "probe.py")
    (folder / "question.json").write_text(json.dumps(asdict(question)))
    call = [sys.executable, "-I", str(folder / "probe.py"), str(folder)]
    subprocess.run(call, check=True, cwd=folder, env={"CUDA_VISIBLE_DEVICES": "0,1", "SLURMD_NODENAME": "n1"})
    return probe.Answer.parse((folder / "answer.json").read_text())


def test_an_answer_is_read_back(images: Path, tmp_path: Path) -> None:
    files = files_of("pets", "absent", weights=("deit-0123abcd.pth",))
    answer = answered(tmp_path / "node", files.question(profile_of(images), "nonce", ["numpy", "no-such-package"]))
    assert (answer.nonce, answer.host, answer.gpus_given) == ("nonce", "n1", ["0", "1"])
    assert set(answer.packages) == {"numpy", "no-such-package"}
    assert answer.packages.get("no-such-package", "") is None
    assert answer.data["pets"] == probe.splits(str(images / "pets"))
    assert answer.data["absent"].val.error.endswith("absent/val: No such file or directory")
    assert list(answer.files.values()) == ["nowhere"]


def test_findings_on_images_and_weights(images: Path, tmp_path: Path) -> None:
    profile = profile_of(images)
    files = files_of("pets", "absent", weights=("deit-0123abcd.pth",))
    answer = answered(tmp_path / "node", files.question(profile, "nonce", []))
    levels = {finding.subject: finding.level for finding in files.findings(profile, answer)}
    assert levels == {"data pets/train": "ok", "data pets/val": "ok", "data absent": "warn", "weights": "fail"}
    other = replace(answer.data["pets"].train, sha256="0" * 64)
    (words,) = [
        str(finding)
        for finding in files.findings(
            profile, replace(answer, data={**answer.data, "pets": probe.Splits(other, other)})
        )
        if finding.subject == "data pets/train"
    ]
    assert "other files on n1 than here" in words
    (images / "pets" / "val" / "a" / "0.JPEG").unlink()
    short = answered(tmp_path / "node", files.question(profile, "nonce", []))
    (wrong,) = [str(finding) for finding in files.findings(profile, short) if finding.subject == "data pets/val"]
    assert wrong.startswith("fail  data pets/val: 1 images of 2 classes, not 2 of 2")


def test_an_answer_of_somebody_else_is_no_answer() -> None:
    assert probe.Answer.parse('{"other": 1}') == probe.Answer()
    with pytest.raises(ValueError, match="Expecting"):
        probe.Answer.parse('{"nonce": ')
