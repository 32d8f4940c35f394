"""Token similarity, against networks whose cosines are known by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from paper_recipe import trained_payload

from replicate.engine import models, probe
from replicate.engine.checkpoint import weights_bytes
from replicate.engine.run import execute
from replicate.errors import JobError, UserError
from replicate.jobs.job import from_payload
from replicate.jobs.network import Network

pytestmark = pytest.mark.torch

DIGITS = {"source": "digits", "version": 1, "classes": 10, "size": 16, "train": 20, "test": 300, "seed": 1, "skip": 0}
DEPTH, WIDTH = 2, 4


def model(distilled: bool = True) -> dict[str, Any]:
    args = {"patch_size": 8, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": 1}
    timm = "deit_tiny_distilled_patch16_224" if distilled else "deit_tiny_patch16_224"
    flags = {"resizable": True, "pos_embed_std": None, "channels_last": False}
    return {"name": "v", "timm": timm, "args": args} | flags


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("data")
    payload = {"kind": "data", "data": DIGITS}
    execute(from_payload(payload), {}, folder, lambda fields: None, lambda: False)
    (folder / "job.json").write_text(json.dumps({"key": "d", "payload": payload}))
    return folder


def stored(folder: Any, change: Any, distilled: bool = True) -> Any:
    """The result of a training whose network is ``change``d by hand."""
    network = models.build(Network(**model(distilled)), 16, 10)
    with torch.no_grad():
        change(network)
    (folder / "model.safetensors").write_bytes(weights_bytes(network.state_dict()))
    (folder / "job.json").write_text(json.dumps({"key": "n", "payload": trained_payload(model(distilled))}))
    return folder


def run(folder: Any, network: Any, data: Any, images: int = 20) -> Any:
    payload = {"kind": "probe", "version": 1, "size": 16, "images": images, "inputs": {}}
    return execute(
        from_payload(payload), {"network": network, "data": data}, folder, lambda fields: None, lambda: False
    )


def silent(network: Any) -> None:
    """Blocks that add nothing, so that a token stays what the input gives."""
    for block in network.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            layer.weight.zero_()
            layer.bias.zero_()


def test_without_memory_for_the_batch_it_goes_on_with_parts(
    data: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = stored(tmp_path, lambda network: None)
    whole = run(tmp_path, network, data, 300)
    sizes = []
    states = models.token_states

    def forward(network: Any, images: Any) -> Any:
        sizes.append(len(images))
        if len(images) > 100:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return states(network, images)

    monkeypatch.setattr(models, "token_states", forward)
    parts = run(tmp_path, network, data, 300)
    assert sizes == [256, 128, 64, 64, 64, 64, 44]
    assert (parts["input"], parts["images"]) == (whole["input"], whole["images"])
    # In parts the last bits of a product may be others, of which these cosines, mostly near 0, show more.
    assert parts["layers"] == pytest.approx(whole["layers"], abs=1e-6)


def test_cosines_by_hand_at_the_input_through_the_layers_and_after_the_norm(data: Any, tmp_path: Any) -> None:
    def change(network: Any) -> None:
        silent(network)
        network.cls_token.copy_(torch.tensor([3.0, 0.0, 0.0, 4.0]))
        network.dist_token.copy_(torch.tensor([0.0, 5.0, 0.0, 12.0]))
        network.pos_embed.zero_()
        network.pos_embed[0, 0] = torch.tensor([-3.0, 1.0, 0.0, -4.0])
        network.pos_embed[0, 1] = torch.tensor([0.0, -4.0, 0.0, -11.0])

    result = run(tmp_path, stored(tmp_path, change), data)
    assert result["input"] == pytest.approx(48 / (5 * 13))
    # (0, 1, 0, 0) and (0, 1, 0, 1) after their position embeddings; no block changes them.
    assert result["input_with_position"] == pytest.approx(1 / math.sqrt(2))
    assert result["layers"] == pytest.approx([1 / math.sqrt(2)] * DEPTH, abs=1e-6)
    # The norm centres them to (-1, 3, -1, -1) / 4 and (-1, 1, -1, 1) / 2: 4 / (sqrt(12) * 2).
    assert result["last"] == pytest.approx(1 / math.sqrt(3), abs=1e-4)
    assert result["errors"] == {"layers": [0.0] * DEPTH, "last": 0.0}
    assert result["images"] == 20
    assert json.loads((tmp_path / "similarity.json").read_text()) == result


def test_two_equal_tokens_are_one(data: Any, tmp_path: Any) -> None:
    def change(network: Any) -> None:
        network.dist_token.copy_(network.cls_token)
        network.pos_embed[0, 1] = network.pos_embed[0, 0]

    result = run(tmp_path, stored(tmp_path, change), data)
    assert [result["input"], result["input_with_position"], *result["layers"], result["last"]] == pytest.approx(
        [1.0] * (DEPTH + 3), abs=1e-6
    )


def test_means_and_errors_are_over_the_first_images(data: Any, tmp_path: Any) -> None:
    """Attention moves the tokens by the image; the mean and sd / sqrt(n) of the first 270 of 300, in two batches."""

    def change(network: Any) -> None:
        for parameter in network.parameters():
            parameter.mul_(30 if parameter.ndim > 1 else 1)

    folder = stored(tmp_path, change)
    result = run(tmp_path, folder, data, images=270)
    network = probe.input_results.network(folder, 16, 10)
    test = probe.input_results.data_set({"data": data}).test
    images = torch.cat([batch for batch, _ in probe.evaluation_batches(test, 16, probe.PAPER, 100)])[:270]
    with torch.no_grad():
        tokens = network.forward_features(images)[:, :2]
    cosines = [float(first @ second / (first.norm() * second.norm())) for first, second in tokens.double()]
    mean = sum(cosines) / 270
    variance = sum((value - mean) ** 2 for value in cosines) / 269
    assert variance > 1e-6  # the images matter
    assert result["last"] == pytest.approx(mean, abs=1e-5)
    assert result["errors"]["last"] == pytest.approx(math.sqrt(variance / 270), rel=1e-3)


def test_one_token_is_refused(data: Any, tmp_path: Any) -> None:
    with pytest.raises(UserError, match="has a class token only, two tokens are compared"):
        run(tmp_path, stored(tmp_path, lambda network: None, distilled=False), data)


@pytest.mark.parametrize("images", [1, 301])
def test_number_of_images(data: Any, tmp_path: Any, images: int) -> None:
    with pytest.raises(UserError, match=f"2 to 300, the test images: {images}"):
        run(tmp_path, stored(tmp_path, lambda network: None), data, images=images)


def test_a_token_of_zeros_has_no_direction(data: Any, tmp_path: Any) -> None:
    def change(network: Any) -> None:
        silent(network)
        network.cls_token.zero_()
        network.pos_embed.zero_()

    with pytest.raises(JobError, match="not finite"):
        run(tmp_path, stored(tmp_path, change), data)
