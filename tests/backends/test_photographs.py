"""What a lab does first, in small: evaluate released weights on a folder of photographs, and train at 224 pixels.

The photographs are cuts of the two that scikit-learn ships, the weights random ones in files as the authors released
theirs, and the scale is the paper's with DeiT-Ti in the place of DeiT-B.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, environment, released_name

sys.path.insert(0, str(ROOT))

from benchmarks.gpu_check.materials import photographs

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.slurm_fault]

SCALE = """
id      = "photographs"
extends = "paper"
title   = "photographs of the test"
banner  = "random weights"

[[noise]]
sd     = "unknown"
source = "nobody has looked"

[data.imagenet]
source  = "imagefolder"
name    = "photographs"
classes = 4
train   = 64
test    = 16

[models.deit-b]
timm           = "deit_tiny_patch16_224"
timm_distilled = "deit_tiny_distilled_patch16_224"
resizable      = true

[models.regnety-16gf]
timm = "regnety_002"

[recipes.deit]
precision     = "fp32"
batch         = 32
mix_batch     = 32
epochs        = 2
warmup_epochs = 1

[recipes.deit-small]
mix_batch = 32

[recipes.deit-384]
batch = 32

[recipes.regnet]
batch     = 32
mix_batch = 32

[recipes.regnet-384]
batch     = 32
mix_batch = 32

[released]
"""
FILES = {
    "deit-b-224/none": "deit_tiny_patch16_224",
    "deit-b-224/token": "deit_tiny_distilled_patch16_224",
    "regnety-16gf": "regnety_002",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with specs, photographs and weights."""
    import timm

    root = tmp_path_factory.mktemp("project")
    photographs(root / "datasets", share=4)
    shutil.copytree(ROOT / "tables", root / "tables")
    (root / "datasets" / "weights").mkdir()
    lines = []
    for run, name in FILES.items():
        torch.manual_seed(len(lines))
        path = root / "datasets" / "weights" / f"{name}.pth"
        torch.save({"model": timm.create_model(name, num_classes=4).state_dict()}, path)
        lines.append(f'"{run}" = "{released_name(path)}"')
    (root / "tables" / "scales" / "photographs.toml").write_text(SCALE + "\n".join(lines) + "\n")
    return root


def replicate(project: Path, *arguments: str) -> str:
    folders = [part for name in ("results", "out", "tables") for part in (f"--{name}", str(project / name))]
    command = [sys.executable, "-m", "replicate", *arguments, "--scale", "photographs"]
    variables = environment(REPLICATE_DATA=str(project / "datasets"))
    done = subprocess.run([*command, *folders], env=variables, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_released_weights_decide_about_photographs(project: Path) -> None:
    replicate(project, "table", "--id", "decision_agreement", "--from", "released")
    found = json.loads((project / "out" / "photographs-released" / "decision_agreement.json").read_text())
    cells = [cell for cell in found["cells"] if cell["row"] != "@" and cell["seeds"]]
    assert cells
    assert {seed["images"] for cell in cells for seed in cell["seeds"]} == {16}
    kinds = {path.parent.name.split("-")[0] for path in (project / "results").glob("*/result.json")}
    assert kinds == {"data", "weights", "predict"}


def test_a_training_at_224_pixels_can_be_watched(project: Path) -> None:
    jobs = json.loads(replicate(project, "plan", "--id", "distillation_ablation", "--json"))["jobs"]
    (key,) = [job["key"] for job in jobs if job["key"].startswith("train-deit-ti-224-none-s0-")]
    replicate(project, "run", key)
    folder = project / "results" / key
    lines = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert [line["images"] for line in lines] == [64, 128]
    assert all(line["speed"] > 0 and 0 <= line["top1"] <= 100 for line in lines)
    curve = json.loads((folder / "curve.json").read_text())
    assert [point["validation"] for point in curve] == [line["top1"] for line in lines]
    assert "epoch 2/2: loss " in replicate(project, "logs", "distillation_ablation", "none", "ti_224")
