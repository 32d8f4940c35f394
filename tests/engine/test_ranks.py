"""One training in two processes: the same images as in one, the same network up to the order of additions."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import ROOT
from safetensors.torch import load_file

from replicate.engine.data import make_data
from replicate.jobs.job import from_payload
from replicate.specs.load import load

pytestmark = pytest.mark.torch

IMAGES, BATCH = 96, 32

RANK = """
import json, os, sys
from pathlib import Path
from replicate.engine import train
from replicate.jobs.job import from_json
from replicate.engine.batches import TrainBatches

root, stop_after = Path(sys.argv[1]), int(sys.argv[2])
job = from_json(json.loads((root / "train" / "job.json").read_text()))
own = root / f"seen-{os.environ.get('RANK', '0')}"
batch = TrainBatches.batch

def seen(self, epoch, step):
    found = batch(self, epoch, step)
    with own.open("ab") as file:
        file.write(found.images.numpy().tobytes())
    return found

TrainBatches.batch = seen
train.LOOK_SECONDS = float(os.environ.get("LOOK_SECONDS", "0"))
steps = iter(range(1, 1000))
stop = lambda: next(steps) == stop_after
try:
    summary = train.run(job, {"data": root / "data"}, root / "train", lambda fields: None, stop)
except train.Stopped:
    sys.exit(77)
(root / f"summary-{os.environ.get('RANK', '0')}").write_text(json.dumps(summary))
"""


VIT = {
    "name": "v",
    "timm": "deit_tiny_patch16_224",
    "args": {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
    "resizable": True,
    "pos_embed_std": 0.1,
    "channels_last": False,
}
CONVNET = {
    "name": "c",
    "timm": "regnety_002",
    "args": {"depth": 4, "w0": 16, "wa": 12.0, "wm": 1.5, "stem_width": 8, "group_size": 8},
    "resizable": False,
    "pos_embed_std": None,
    "channels_last": True,
}


def payload(model: dict[str, Any] = VIT, **changes: Any) -> dict[str, Any]:
    recipe = load(ROOT / "tables", "mini").runs.recipes["deit"].model_dump(mode="json")
    recipe |= {"batch": BATCH, "mix_batch": BATCH // 2, "epochs": 2, "warmup_epochs": 0, "drop_path": 0.3}
    recipe |= {"precision": "fp32", "lr": 1e-3, "lr_batch": BATCH, "ema": 0.9} | changes
    return {
        "kind": "train",
        "seed": 3,
        "size": 16,
        "model": model,
        "recipe": recipe,
        "distillation": None,
        "inputs": {"data": "data"},
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    digits = {"source": "digits", "version": 1, "classes": 10, "size": 16, "seed": 1, "skip": 0}
    digits |= {"train": IMAGES, "test": 20}
    for name, body in (("data", {"kind": "data", "data": digits}), ("train", payload())):
        (tmp_path / name).mkdir()
        write_job(tmp_path / name, body)
    make_data(from_payload({"kind": "data", "data": digits}), tmp_path / "data")
    return tmp_path


def write_job(folder: Path, body: dict[str, Any]) -> None:
    (folder / "job.json").write_text(json.dumps({"key": folder.name, "payload": body}))


def run(root: Path, world: int, stop_after: int = 0, micro: str = "") -> list[int]:
    """Exit codes of ``world`` processes that compute ``micro`` images at a time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    common |= {"REPLICATE_MICRO_BATCH": micro}
    if world > 1:
        common |= {
            "WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "GLOO_SOCKET_IFNAME": "lo",
        }
    command = [sys.executable, "-c", RANK, str(root), str(stop_after)]
    processes = [
        subprocess.Popen(command, env={**common, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(world)
    ]
    told = [process.communicate(timeout=120)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert set(codes) <= {0, 77}, told
    return codes


def images(root: Path, world: int) -> list[str]:
    """Hash of every global batch, from what each process saw of it."""
    parts = [(root / f"seen-{rank}").read_bytes() for rank in range(world)]
    share = 4 * 3 * 16 * 16 * BATCH // world
    return [
        hashlib.sha256(b"".join(part[begin : begin + share] for part in parts)).hexdigest()
        for begin in range(0, len(parts[0]), share)
    ]


def weights(root: Path) -> dict[str, Any]:
    return load_file(root / "train" / "model.safetensors")


@pytest.mark.parametrize(
    ("micro", "body"),
    [
        ("", payload()),
        ("5", payload()),
        # Groups of 8 images, whose statistics are theirs in either case. (The paper's teacher is mixed, its
        # fine-tuning is not.) By SGD: AdamW makes a whole step of a gradient that is rounding alone.
        ("", payload(CONVNET, optimizer="sgd", mix_batch=8)),
        ("", payload(CONVNET, optimizer="sgd", mix_batch=8, mixup=0.0, cutmix=0.0, mix_prob=0.0)),
    ],
)
def test_two_processes_are_one_training(root: Path, micro: str, body: dict[str, Any]) -> None:
    write_job(root / "train", body)
    assert run(root, 1) == [0]
    once, alone, summary = images(root, 1), weights(root), json.loads((root / "summary-0").read_text())
    for path in (*root.glob("seen-*"), *(root / "train").glob("*.safetensors")):
        path.unlink()
    assert run(root, 2, micro=micro) == [0, 0]
    assert images(root, 2) == once
    assert len(once) == 2 * IMAGES // BATCH
    for name, value in weights(root).items():
        assert torch.allclose(value, alone[name], atol=2e-4), name
    both = json.loads((root / "summary-0").read_text())
    assert both["images"] == summary["images"]
    assert both["loss"] == pytest.approx(summary["loss"], rel=1e-3)
    assert json.loads((root / "summary-1").read_text()) == {}


def test_stopped_together_and_going_on_together(root: Path) -> None:
    """One is told to stop and all do, at the same step; the rest of the images are those that were left."""
    assert run(root, 2, stop_after=4) == [77, 77]
    assert len(list((root / "train").glob("checkpoint-*"))) == 1
    first = images(root, 2)
    assert len(first) == 4
    for path in root.glob("seen-*"):
        path.unlink()
    assert run(root, 2) == [0, 0]
    rest = images(root, 2)
    for path in (*root.glob("seen-*"), *(root / "train").glob("*.safetensors")):
        path.unlink()
    assert run(root, 1) == [0]
    assert images(root, 1) == first + rest
