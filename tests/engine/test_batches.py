"""Batches: the same bytes whatever the order of calls, the number of processes or of threads."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from paper_recipe import recipe
from PIL import Image
from torchvision import transforms as tv_transforms

from replicate.engine.batches import Batch, TrainBatches, decode_workers, evaluation_batches, spread
from replicate.engine.data import ArraySplit, DataSet
from replicate.engine.sources.shapes import render_split
from replicate.errors import UserError
from replicate.specs.recipe import Evaluation

pytestmark = pytest.mark.torch

MEAN, STD = (0.3, 0.25, 0.2), (0.2, 0.25, 0.3)
PLAIN: dict[str, Any] = {
    "auto_augment": "", "color_jitter": 0.0, "erase": 0.0, "mixup": 0.0, "cutmix": 0.0, "flip": 0.0,
    "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "label_smoothing": 0.0,
}  # fmt: skip


def data_set(count: int = 256, size: int = 24) -> DataSet:
    splits = [ArraySplit(*render_split(0, part, count, size), MEAN, STD) for part in ("train", "test")]
    return DataSet(*splits, 10, MEAN, STD)


DATA = data_set()


def equal(a: Batch, b: Batch) -> bool:
    return all(torch.equal(x, y) for x, y in ((a.images, b.images), (a.targets, b.targets), (a.labels, b.labels)))


def joined(parts: list[Batch]) -> Batch:
    return Batch(*(torch.cat([getattr(p, name) for p in parts]) for name in ("images", "targets", "labels")))


def test_shapes_and_types() -> None:
    stream = TrainBatches(DATA, recipe(), 16, 0)
    assert stream.steps_per_epoch == 4
    batch = stream.batch(0, 3)
    assert batch.images.shape == (64, 3, 16, 16)
    assert batch.images.dtype == batch.targets.dtype == torch.float32
    assert batch.targets.shape == (64, 10)
    torch.testing.assert_close(batch.targets.sum(1), torch.ones(64))
    assert batch.labels.dtype == torch.int64
    assert batch.images.isfinite().all()


@settings(max_examples=25, deadline=None)
@given(
    world=st.sampled_from([1, 2, 4, 8]),
    group=st.sampled_from([8, 16, 64]),
    calls=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=4),
    seed=st.integers(0, 3),
    augment=st.sampled_from(["rand-m9-mstd0.5-inc1", ""]),
)
def test_any_split_and_order_of_calls_gives_the_same_bytes(
    world: int, group: int, calls: list[tuple[int, int]], seed: int, augment: str
) -> None:
    """Also where a mix group is torn: processes then make the partners of their images as well."""
    chosen = recipe(mix_batch=group, auto_augment=augment)
    ranks = [TrainBatches(DATA, chosen, 16, seed, rank, world) for rank in range(world)]
    for call in calls:
        alone = TrainBatches(DATA, chosen, 16, seed).batch(*call)
        assert equal(joined([rank.batch(*call) for rank in ranks]), alone)


@settings(max_examples=10, deadline=None)
@given(world=st.sampled_from([1, 2, 4, 16, 64]), step=st.integers(0, 3))
def test_without_mixing_slices_may_be_smaller_than_a_mix_group(world: int, step: int) -> None:
    chosen = recipe(mixup=0.0, cutmix=0.0)
    parts = [TrainBatches(DATA, chosen, 16, 0, rank, world).batch(1, step) for rank in range(world)]
    assert equal(joined(parts), TrainBatches(DATA, chosen, 16, 0).batch(1, step))


def test_a_gpu_is_decoded_for_by_the_threads_that_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.delenv("REPLICATE_DECODE_THREADS", raising=False)
    assert (decode_workers(gpu), decode_workers(cpu)) == (len(os.sched_getaffinity(0)), 0)
    monkeypatch.setenv("REPLICATE_DECODE_THREADS", "3")
    assert (decode_workers(gpu), decode_workers(cpu)) == (3, 0)
    for text in ("0", "-1", "all"):
        monkeypatch.setenv("REPLICATE_DECODE_THREADS", text)
        with pytest.raises(UserError, match=f"REPLICATE_DECODE_THREADS is no number of threads from 1 on: '{text}'"):
            decode_workers(gpu)


def test_threads_change_nothing() -> None:
    one, three = TrainBatches(DATA, recipe(), 16, 0), TrainBatches(DATA, recipe(), 16, 0, workers=3)
    assert equal(one.batch(2, 1), three.batch(2, 1))


def test_seed_epoch_and_step_change_everything() -> None:
    keys = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    batches = [TrainBatches(DATA, recipe(), 16, seed).batch(epoch, step) for seed, epoch, step in keys]
    for i, first in enumerate(batches):
        for second in batches[:i]:
            assert (first.images == second.images).float().mean() < 0.1


@pytest.mark.parametrize(
    ("change", "world", "text"),
    [
        ({"mix_batch": 48}, 1, r"recipe\.mix_batch does not divide recipe\.batch: 48 in 64"),
        ({}, 3, r"recipe\.batch does not split over 3 processes: got 64"),
        ({"batch": 512}, 1, r"recipe\.batch exceeds 256, the images of an epoch: 512"),
    ],
)
def test_what_cannot_be_split_is_refused(change: dict[str, Any], world: int, text: str) -> None:
    with pytest.raises(UserError, match=text):
        TrainBatches(DATA, recipe(mix_batch=64) if not change else recipe(**change), 16, 0, 0, world)


def test_incomplete_batch_is_dropped() -> None:
    data = data_set(600, 8)  # cut to 512 samples: five batches of 96, and 32 dropped
    stream = TrainBatches(data, recipe(batch=96, mix_batch=48), 8, 0)
    assert stream.steps_per_epoch == 5
    assert stream.batch(0, 4).images.shape[0] == 96


def test_plain_recipe_is_normalised_images_and_one_hot_labels() -> None:
    stream = TrainBatches(DATA, recipe(**PLAIN, repeats=1), 24, 0)
    pixels = {}
    for i in range(256):
        image = DATA.train.image(i).double() / 255
        normal = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        pixels[i] = normal.float()
    table = torch.stack([pixels[i] for i in range(256)]).flatten(1)
    seen = []
    for step in range(4):
        batch = stream.batch(0, step)
        nearest = torch.cdist(batch.images.flatten(1), table).argmin(1)
        torch.testing.assert_close(batch.images.flatten(1), table[nearest], atol=2e-6, rtol=0)
        assert batch.labels.tolist() == DATA.train.labels[nearest.numpy()].tolist()
        assert torch.equal(batch.targets, torch.eye(10)[batch.labels])
        seen += nearest.tolist()
    assert sorted(seen) == list(range(256))


def test_repeats_land_in_different_mix_groups() -> None:
    """Three copies of an image, dealt round robin to four groups: never two in one."""
    stream = TrainBatches(DATA, recipe(**PLAIN, mix_batch=16), 24, 0)
    groups = stream.batch(0, 0).images.view(4, 16, -1)
    for group in groups:
        assert len({row.numpy().tobytes() for row in group}) == 16
    assert len({row.numpy().tobytes() for row in groups.flatten(0, 1)}) == 22  # ceil(64 / 3)


def test_flip_probability() -> None:
    never = TrainBatches(DATA, recipe(**PLAIN), 24, 0)
    often = TrainBatches(DATA, recipe(**(PLAIN | {"flip": 0.3})), 24, 0)
    flipped = 0
    for epoch in range(5):
        for step in range(4):
            a, b = never.batch(epoch, step).images, often.batch(epoch, step).images
            mirrored = (a.flip(3) == b).flatten(1).all(1)
            assert (mirrored | (a == b).flatten(1).all(1)).all()
            flipped += int(mirrored.sum())
    assert flipped / 1280 == pytest.approx(0.3, abs=0.045)  # 3.5 standard errors


def test_jitter_is_active_only_without_rand_augment() -> None:
    def images(**change: Any) -> torch.Tensor:
        return TrainBatches(DATA, recipe(**(PLAIN | change)), 24, 0).batch(0, 0).images

    plain = images()
    assert not torch.equal(images(color_jitter=0.4), plain)
    on = {"auto_augment": "rand-m9-mstd0.5-inc1"}
    assert torch.equal(images(**on, color_jitter=0.4), images(**on))
    assert not torch.equal(images(**on), plain)


def test_erasing_follows_rand_augment_and_precedes_mixing() -> None:
    plain = TrainBatches(DATA, recipe(**PLAIN), 24, 0).batch(0, 0).images
    erased = TrainBatches(DATA, recipe(**(PLAIN | {"erase": 0.5})), 24, 0).batch(0, 0).images
    changed = (plain != erased).any(1)
    share = changed.flatten(1).float().mean(1)
    assert 16 <= int((share > 0).sum()) <= 48
    noise = erased[(plain != erased)]
    assert noise.mean().abs() < 0.05  # normal noise on normalised images
    assert noise.std() == pytest.approx(1.0, abs=0.05)
    # The noise of both partners is in the mixed image, weighted: mixing came after erasing.
    mixed = TrainBatches(DATA, recipe(**(PLAIN | {"erase": 0.5, "mixup": 0.8})), 24, 0).batch(0, 0)
    lam = mixed.targets[0].max() if mixed.labels[0] != mixed.labels[-1] else None
    rest = mixed.images - erased.flip(0)
    scale = (rest * (erased - erased.flip(0))).sum() / ((erased - erased.flip(0)) ** 2).sum()
    torch.testing.assert_close(mixed.images, scale * erased + (1 - scale) * erased.flip(0), atol=1e-4, rtol=0)
    if lam is not None:
        assert max(float(scale), 1 - float(scale)) == pytest.approx(float(lam), abs=1e-4)


def test_every_mix_group_has_a_draw_of_its_own() -> None:
    batch = TrainBatches(DATA, recipe(mix_batch=8, label_smoothing=0.0), 16, 0).batch(0, 0)
    shares = {round(float(group.max(1).values.min()), 5) for group in batch.targets.view(8, 8, 10)}
    assert len(shares) >= 7


# --- evaluation


@pytest.mark.parametrize(("images", "most"), [(1, 256), (256, 256), (257, 256), (2000, 256), (50_000, 256)])
def test_images_of_the_curve_are_spread_over_a_sorted_folder(images: int, most: int) -> None:
    chosen = spread(images, most)
    assert min(images, most) / 2 <= len(chosen) <= most
    assert chosen[0] == 0
    assert images - chosen[-1] <= chosen.step


def test_chosen_images_are_those_of_a_whole_evaluation() -> None:
    evaluation = Evaluation(crop=0.875, interpolation="bicubic", weights="last")
    images, labels = next(evaluation_batches(DATA.test, 16, evaluation, 256))
    some = list(evaluation_batches(DATA.test, 16, evaluation, 5, chosen=[3, 250, 7, 9, 30, 8]))
    assert [len(part) for part, _ in some] == [5, 1]
    assert torch.equal(torch.cat([part for part, _ in some]), images[[3, 250, 7, 9, 30, 8]])
    assert torch.equal(torch.cat([part for _, part in some]), labels[[3, 250, 7, 9, 30, 8]])


def test_threads_are_for_a_gpu() -> None:
    assert decode_workers(torch.device("cpu")) == 0
    assert decode_workers(torch.device("cuda")) >= 1


def test_evaluation_is_torchvisions_in_order() -> None:
    evaluation = Evaluation(crop=0.875, interpolation="bicubic", weights="last")
    batches = list(evaluation_batches(DATA.test, 16, evaluation, 100))
    assert [len(images) for images, _ in batches] == [100, 100, 56]
    threads = evaluation_batches(DATA.test, 16, evaluation, 100, workers=3)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(batches, threads, strict=True))
    assert torch.cat([labels for _, labels in batches]).tolist() == DATA.test.labels.tolist()
    steps = tv_transforms.Compose(
        [
            tv_transforms.Resize(18, tv_transforms.InterpolationMode.BICUBIC),  # int(16 / .875)
            tv_transforms.CenterCrop(16),
            tv_transforms.ToTensor(),
            tv_transforms.Normalize(MEAN, STD),
        ]
    )
    images = torch.cat([images for images, _ in batches])
    for i in (0, 101, 255):
        wanted = steps(Image.fromarray(DATA.test.image(i).permute(1, 2, 0).numpy()))
        # One level is 1 / 255 / .2 = .0196.
        assert (images[i] - wanted).abs().max() < 0.021


def test_evaluation_at_crop_one_is_the_whole_image() -> None:
    evaluation = Evaluation(crop=1.0, interpolation="bilinear", weights="last")
    images, _ = next(evaluation_batches(DATA.test, 24, evaluation, 4))
    pixels = images * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    np.testing.assert_allclose(pixels[2].numpy() * 255, DATA.test.image(2).numpy(), atol=1e-3)
