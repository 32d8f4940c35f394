"""What a result says of the device that computed it. There is no GPU here: torch is told that there is one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filled_results import example, job_like

pytest.importorskip("torch")
import torch

from replicate.backends.worker import Outcome, perform
from replicate.engine import machine as asked
from replicate.engine import measure
from replicate.engine.machine import machine_of
from replicate.jobs.train import Train
from replicate.store.machine import Machine
from replicate.store.store import Store

pytestmark = pytest.mark.torch

TRAIN = example("train")
VERSION = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 2024\nGCC version:  gcc 11.4.0\n"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A GPU that was used."""
    for name, answer in {
        "is_available": True,
        "is_initialized": True,
        "current_device": 0,
        "get_device_name": "NVIDIA H100 80GB HBM3",
        "get_device_properties": SimpleNamespace(total_memory=85_029_158_912),
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 90100)
    (tmp_path / "version").write_text(VERSION)
    monkeypatch.setattr(asked, "DRIVER", tmp_path / "version")


def test_a_gpu_is_named_with_its_memory_and_software(gpu: None) -> None:
    found = machine_of(TRAIN)
    named = (found.device, found.kind, found.memory_mb, found.driver, found.cuda, found.cudnn)
    assert named == ("NVIDIA H100 80GB HBM3", "cuda", 85029, "550.54.15", "12.4", "90100")
    assert found.hardware.startswith("NVIDIA H100 80GB HBM3 (85.0")
    assert found.hardware.endswith("GB, driver 550.54.15, CUDA 12.4, cuDNN 90100)")


def test_a_gpu_that_the_job_did_not_use_is_not_asked(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    found = machine_of(TRAIN)
    assert (found.kind, found.memory_mb, found.driver) == ("cpu", None, None)


def test_a_gpu_that_does_not_answer_loses_no_result(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Any:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.cuda, "get_device_name", fails)
    assert (machine_of(TRAIN).device, machine_of(TRAIN).kind) == ("unknown", "cuda")


def test_a_driver_is_asked_of_nvidia_smi_where_the_system_does_not_say(
    gpu: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(asked, "DRIVER", tmp_path / "none")
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 535.161.07\necho 535.161.07\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert machine_of(TRAIN).driver == "535.161.07"
    program.unlink()
    assert machine_of(TRAIN).driver is None


def test_how_a_job_computed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert isinstance(TRAIN, Train)
    mixed = replace(TRAIN, recipe=TRAIN.recipe.model_copy(update={"precision": "fp16"}))
    found = machine_of(mixed)
    flags = (found.processes, found.matmul, found.tf32, found.autocast, found.deterministic)
    assert flags == (4, "highest", False, "fp16", False)
    assert found.attention == ("flash", "memory-efficient", "cudnn", "math")
    half = machine_of(replace(TRAIN, recipe=TRAIN.recipe.model_copy(update={"precision": "bf16"})))
    assert "autocast bf16" in half.precision
    # An evaluation is of one process, and in float32.
    other = machine_of(example("predict"))
    assert (other.processes, other.autocast, other.augmentation) == (1, None, None)
    assert (found.augmentation, "augmentation on cpu" in found.precision) == ("cpu", True)
    torch.backends.cuda.enable_flash_sdp(False)
    torch.set_float32_matmul_precision("high")
    try:
        found = machine_of(TRAIN)
    finally:
        torch.backends.cuda.enable_flash_sdp(True)
        torch.set_float32_matmul_precision("highest")
    assert "flash" not in (found.attention or ())
    assert (found.matmul, found.tf32) == ("high", True)


def test_every_result_records_it(gpu: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measure, "run", lambda *_: {"images": 1})
    job = job_like("measure-x-0123456789ab", "measure")
    assert perform(Store(tmp_path), job, {"commit": "c"}, lambda: False) == Outcome.DONE
    result = Store(tmp_path).result(job.key)
    assert result is not None
    assert result.made.machine == machine_of(job)
    assert (result.made.commit, result.made.device) == ("c", "NVIDIA H100 80GB HBM3")
    text = json.dumps(result.provenance["machine"])
    assert Machine.of(json.loads(text)) == machine_of(job)
