"""Attention: timm's fused kernel or the explicit product, by network and not by process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from paper_recipe import data_job, recipe
from timm.layers.config import set_fused_attn, use_fused_attn

from replicate.engine import models
from replicate.engine.run import execute
from replicate.jobs.job import from_payload
from replicate.jobs.network import Network
from replicate.specs.recipe import Attention

pytestmark = pytest.mark.torch

BLOCKS, IMAGES = 2, 32
DATA = {"source": "digits", "version": 1, "classes": 10, "size": 16, "train": IMAGES, "test": 8, "seed": 1, "skip": 0}
CONVNET = {
    "name": "c", "timm": "resnet10t", "args": {"channels": [8, 8, 8, 8], "stem_width": 8},
    "resizable": False, "pos_embed_std": None, "channels_last": False,
}  # fmt: skip


def vit(distilled: bool = False) -> dict[str, Any]:
    return {
        "name": "v", "timm": "deit_tiny_distilled_patch16_224" if distilled else "deit_tiny_patch16_224",
        "args": {"patch_size": 8, "embed_dim": 48, "depth": BLOCKS, "num_heads": 3},
        "resizable": True, "pos_embed_std": 0.5, "channels_last": False,
    }  # fmt: skip


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of images with each call of the fused kernel."""
    calls: list[int] = []
    kernel = torch.nn.functional.scaled_dot_product_attention

    def counted(query: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:
        calls.append(len(query))
        return kernel(query, *others, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    return calls


@pytest.fixture(params=[True, False], ids=["timm's default", "TIMM_FUSED_ATTN=0"])
def switch(request: pytest.FixtureRequest) -> Iterator[bool]:
    before = use_fused_attn()
    set_fused_attn(request.param)
    yield request.param
    set_fused_attn(before)


def same_weights(attention: Attention, distilled: bool) -> torch.nn.Module:
    network = models.build(Network(**vit(distilled)), 32, 10, seed=3, attention=attention).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            # Wide enough for attention to choose: of weights of .02 every softmax is flat.
            parameter.mul_(5 if parameter.ndim > 1 else 1)
    return network


@pytest.mark.parametrize("distilled", [False, True])
def test_both_ways_give_the_same_logits(kernels: list[int], switch: bool, distilled: bool) -> None:
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = {}
    with torch.no_grad():
        for attention, calls in (("explicit", 0), ("fused", BLOCKS)):
            kernels.clear()
            network = same_weights(attention, distilled)  # type: ignore[arg-type]
            assert models.attention_of(network) == attention
            logits[attention] = models.heads(network, images)
            assert len(kernels) == calls
    for head, values in logits["fused"].items():
        assert values.std() > 0.1
        assert torch.allclose(values, logits["explicit"][head], rtol=1e-4, atol=1e-4), head


def test_networks_of_one_process_keep_their_own(kernels: list[int], switch: bool) -> None:
    explicit = same_weights("explicit", distilled=False)
    fused = same_weights("fused", distilled=False)
    assert use_fused_attn() is switch
    images = torch.zeros(1, 3, 32, 32)
    for network, calls in ((explicit, 0), (fused, BLOCKS), (explicit, 0)):
        kernels.clear()
        network(images)
        assert len(kernels) == calls


def test_the_switch_is_put_back_where_timm_has_no_such_network(switch: bool) -> None:
    with pytest.raises(TypeError):
        models.build(Network(**vit() | {"args": {"wdith": 3}}), 32, 10, attention="explicit")
    assert use_fused_attn() is switch


def test_a_convnet_has_no_attention() -> None:
    assert models.attention_of(models.build(Network(**CONVNET), 32, 10, attention="explicit")) is None


def done(folder: Path, payload: dict[str, Any], inputs: dict[str, Path]) -> dict[str, object]:
    folder.mkdir()
    names = {role: path.name for role, path in inputs.items()}
    payload = payload | ({"inputs": names} if names else {})
    (folder / "job.json").write_text(json.dumps({"key": folder.name, "payload": payload}))
    return execute(from_payload(payload), inputs, folder, lambda fields: None, lambda: False)


@pytest.mark.parametrize("protocol", ["paper", "paired"])
@pytest.mark.parametrize("attention", ["fused", "explicit"])
def test_a_measurement(kernels: list[int], tmp_path: Path, protocol: str, attention: str) -> None:
    how: dict[str, object] = {"name": protocol, "batches": [2], "runs": 2, "windows": 8, "window_seconds": 1e-4}
    if protocol == "paired":
        how["reference"] = {"model": vit(), "size": 16, "classes": 10}
    payload = {"kind": "measure", "version": 1, "model": vit(True), "size": 32, "classes": 10}
    summary = done(tmp_path / "m", payload | {"protocol": how | {"attention": attention}}, {})
    assert summary["attention"] == attention
    assert json.loads((tmp_path / "m" / "measure.json").read_text())["attention"] == attention
    assert bool(kernels) == (attention == "fused")


def test_a_measurement_from_before_it_was_recorded_is_of_the_fused_kernel(kernels: list[int], tmp_path: Path) -> None:
    how = {"name": "paper", "batches": [2], "runs": 2, "windows": 8, "window_seconds": 1e-4}
    payload = {"kind": "measure", "version": 1, "model": vit(), "size": 32, "classes": 10, "protocol": how}
    assert done(tmp_path / "m", payload, {})["attention"] == "fused"
    assert kernels


def test_of_a_convnet_none_is_recorded(tmp_path: Path) -> None:
    how = {"name": "paper", "batches": [2], "runs": 2, "windows": 8, "window_seconds": 1e-4, "attention": "explicit"}
    payload = {"kind": "measure", "version": 1, "model": CONVNET, "size": 32, "classes": 10, "protocol": how}
    assert done(tmp_path / "m", payload, {})["attention"] is None


@pytest.mark.parametrize("attention", ["fused", "explicit"])
def test_a_training_its_teacher_and_an_evaluation(kernels: list[int], tmp_path: Path, attention: str) -> None:
    data = tmp_path / "data"
    done(data, data_job(DATA).payload, {})
    how = recipe(batch=16, mix_batch=16, epochs=1, ema=0.9, attention=attention).model_dump(mode="json")
    training = {"kind": "train", "version": 2, "seed": 0, "size": 16, "recipe": how}
    done(tmp_path / "teacher", training | {"model": vit(), "distillation": None}, {"data": data})
    method = {"method": "hard", "token": True, "weight": 0.5, "tau": 1.0, "reduction": "mean"}
    student = training | {"model": vit(True), "distillation": method}
    kernels.clear()
    done(tmp_path / "student", student, {"data": data, "teacher": tmp_path / "teacher"})
    # Two batches of 16, once through the student's blocks and once through its teacher's; then the validation's 8.
    expected = [16] * (2 * 2 * BLOCKS) + [8] * BLOCKS
    assert kernels == (expected if attention == "fused" else [])
    kernels.clear()
    evaluation = {"crop": 0.875, "interpolation": "bicubic", "weights": "ema", "attention": attention}
    predict = {"kind": "predict", "version": 1, "size": 16, "evaluation": evaluation}
    done(tmp_path / "decisions", predict, {"network": tmp_path / "student", "data": data})
    assert kernels == ([8] * BLOCKS if attention == "fused" else [])
