import math
from typing import Any

import pytest
import timm
import torch
from torch import nn

from replicate.engine.optim import decay_groups, optimizer, rate
from replicate.specs.recipe import Recipe

pytestmark = pytest.mark.torch

PAPER = Recipe(
    optimizer="adamw", lr=5e-4, lr_batch=512, weight_decay=0.05, momentum=0.9, batch=1024, mix_batch=128,
    epochs=300, warmup_epochs=5, warmup_lr=1e-6, min_lr=1e-5, repeats=3, crop_scale=(0.08, 1.0),
    crop_ratio=(0.75, 4 / 3), flip=0.5, auto_augment="rand-m9-mstd0.5-inc1", color_jitter=0.4, erase=0.25,
    mixup=0.8, cutmix=1.0, mix_prob=1.0, mix_switch=0.5, label_smoothing=0.1, drop_path=0.1, dropout=0.0,
    train_mode=True, ema=0.99996, precision="fp16",
)  # fmt: skip


def changed(**fields: Any) -> Recipe:
    return PAPER.model_copy(update=fields)


@pytest.fixture(scope="module")
def distilled() -> nn.Module:
    return timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=32, patch_size=16, embed_dim=16, depth=1, num_heads=2
    )


def decays(network: nn.Module) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = decay_groups(network, 0.05)
    return {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}


def test_every_parameter_is_in_exactly_one_group(distilled: nn.Module) -> None:
    groups = decay_groups(distilled, 0.05)
    assert sorted(id(p) for g in groups for p in g["params"]) == sorted(id(p) for p in distilled.parameters())


def test_what_is_not_decayed(distilled: nn.Module) -> None:
    exempt = {name for name, decay in decays(distilled).items() if decay == 0.0}
    assert exempt == {
        "pos_embed", "cls_token", "patch_embed.proj.bias", "norm.weight", "norm.bias", "head.bias",
        "head_dist.bias", "blocks.0.norm1.weight", "blocks.0.norm1.bias", "blocks.0.norm2.weight",
        "blocks.0.norm2.bias", "blocks.0.attn.qkv.bias", "blocks.0.attn.proj.bias", "blocks.0.mlp.fc1.bias",
        "blocks.0.mlp.fc2.bias",
    }  # fmt: skip


def test_the_distillation_token_is_decayed_although_timm_lists_it(distilled: nn.Module) -> None:
    # deit#48, deit#60
    assert "dist_token" in distilled.no_weight_decay()
    assert decays(distilled)["dist_token"] == 0.05


def test_a_convnet_decays_its_kernels_only() -> None:
    network = timm.create_model("regnety_002", num_classes=3)
    shapes = {name: p.ndim for name, p in network.named_parameters()}
    assert all((decay > 0) == (shapes[name] > 1) for name, decay in decays(network).items())


def test_adamw_has_the_papers_constants(distilled: nn.Module) -> None:
    made = optimizer(distilled, PAPER)
    assert isinstance(made, torch.optim.AdamW)
    assert {(g["betas"], g["eps"]) for g in made.param_groups} == {((0.9, 0.999), 1e-8)}


def test_sgd_step_is_nesterov_with_decay_in_the_gradient() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 2.0)
    made = optimizer(layer, changed(optimizer="sgd", lr=0.1, weight_decay=0.5, momentum=0.9))
    layer.weight.grad = torch.tensor([[3.0]])
    made.step()
    # g = 3 + .5 * 2 = 4; the first buffer is g; Nesterov: g + .9 * 4 = 7.6; 2 - .1 * 7.6
    assert layer.weight.item() == pytest.approx(1.24, rel=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_after_a_first_step_that_overflowed(monkeypatch: pytest.MonkeyPatch, momentum: float) -> None:
    """The scaler skips the step; the next is the first one, whatever torch.empty_like happens to hold."""
    monkeypatch.setattr(torch, "empty_like", lambda tensor, **_: torch.full_like(tensor, float("nan")))
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 2.0)
    fields = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.5, "momentum": momentum, "precision": "fp16"}
    made = optimizer(layer, changed(**fields))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    found = []
    for gradient in (float("inf"), 3.0, 1.0):
        layer.weight.grad = scaler.scale(torch.tensor([[gradient]]))
        scaler.step(made)
        scaler.update()
        found.append(layer.weight.item())
    # By hand as above: 2; 4 in the gradient, 7.6 with Nesterov; then g = 1 + .5 * 1.24 = 1.62, buffer .9 * 4 + 1.62
    # = 5.22, g + .9 * 5.22 = 6.318. Without momentum 2 - .4 = 1.6 and 1.6 - .1 * (1 + .8).
    wanted = [2.0, 1.24, 0.6082] if momentum else [2.0, 1.6, 1.42]
    assert found == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        # 5e-4 * 1024 / 512 = 1e-3; (1e-3 - 1e-6) / 5 = 1.998e-4 an epoch; recipes.md, from the author's log.
        (0, 1e-6),
        (1, 1e-6),
        (2, 2.008e-4),
        (3, 4.006e-4),
        (4, 6.004e-4),
        (5, 8.002e-4),
        # From here the cosine of e - 1 over 300, which the warm-up did not shift.
        (6, 1e-5 + 0.5 * 9.9e-4 * (1 + math.cos(math.pi * 5 / 300))),
        (151, 5.05e-4),  # cos(pi / 2) = 0: the mean of 1e-3 and 1e-5
        (298, 1e-5 + 4.95e-4 * (1 - math.cos(math.pi * 3 / 300))),
        (299, 1e-5 + 4.95e-4 * (1 - math.cos(math.pi * 2 / 300))),
    ],
)
def test_the_papers_learning_rate(epoch: int, expected: float) -> None:
    assert rate(PAPER, epoch) == pytest.approx(expected, rel=1e-9)


def test_the_cosine_begins_below_its_top_and_ends_just_above_the_floor() -> None:
    # 1e-5 + 9.9e-4 * (1 - 2.19e-4 / 2 ...): cos(2 pi / 300) = 0.99978068
    assert rate(PAPER, 299) == pytest.approx(1.0109e-5, rel=1e-4)
    assert max(rate(PAPER, e) for e in range(300)) == pytest.approx(9.9932e-4, rel=1e-5)


def test_the_rate_scales_with_the_batch_and_the_ends_do_not() -> None:
    half = changed(batch=512)
    assert rate(half, 1) == 1e-6
    assert rate(half, 2) == pytest.approx(1e-6 + (5e-4 - 1e-6) / 5, rel=1e-9)
    assert rate(half, 151) == pytest.approx((5e-4 + 1e-5) / 2, rel=1e-9)


def test_the_fine_tuning_rate_is_constant_after_its_warm_up() -> None:
    tuning = changed(lr=5e-6, lr_batch=512, batch=512, min_lr=5e-6, epochs=30)
    rates = [rate(tuning, epoch) for epoch in range(30)]
    # (5e-6 - 1e-6) / 5 = 8e-7
    assert rates[:6] == pytest.approx([1e-6, 1e-6, 1.8e-6, 2.6e-6, 3.4e-6, 4.2e-6], rel=1e-9)
    assert rates[6:] == pytest.approx([5e-6] * 24, rel=1e-9)


def test_without_warm_up_the_first_two_epochs_run_at_the_top() -> None:
    plain = changed(warmup_epochs=0, epochs=4, min_lr=0.0)
    # cosine of 0, 0, 1, 2 quarters of pi
    expected = [1e-3, 1e-3, 1e-3 * 0.8535533906, 5e-4]
    assert [rate(plain, epoch) for epoch in range(4)] == pytest.approx(expected, rel=1e-9)
