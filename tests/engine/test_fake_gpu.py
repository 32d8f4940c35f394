"""Whole jobs on a GPU that is not there: torch's tensors without values say on which device each would be.

What mixes two devices is refused, as a GPU would refuse it, and a clock that is read while the GPU may still be at work
is found out. What is computed, only a GPU can show (`make gpu-check`).

In a process of their own (`make test-faults`): with torch 2.15, whole jobs on fake tensors damage the memory of their
process in one run of three, and a later test dies of it. Where torch writes is not known yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily

from replicate.engine import (
    answers,
    augmentation,
    checkpoint,
    input_results,
    measure,
    models,
    optim,
    predict,
    probe,
    train,
)
from replicate.engine.batches import Crops
from replicate.engine.data import make_data
from replicate.jobs.job import from_payload

pytestmark = [pytest.mark.torch, pytest.mark.slurm_fault]

SIZE, IMAGES, BATCH, EPOCHS = 16, 16, 16, 2
RECIPE = {
    "optimizer": "adamw", "lr": 3e-3, "lr_batch": BATCH, "weight_decay": 0.05, "momentum": 0.9, "batch": BATCH,
    "mix_batch": 8, "epochs": EPOCHS, "warmup_epochs": 1, "warmup_lr": 1e-3, "min_lr": 1e-5, "repeats": 2,
    "crop_scale": (0.7, 1.0), "crop_ratio": (0.9, 1.1), "flip": 0.5, "auto_augment": "rand-m9-mstd0.5-inc1",
    "color_jitter": 0.0, "erase": 0.5, "mixup": 0.8, "cutmix": 1.0, "mix_prob": 1.0, "mix_switch": 0.5,
    "label_smoothing": 0.1, "drop_path": 0.3, "dropout": 0.1, "train_mode": True, "ema": 0.9, "precision": "fp32",
    "clip_norm": 1.0, "attention": "fused",
}  # fmt: skip
VIT = {
    "name": "v", "timm": "deit_tiny_distilled_patch16_224", "resizable": True, "pos_embed_std": 0.1,
    "args": {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}, "channels_last": False,
}  # fmt: skip
CONVNET = {
    "name": "c", "timm": "regnety_002", "resizable": False, "pos_embed_std": None, "channels_last": True,
    "args": {"depth": 4, "w0": 16, "wa": 12.0, "wm": 1.5, "stem_width": 8, "group_size": 8},
}  # fmt: skip
HARD = {"method": "hard", "token": True, "weight": 0.5, "tau": 3.0, "reduction": "batchmean"}


class FakeGpu:
    """What was asked of the GPU, in order: ``work``, or ``wait`` for it to be done."""

    def __init__(self) -> None:
        self.busy = False
        self.read: list[bool] = []
        """For each look at the clock, whether the GPU might still have been at work."""

    def wait(self) -> None:
        self.busy = False

    def look(self, clock: Callable[[], float]) -> Callable[[], float]:
        def looked() -> float:
            self.read.append(self.busy)
            return clock()

        return looked


class Counting(FakeTensorMode):
    """Notes when something is computed on the GPU."""

    gpu: FakeGpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if isinstance(result, torch.Tensor) and result.device.type == "cuda":
            self.gpu.busy = True
        return result


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """A GPU whose tensors hold nothing: every number that is read of one is 1, and only the processor may read it."""
    found = FakeGpu()

    def number(kind: Callable[[float], Any]) -> Callable[..., Any]:
        def read(self: torch.Tensor) -> Any:
            found.wait()
            return kind(1.0)

        return read

    def array(self: torch.Tensor) -> Any:
        assert self.device.type == "cpu", "numpy reads the processor's memory alone"
        found.wait()
        with unset_fake_temporarily():
            return torch.ones(self.shape, dtype=self.dtype).numpy()

    def saved(tensors: dict[str, torch.Tensor], metadata: Any = None) -> bytes:
        assert {tensor.device.type for tensor in tensors.values()} == {"cpu"}
        return b"weights"

    def real(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            with unset_fake_temporarily():
                return function(*arguments, **named)

        return called

    def backward(self: torch.Tensor) -> None:
        """Autograd has a thread for each real GPU alone; where a forward pass runs, the gradients are."""
        assert self.device.type == "cuda"
        for group in optimizers[-1].param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)

    def optimizer(*arguments: Any) -> torch.optim.Optimizer:
        optimizers.append(made(*arguments))
        return optimizers[-1]

    optimizers, made = list[torch.optim.Optimizer](), optim.optimizer
    monkeypatch.setattr(optim, "optimizer", optimizer)
    monkeypatch.setattr(FakeTensor, "backward", backward, raising=False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    for name, kind in {"item": float, "__float__": float, "__bool__": bool, "__int__": int}.items():
        monkeypatch.setattr(FakeTensor, name, number(kind), raising=False)
    monkeypatch.setattr(FakeTensor, "numpy", array, raising=False)
    monkeypatch.setattr(FakeTensor, "tolist", lambda self: array(self.cpu()).tolist(), raising=False)
    monkeypatch.setattr(augmentation, "noisy_levels", real(augmentation.noisy_levels))
    # Networks are made on the processor, whose numbers decide (until they suit) how often they are drawn.
    monkeypatch.setattr(models, "build", real(models.build))
    monkeypatch.setattr(input_results, "network", real(input_results.network))
    monkeypatch.setattr(models, "load_weights", real(models.load_weights))
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    monkeypatch.setattr(checkpoint, "save", saved)
    monkeypatch.setattr(Crops, "pinned", lambda self: self)
    generator = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device="cpu": generator())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *device: found.wait())
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *device: 8)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    for module in (models, train, predict, probe, measure):
        if hasattr(module, "best_device"):
            monkeypatch.setattr(module, "best_device", lambda: torch.device("cuda"))
    mode = Counting(allow_non_fake_inputs=True)
    mode.gpu = found
    with mode:
        yield found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and a teacher and a student that were really trained."""
    root = tmp_path_factory.mktemp("results")
    digits = {"source": "digits", "version": 1, "classes": 10, "size": SIZE, "seed": 1, "skip": 0}
    body = {"kind": "data", "data": digits | {"train": IMAGES, "test": 20}}
    written(root / "data", body)
    make_data(from_payload(body), root / "data")
    for name, model in (("teacher", CONVNET), ("student", VIT)):
        distillation = None if name == "teacher" else HARD | {"method": "label"}
        train.run(*called(root, name, payload(model, distillation=distillation, epochs=1)))
    return root


def payload(model: dict[str, Any], distillation: Any = None, inputs: Any = None, **changes: Any) -> dict[str, Any]:
    body = {"kind": "train", "seed": 3, "size": SIZE, "model": model, "recipe": RECIPE | changes}
    return body | {"distillation": distillation, "inputs": {"data": "data"} | (inputs or {})}


def written(folder: Path, body: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "job.json").write_text(json.dumps({"key": folder.name, "payload": body}))


def called(root: Path, name: str, body: dict[str, Any], folder: Path | None = None) -> tuple[Any, ...]:
    where = folder or root / name
    written(where, body)
    inputs = {role: root / key for role, key in body.get("inputs", {}).items()}
    return from_payload(body, name), inputs, where, lambda fields: None, lambda: False


TRAININGS = {
    "fine-tuned, soft": payload(VIT, HARD | {"method": "soft"}, {"teacher": "teacher", "init": "student"}),
    "fp16, hard": payload(VIT, HARD, {"teacher": "teacher"}, precision="fp16"),
    "bf16, two tokens": payload(VIT, HARD | {"method": "label"}, precision="bf16"),
    "convnet, no average": payload(CONVNET, ema=0.0),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training(name: str, results: Path, tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it: batches, steps, validation, checkpoints, curve, averaged weights; and the clock of an epoch."""
    monkeypatch.setenv(checkpoint.SECONDS, "0")
    monkeypatch.setattr(checkpoint, "_checksum", lambda tensors, header: "0")
    devices, busy = set(), list[bool]()

    def done(self: train.Watch) -> Any:
        busy.append(gpu.busy)
        return finished(self)

    def stepped(self: train.Training, *position: int) -> Any:
        value = original(self, *position)
        devices.update(parameter.device.type for parameter in self.network.parameters())
        devices.update(tensor.device.type for state in self.optimizer.state.values() for tensor in state.values())
        return value

    original, finished = train.Training.step, train.Watch.epoch_done
    monkeypatch.setattr(train.Watch, "epoch_done", done)
    monkeypatch.setattr(train.Training, "step", stepped)
    summary = train.run(*called(results, "on-a-gpu", TRAININGS[name], tmp_path))
    assert summary["epochs"] == EPOCHS
    assert devices == {"cuda"}
    # The line of an epoch is written when the GPU has done it, not when it was asked to.
    assert busy == [False] * EPOCHS
    assert len((tmp_path / "epochs.jsonl").read_text().splitlines()) == EPOCHS


def test_answers_of_a_teacher_and_a_training_that_reads_them(
    results: Path, tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(checkpoint.SECONDS, "0")
    monkeypatch.setattr(checkpoint, "_checksum", lambda tensors, header: "0")
    # A sample of a GPU's size is 63 batches of these, a minute of fake tensors.
    monkeypatch.setattr(answers, "SAMPLE", BATCH + 1)
    body = payload(VIT, HARD, {"teacher": "teacher"}, precision="fp16")
    ((role, block),) = from_payload(body, "student").aids().items()
    stored = called(results, "answers", block.payload, tmp_path / "answers")
    assert answers.run(*stored)["images"] == EPOCHS * IMAGES
    asked, logits = list[int](), answers.Teacher.logits

    def spy(self: answers.Teacher, images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        return logits(self, images)

    monkeypatch.setattr(answers.Teacher, "logits", spy)
    job, inputs, *rest = called(results, "taught", body, tmp_path / "taught")
    assert train.run(job, inputs | {role: stored[2]}, *rest)["epochs"] == EPOCHS
    # Of the one block, as many batches as make a sample; the steps themselves ask nothing.
    assert sum(asked) == -(-answers.SAMPLE // BATCH) * BATCH


def test_an_evaluation(results: Path, tmp_path: Path, gpu: FakeGpu) -> None:
    evaluation = {"crop": 0.875, "interpolation": "bicubic", "weights": "last"}
    body = {"kind": "predict", "size": SIZE, "evaluation": evaluation, "inputs": {"data": "data", "network": "student"}}
    assert predict.run(*called(results, "p", body, tmp_path))["images"] == 20
    with np.load(tmp_path / predict.DECISIONS) as arrays:
        assert arrays["softmax-sum"].shape == (20, 5)


def test_a_probe(results: Path, tmp_path: Path, gpu: FakeGpu) -> None:
    body = {"kind": "probe", "size": SIZE, "images": 20, "inputs": {"data": "data", "network": "student"}}
    assert probe.run(*called(results, "s", body, tmp_path))["images"] == 20


@pytest.mark.parametrize("protocol", ["paper", "paired"])
def test_a_measurement_reads_no_clock_while_the_gpu_works(
    protocol: str, results: Path, tmp_path: Path, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"name": protocol, "batches": [4], "runs": 3, "windows": 8, "window_seconds": 1e-4}
    how |= {"reference": {"model": CONVNET, "size": SIZE, "classes": 10}, "attention": "fused"}
    body = {"kind": "measure", "model": VIT, "size": SIZE, "classes": 10, "protocol": how}
    monkeypatch.setattr(measure.time, "perf_counter", gpu.look(measure.time.perf_counter))
    monkeypatch.setattr(measure, "conditions", lambda device: {"device": str(device)})
    assert measure.run(*called(results, "m", body, tmp_path))["device"] == "cuda"
    assert len(gpu.read) >= 6
    assert not any(gpu.read)
