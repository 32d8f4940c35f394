import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from paper_recipe import trained_payload
from safetensors.torch import save_file
from torch import nn

from replicate.engine import input_results, models
from replicate.errors import StoreFault, UnknownName, UserError
from replicate.jobs.network import Network
from replicate.specs.recipe import Recipe

pytestmark = pytest.mark.torch

RECIPE = Recipe(
    optimizer="adamw", lr=1e-3, lr_batch=64, weight_decay=0.05, momentum=0.9, batch=64, mix_batch=64,
    epochs=1, warmup_epochs=0, warmup_lr=0.0, min_lr=0.0, repeats=1, crop_scale=(0.5, 1.0),
    crop_ratio=(1.0, 1.0), flip=0.5, auto_augment="", color_jitter=0.0, erase=0.0, mixup=0.0, cutmix=0.0,
    mix_prob=0.0, mix_switch=0.0, label_smoothing=0.0, drop_path=0.3, dropout=0.2, train_mode=True, ema=0.0,
    precision="fp32",
)  # fmt: skip


def vit(distilled: bool = False, **fields: Any) -> Network:
    name = "deit_tiny_distilled_patch16_224" if distilled else "deit_tiny_patch16_224"
    args = {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    model = {"name": "v", "timm": name, "args": args, "resizable": True, "pos_embed_std": None}
    return Network(**model | {"channels_last": False} | fields)


CONVNET = Network(
    name="c",
    timm="regnety_002",
    args={"depth": 4, "w0": 16, "wa": 12.0, "wm": 1.5, "stem_width": 8},
    resizable=False,
    pos_embed_std=None,
    channels_last=True,
)


def stored(network: nn.Module, path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path


def test_the_seed_fixes_the_initialisation_whatever_was_drawn_before() -> None:
    first = models.build(vit(), 32, 3, seed=5).state_dict()
    torch.rand(7)
    again = models.build(vit(), 32, 3, seed=5).state_dict()
    other = models.build(vit(), 32, 3, seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], other["blocks.0.attn.qkv.weight"])


def test_the_position_embedding_can_be_drawn_wider() -> None:
    usual = models.build(vit(), 64, 3).pos_embed.std().item()
    wide = models.build(vit(pos_embed_std=0.5), 64, 3).pos_embed.std().item()
    assert usual == pytest.approx(0.02, rel=0.15)
    assert wide == pytest.approx(0.5, rel=0.15)


def test_a_convnet_has_no_position_embedding_to_draw() -> None:
    with pytest.raises(UserError, match="pos_embed_std"):
        models.build(replace(CONVNET, pos_embed_std=0.1), 32, 3)


def test_an_unknown_network_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="did you mean 'deit_tiny_patch16_224'"):
        models.build(vit(timm="deit_tiny_patch16_22"), 32, 3)


def test_regularisation_comes_from_the_recipe_and_only_from_it() -> None:
    trained, evaluated = models.build(vit(), 32, 3, RECIPE), models.build(vit(), 32, 3)
    # linear over the blocks (recipes.md): 0 and .3 for two
    assert [b.drop_path1.drop_prob for b in trained.blocks if hasattr(b.drop_path1, "drop_prob")] == [
        pytest.approx(0.3)
    ]
    assert not any("DropPath" in type(module).__name__ for module in evaluated.modules())
    assert dropouts(evaluated) == set()


def dropouts(network: nn.Module) -> set[str]:
    """Modules that drop single values, of which all have p = .2."""
    found = {name: module.p for name, module in network.named_modules() if isinstance(module, torch.nn.Dropout)}
    found = {name: p for name, p in found.items() if p > 0}
    assert set(found.values()) <= {0.2}
    return set(found)


@pytest.mark.parametrize("distilled", [False, True])
def test_dropout_is_where_timm_0_3_2_has_it(distilled: bool) -> None:
    # vision_transformer.py there: pos_drop, and drop=drop_rate of each Block for Attention.proj_drop and Mlp.drop,
    # which is used twice; no dropout before the head and, with attn_drop_rate = 0, none on the attention.
    wanted = {f"blocks.{i}.{name}" for i in (0, 1) for name in ("attn.proj_drop", "mlp.drop1", "mlp.drop2")}
    assert dropouts(models.build(vit(distilled), 32, 3, RECIPE)) == wanted | {"pos_drop"}


def test_dropout_of_a_convnet_is_before_its_head() -> None:
    assert dropouts(models.build(CONVNET, 32, 3, RECIPE)) == {"head.drop"}


@pytest.mark.parametrize("distilled", [False, True])
def test_the_class_token_is_drawn_as_in_timm_0_3_2(distilled: bool) -> None:
    args = dict(vit().args) | {"embed_dim": 192}
    network = models.build(vit(distilled, args=args), 32, 3)
    for name in ["cls_token", "dist_token"][: 1 + distilled]:
        assert getattr(network, name).std().item() == pytest.approx(0.02, rel=0.15)
    # Another initialisation is taken as a whole.
    assert models.build(vit(distilled, args=args | {"weight_init": "jax"}), 32, 3).cls_token.std().item() < 1e-5


def test_heads_in_evaluation_mode_average_to_timms_output() -> None:
    network = models.build(vit(distilled=True), 32, 3).eval()
    images = torch.randn(4, 3, 32, 32)
    logits = models.heads(network, images)
    assert list(logits) == ["class", "distillation"]
    assert not torch.allclose(logits["class"], logits["distillation"])
    assert torch.allclose((logits["class"] + logits["distillation"]) / 2, network(images), atol=1e-6)
    assert torch.allclose(models.joint(network, images), network(images), atol=1e-6)


def test_heads_in_training_mode_are_timms_pair_with_the_same_draws() -> None:
    network = models.build(vit(distilled=True), 32, 3, RECIPE)
    network.set_distilled_training()
    images = torch.randn(8, 3, 32, 32)
    torch.manual_seed(1)
    theirs = network(images)
    torch.manual_seed(1)
    ours = models.heads(network, images)
    assert torch.equal(ours["class"], theirs[0])
    assert torch.equal(ours["distillation"], theirs[1])


@pytest.mark.parametrize("model", [vit(), CONVNET])
def test_one_head_is_timms_output(model: Network) -> None:
    network = models.build(model, 32, 3).eval()
    images = torch.randn(2, 3, 32, 32)
    logits = models.heads(network, images)
    assert list(logits) == ["class"]
    assert torch.equal(logits["class"], network(images))
    assert torch.equal(models.joint(network, images), network(images))


def test_channels_last_reaches_the_kernels() -> None:
    network = models.build(CONVNET, 32, 3)
    assert network.s1.b1.conv1.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_parameters_of_the_papers_tiny_model() -> None:
    # Table 1: 5M; the usual count of DeiT-Ti at 224 with 1000 classes
    network = models.build(vit(args={}), 224, 1000)
    assert models.parameter_count(network) == 5_717_416


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    network = models.build(vit(distilled=True), 32, 3, seed=1)
    other = models.build(vit(distilled=True), 32, 3, seed=2)
    models.load_weights(other, stored(network, tmp_path / "w.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(("distilled", "prefix"), [(False, 1), (True, 2)])
def test_another_size_resamples_the_patch_part_only(tmp_path: Path, distilled: bool, prefix: int) -> None:
    small = models.build(vit(distilled), 32, 3, seed=1)  # 4 x 4 patches
    with torch.no_grad():
        small.pos_embed[0, prefix:, 0] = torch.arange(4.0).repeat(4)  # a ramp along x in one channel
    large = models.build(vit(distilled), 64, 3, seed=2)  # 8 x 8
    models.load_weights(large, stored(small, tmp_path / "w.safetensors"), resize=True)
    assert torch.equal(large.pos_embed[:, :prefix], small.pos_embed[:, :prefix])
    grid = large.pos_embed[0, prefix:, 0].reshape(8, 8)
    # Half-pixel centres (align_corners False): new pixel j lies at (j + .5) / 2 - .5: 3 at 1.25, 0 at -.25.
    # The bicubic kernel with a = -.75, at 1.25 .25 .75 1.75: -.10546875 .87890625 .26171875 -.03515625.
    assert grid[3, 3].item() == pytest.approx(0.87890625 + 2 * 0.26171875 - 3 * 0.03515625, abs=1e-5)
    # Pixels 0 0 0 1 at 1.75 .75 .25 1.25, the border repeated.
    assert grid[3, 0].item() == pytest.approx(-0.10546875, abs=1e-5)
    assert torch.allclose(grid, grid[:1].expand(8, 8), atol=1e-5)


def test_a_smaller_size_is_not_antialiased(tmp_path: Path) -> None:
    large = models.build(vit(), 64, 3, seed=1)  # 8 x 8
    with torch.no_grad():
        large.pos_embed[0, 1:, 0] = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0]).repeat(8)
    small = models.build(vit(), 32, 3, seed=2)  # 4 x 4
    models.load_weights(small, stored(large, tmp_path / "w.safetensors"), resize=True)
    # New pixel 0 lies at .5: pixels 1 1 0 0 (the border repeated) with symmetric weights; 1 lies at 2.5 and
    # reads pixels 1 to 4 only. Antialiased, the kernel would be twice as wide and reach pixel 0.
    grid = small.pos_embed[0, 1:, 0].reshape(4, 4)
    assert grid[1].tolist() == pytest.approx([0.5, 0, 0, 0], abs=1e-6)


def test_another_size_without_resize_is_an_error(tmp_path: Path) -> None:
    path = stored(models.build(vit(), 32, 3), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"pos_embed: \(1, 65, 16\) expected, got \(1, 17, 16\)"):
        models.load_weights(models.build(vit(), 64, 3), path)


@pytest.mark.parametrize(
    ("model", "names"),
    [(vit(), ["head"]), (vit(distilled=True), ["head", "head_dist"]), (CONVNET, ["head.fc"])],
)
def test_heads_of_other_classes_stay_fresh_only_if_asked(tmp_path: Path, model: Network, names: list[str]) -> None:
    path = stored(models.build(model, 32, 3, seed=1), tmp_path / "w.safetensors")
    network = models.build(model, 32, 5, seed=2)
    with pytest.raises(UserError, match=f"{names[0]}.weight"):
        models.load_weights(network, path)
    fresh = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    models.load_weights(network, path, new_heads=True)
    old = models.build(model, 32, 3, seed=1).state_dict()
    for name, tensor in network.state_dict().items():
        is_head = any(name.startswith(f"{head}.") for head in names)
        assert torch.equal(tensor, fresh[name] if is_head else old[name]), name


def test_heads_of_as_many_other_classes_are_fresh_too(tmp_path: Path) -> None:
    path = stored(models.build(vit(), 32, 3, seed=1), tmp_path / "w.safetensors")
    network = models.build(vit(), 32, 3, seed=2)
    fresh = network.head.weight.detach().clone()
    models.load_weights(network, path, new_heads=True)
    assert torch.equal(network.head.weight, fresh)
    models.load_weights(network, path)
    assert not torch.equal(network.head.weight, fresh)


def test_weights_of_another_network_are_listed(tmp_path: Path) -> None:
    path = stored(models.build(vit(), 32, 3), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="missing: dist_token") as caught:
        models.load_weights(models.build(vit(distilled=True), 32, 3), path, new_heads=True)
    assert "missing: head_dist.weight" in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"\x08\0\0\0\0\0\0\0{}      tail"])
def test_a_damaged_file_is_a_fault_of_the_store(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreFault, match=r"w\.safetensors"):
        models.load_weights(models.build(vit(), 32, 3), path)


def test_a_trained_network_is_read_for_another_size_in_evaluation_mode(tmp_path: Path) -> None:
    network = models.build(vit(), 32, 3, seed=1)
    stored(network, tmp_path / "model.safetensors")
    (tmp_path / "job.json").write_text(json.dumps({"key": "k", "payload": trained_payload(asdict(vit()))}))
    read = input_results.network(tmp_path, 64, 3)
    assert not read.training
    assert read.pos_embed.shape == (1, 65, 16)
    assert torch.equal(read.blocks[1].mlp.fc1.weight, network.blocks[1].mlp.fc1.weight)


def test_a_folder_without_a_job_is_a_fault_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreFault, match=r"job\.json"):
        input_results.job_of(tmp_path)
