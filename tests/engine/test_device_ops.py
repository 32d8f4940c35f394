"""What a GPU makes of images, beside what the processor makes: torch's kernels, run here on the processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from paper_recipe import recipe
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from replicate.engine import augmentation
from replicate.engine.batches import Batch, TrainBatches
from replicate.engine.data import ArraySplit, DataSet
from replicate.engine.sources.shapes import render_split

pytestmark = pytest.mark.torch

GEOMETRIC = {"Rotate", *augmentation.SHIFTS}
FILL = (124, 116, 104)
MEAN, STD = (0.3, 0.25, 0.2), (0.2, 0.25, 0.3)
LEVELS = (0.0, 2.7, 6.1, 8.6, 9.3, 10.0)
CPU = torch.device("cpu")


def pictures(size: int = 40) -> np.ndarray:
    """Noise, a ramp, a dark picture of few values, a flat one, one with a flat channel."""
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, (3, size, size))
    ramp = np.broadcast_to(np.linspace(0, 255, size), (3, size, size))
    flat = np.broadcast_to(np.array([200, 7, 90])[:, None, None], (3, size, size))
    half = noise.copy()
    half[1] = 31
    return np.stack([noise, ramp, rng.integers(3, 9, (3, size, size)), flat, half]).astype(np.uint8)


def data_set() -> DataSet:
    splits = [ArraySplit(*render_split(0, part, 128, 40), MEAN, STD) for part in ("train", "test")]
    return DataSet(*splits, 10, MEAN, STD)


def check(found: torch.Tensor, wanted: torch.Tensor, geometric: bool) -> None:
    if not geometric:
        assert torch.equal(found, wanted)
        return
    error = (found.int() - wanted.int()).abs()
    assert error.max() <= 1
    assert (error > 0).float().mean() < 0.005


@pytest.mark.parametrize("name", augmentation.OPERATIONS)
def test_each_operation_is_the_processors(name: str) -> None:
    images = pictures()
    n = len(images)
    chosen = np.full(n, augmentation.OPERATIONS.index(name))
    for level in LEVELS:
        levels, signs = np.full(n, level), np.array([1.0, -1.0, 1.0, -1.0, 1.0])
        wanted, found = images.copy(), torch.from_numpy(images.copy())
        augmentation.apply_layer(wanted, chosen, levels, signs, FILL)
        augmentation.apply_layer_on_device(found, chosen, levels, signs, FILL)
        check(found, torch.from_numpy(wanted), name in GEOMETRIC)


def test_a_layer_of_many_operations_is_the_processors() -> None:
    rng = np.random.default_rng(1)
    images = np.concatenate([pictures()] * 12)
    n = len(images)
    chosen = rng.integers(0, len(augmentation.OPERATIONS) + 1, n)
    levels, signs = rng.uniform(5, 10, n), rng.choice([-1.0, 1.0], n)
    wanted, found = images.copy(), torch.from_numpy(images.copy())
    augmentation.apply_layer(wanted, chosen, levels, signs, FILL)
    augmentation.apply_layer_on_device(found, chosen, levels, signs, FILL)
    check(found, torch.from_numpy(wanted), geometric=True)


@pytest.mark.parametrize(
    ("change", "world"),
    [
        ({}, 1),
        ({"auto_augment": "original-mstd0.5"}, 1),
        ({"auto_augment": "", "color_jitter": 0.4}, 1),
        ({"auto_augment": "", "color_jitter": 0.0, "mixup": 0.0, "cutmix": 0.0}, 2),
        ({"batch": 64, "mix_batch": 64}, 4),  # torn between processes
    ],
)
def test_a_whole_batch_is_the_processors(change: dict[str, Any], world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in range(world):
        stream = TrainBatches(data_set(), recipe(**({"mix_batch": 16} | change)), 32, 0, rank, world)
        wanted = stream.batch(1, 0)
        with monkeypatch.context() as patch:
            patch.setattr(augmentation, "on_device", lambda images: True)
            found = stream.finished(stream.crops(1, 0), CPU)
        assert torch.equal(found.targets, wanted.targets)
        assert torch.equal(found.labels, wanted.labels)
        # In levels of a pixel: what differs is the last bit of a rotation, which a later operation may stretch.
        error = (found.images - wanted.images).abs() * 255 * min(STD)
        assert (error > 0.01).float().mean() < 0.005


@pytest.mark.parametrize("change", [{}, {"auto_augment": "", "color_jitter": 0.4}, {"auto_augment": "v0"}])
def test_all_of_a_batch_is_made_on_the_gpu(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without values say on which device each would be, and refuse what mixes two."""
    stream = TrainBatches(data_set(), recipe(**change), 32, 0)
    crops, drawn = stream.crops(0, 0), augmentation.noisy_levels

    def levels(*draws: Any) -> Any:
        with unset_fake_temporarily():
            return drawn(*draws)

    monkeypatch.setattr(augmentation, "noisy_levels", levels)
    with FakeTensorMode(allow_non_fake_inputs=True):
        batch: Batch = stream.finished(crops, torch.device("cuda"))
    assert batch.images.device.type == batch.targets.device.type == "cuda"
    assert batch.images.shape == (64, 3, 32, 32)
