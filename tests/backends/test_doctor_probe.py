"""What a node answers to ``doctor``, and what is said of it, without a cluster."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutated import few, mutated, nested, scalars

from replicate.backends.doctor import probe, visit
from replicate.backends.doctor.files import Files
from replicate.backends.slurm.client import Client
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


def test_any_answer_of_a_node() -> None:
    whole = json.loads(json.dumps(asdict(probe.answer(probe.Question("nonce", ["numpy"])))))

    @few(80)
    @given(mutated(whole, nested(scalars)).map(json.dumps) | st.text(max_size=9) | st.just("[" * 100_000))
    def tried(text: str) -> None:
        with suppress(ValueError):
            found = probe.Answer.parse(text)
            assert isinstance(found.host, str)
            assert isinstance(found.torch, probe.Torch)

    tried()


@pytest.mark.parametrize("said", ["", "warning: slow\n", '{"version": "2", "cuda": "12"}\nbye\n', "null\n"])
def test_torch_that_says_something_else(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    done = subprocess.CompletedProcess([], 0, said, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    found = probe.torch_here(gpu=False)
    assert found == (probe.Torch("2", "12") if "12" in said else probe.Torch(error="its process said nothing of torch"))


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
    with pytest.raises(ValueError, match="Invalid JSON"):
        probe.Answer.parse('{"nonce": ')


TORCH = """
import os, sys
from types import SimpleNamespace as Some
__version__, version = "2.9.9+cu126", Some(cuda="12.6")
class Tensor:
    def __matmul__(self, other): return self
    def sum(self): return self
    def item(self): return 8.0
def ones(*size, device):
    TROUBLE
    return Tensor()
cuda = Some(get_device_name=lambda number: "A Stand-in")
"""
OLD_DRIVER = (
    'raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update your GPU '
    'driver by downloading it")'
)


class OneNode:
    """`visit` on a cluster of one node, where torch is a stand-in of a few lines."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.seen = folder, folder / "seen"
        self.node = {"CUDA_VISIBLE_DEVICES": "0"}
        tools = Path(__file__).parent / "stand_ins" / "one_node"
        self.path = f"{folder / 'bin'}:{tools}:/usr/bin:/bin"
        for name in ("bin", "site", "shared"):
            (folder / name).mkdir()
        monkeypatch.setattr(visit, "LOOK", 0.0)

    def torch(self, text: str) -> None:
        (self.folder / "site" / "torch.py").write_text(text)

    def gpus(self, *names: str) -> None:
        program = self.folder / "bin" / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + "".join(f"echo '{name}'\n" for name in names))
        program.chmod(0o755)

    def findings(self, needs_gpu: bool = True, setup: tuple[str, ...] = (), **kinds: dict[str, object]) -> list[str]:
        profile = Profile.model_validate(
            {
                "name": "lab",
                "python": sys.executable,
                "paths": {"shared": str(self.folder / "shared")},
                "shared_is_local": True,
                "setup": setup,
                "environment": {"PYTHONPATH": str(self.folder / "site")},
                "sbatch": {"time": 60, "mem": "64G", "cpus_per_task": 8},
                "kinds": {"train": {"gpus_per_node": "a100:1"}, **kinds},
            }
        )
        node = " ".join(f"{name}={value}" for name, value in self.node.items())
        client = Client({"PATH": self.path, "SEEN": str(self.seen), "NODE": node})
        return [str(finding) for finding in visit.examine(profile, client, Files(()), 60.0, needs_gpu)]


@pytest.fixture
def one_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OneNode:
    return OneNode(tmp_path, monkeypatch)


def about(subject: str, findings: list[str]) -> str:
    (found,) = [finding for finding in findings if finding[6:].startswith(subject)]
    return found


def test_torch_computes_on_the_nodes_gpu(one_node: OneNode) -> None:
    one_node.torch(TORCH.replace("TROUBLE", "pass"))
    assert about("node's GPUs", one_node.findings()) == (
        "ok    node's GPUs: torch 2.9.9+cu126 (CUDA 12.6) computed on A Stand-in"
    )


def test_a_driver_too_old_for_torch(one_node: OneNode) -> None:
    """The classic first failure: nvidia-smi lists the GPUs, and all versions are right."""
    one_node.torch(TORCH.replace("TROUBLE", OLD_DRIVER))
    one_node.gpus("NVIDIA A100")
    told = about("node's GPUs", one_node.findings())
    assert told.startswith(
        "fail  node's GPUs: torch 2.9.9+cu126 (CUDA 12.6) cannot compute on the GPU that n1 gave: The "
    )
    assert (
        "driver on your system is too old (found version 11040); nvidia-smi shows NVIDIA A100; install a torch" in told
    )
    assert about("node's GPUs", one_node.findings(needs_gpu=False)).startswith("warn  ")


def test_no_gpu_where_trainings_need_one(one_node: OneNode) -> None:
    one_node.torch(TORCH.replace("TROUBLE", 'raise RuntimeError("No CUDA GPUs are available")'))
    one_node.node = {}
    assert about("node's GPUs", one_node.findings(train={"time": 60})).startswith(
        "fail  node's GPUs: n1 has none that torch 2.9.9+cu126 (CUDA 12.6) can use, and the request does not say how"
    )
    assert about("torch", one_node.findings(needs_gpu=False, train={"time": 60})).startswith("ok  ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'raise ImportError("libcudnn.so.9: cannot open shared object file")',
            "ImportError: libcudnn.so.9: cannot open",
        ),
        ("import os; os.abort()", "its process ended with code -6"),
    ],
)
def test_torch_that_cannot_be_imported(one_node: OneNode, text: str, words: str) -> None:
    one_node.torch(text)
    assert f"fail  torch: cannot be imported on n1: {words}" in about("torch", one_node.findings())


def test_a_setup_line_that_fails(one_node: OneNode) -> None:
    told = one_node.findings(setup=("true", "module load cuda/12.4"))
    assert about("setup", told).startswith("fail  setup: setup line 'module load cuda/12.4' failed (exit code 127): ")
    assert "command not found; batch shells have no module command" in about("setup", told)
    assert not [finding for finding in told if "node's GPUs" in finding]


def test_the_probe_asks_for_minutes_and_one_gpu(one_node: OneNode) -> None:
    one_node.torch(TORCH.replace("TROUBLE", "pass"))
    large = {
        "gpus_per_node": "a100:8",
        "nodes": 2,
        "ntasks_per_node": 8,
        "mem": "256G",
        "time": 2880,
        "cpus_per_task": 16,
    }
    told = one_node.findings(train=large, data={"partition": "cpu"}, measure={"exclusive": True})
    trainings, data = one_node.seen.read_text().splitlines()
    asked = trainings.split()
    for option in ("gpus-per-node=a100:1", "nodes=1", "ntasks-per-node=1", "mem=64G", "time=10", "cpus-per-task=8"):
        assert f"--{option}" in asked
    assert "--exclusive" not in asked
    assert "--partition=cpu" in data
    assert "gpus" not in data
    assert about("node of data, architecture, weights", told).startswith("ok  ")
    # What is wrong in the other partition alone is said, and where.
    one_node.torch(TORCH.replace("TROUBLE", "pass") + "import os\nif 'CUDA_VISIBLE_DEVICES' not in os.environ: 1 / 0\n")
    one_node.node = {}
    assert "fail  node of data, architecture, weights, torch: cannot be imported" in "\n".join(
        one_node.findings(train=large, data={"partition": "cpu"})
    )
