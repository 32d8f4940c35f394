"""What a teacher says once for all its students: the same training as with a live teacher, and when it is not used."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from replicate.engine import answers as engine
from replicate.engine.batches import TrainBatches
from replicate.engine.data import make_data
from replicate.engine.input_results import data_set
from replicate.engine.ranks import Ranks
from replicate.engine.run import Stopped
from replicate.engine.train import run as train
from replicate.jobs.answers import ANSWERS, Answers, Stream
from replicate.jobs.job import from_payload, to_json
from replicate.jobs.train import Train
from replicate.specs.recipe import Recipe

pytestmark = pytest.mark.torch

SIZE, IMAGES, BATCH, EPOCHS = 16, 96, 32, 12
STEPS = IMAGES // BATCH

RECIPE = {
    "optimizer": "adamw", "lr": 3e-3, "lr_batch": BATCH, "weight_decay": 0.05, "momentum": 0.9, "batch": BATCH,
    "mix_batch": 16, "epochs": EPOCHS, "warmup_epochs": 1, "warmup_lr": 1e-3, "min_lr": 1e-5, "repeats": 3,
    "crop_scale": (0.3, 1.0), "crop_ratio": (0.9, 1.1), "flip": 0.5, "auto_augment": "rand-m9-mstd0.5-inc1",
    "color_jitter": 0.4, "erase": 0.5, "mixup": 0.8, "cutmix": 1.0, "mix_prob": 1.0, "mix_switch": 0.5,
    "label_smoothing": 0.1, "drop_path": 0.3, "dropout": 0.1, "train_mode": True, "ema": 0.0, "precision": "fp32",
    "clip_norm": 0.0, "attention": "fused",
}  # fmt: skip
VIT = {
    "name": "v", "timm": "deit_tiny_distilled_patch16_224", "resizable": True, "pos_embed_std": 0.1,
    "args": {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}, "channels_last": False,
}  # fmt: skip
CONVNET = {
    "name": "c", "timm": "regnety_002", "resizable": False, "pos_embed_std": None, "channels_last": True,
    "args": {"depth": 4, "w0": 16, "wa": 12.0, "wm": 1.5, "stem_width": 8, "group_size": 8},
}  # fmt: skip
HARD = {"method": "hard", "token": True, "weight": 0.5, "tau": 1.0, "reduction": "mean"}

OTHER = {
    "batch": 16, "mix_batch": 32, "repeats": 1, "crop_scale": (0.5, 1.0), "crop_ratio": (1.0, 1.2), "flip": 0.1,
    "auto_augment": "", "erase": 0.1, "mixup": 0.1, "cutmix": 0.3, "mix_prob": 0.5, "mix_switch": 0.1,
}  # fmt: skip
"""Another value of each field that changes pixels or their order."""
SAME = {
    "optimizer": "sgd", "lr": 1.0, "lr_batch": 7, "weight_decay": 0.0, "momentum": 0.1, "epochs": 3,
    "warmup_epochs": 0, "warmup_lr": 0.5, "min_lr": 0.5, "label_smoothing": 0.0, "drop_path": 0.0, "dropout": 0.0,
    "train_mode": False, "ema": 0.9, "clip_norm": 1.0,
}  # fmt: skip
"""Another value of each field that leaves them alone."""


def recipe(**fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(Recipe(**(RECIPE | fields)).model_dump_json())
    return body


def folder_of(root: Path, key: str, payload: dict[str, Any]) -> Path:
    folder = root / key
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(json.dumps({"key": key, "payload": payload}))
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("inputs")
    digits = {"source": "digits", "version": 1, "classes": 10, "size": SIZE, "seed": 1, "skip": 0}
    payload = {"kind": "data", "data": digits | {"train": IMAGES, "test": 20}}
    data = folder_of(root, "data-digits-0", payload)
    make_data(from_payload(payload), data)
    one = {"kind": "train", "seed": 3, "size": SIZE, "model": CONVNET, "distillation": None}
    one |= {"recipe": recipe(epochs=2, warmup_epochs=0), "inputs": {"data": data.name}}
    teacher = folder_of(root, "train-teacher-0", one)
    train(from_payload(one), {"data": data}, teacher, lambda fields: None, lambda: False)
    return {"data": data, "teacher": teacher}


def student(read: dict[str, Path], **payload: Any) -> Train:
    body = {"kind": "train", "seed": 3, "size": SIZE, "model": VIT, "distillation": HARD, "recipe": recipe()}
    names = {role: folder.name for role, folder in read.items()}
    job = from_payload(body | {"inputs": names} | payload, "train-student-0")
    assert isinstance(job, Train)
    return job


def never() -> bool:
    return False


def answer(job: Answers, inputs: dict[str, Path], root: Path, stop: Callable[[], bool] = never) -> Path:
    folder = root / job.key
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(json.dumps(to_json(job)))
    engine.run(job, inputs, folder, lambda fields: None, stop)
    return folder


@pytest.fixture(scope="module")
def stored(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("answers")
    return {role: answer(job, inputs, root) for role, job in student(inputs).aids().items()}


def trained(job: Train, inputs: dict[str, Path], folder: Path, stops: int = 0) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    if stops:
        calls = iter(range(1, stops + 1))
        with pytest.raises(Stopped):
            train(job, inputs, folder, lambda fields: None, lambda: next(calls) == stops)
    train(job, inputs, folder, lambda fields: None, never)
    return {name: (folder / name).read_bytes() for name in ("model.safetensors", "curve.json")}


def live(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the teacher is asked about, call by call."""
    asked: list[int] = []
    logits = engine.Teacher.logits

    def spy(self: engine.Teacher, images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        return logits(self, images)

    monkeypatch.setattr(engine.Teacher, "logits", spy)
    return asked


def test_blocks_of_ten_epochs_of_which_the_last_is_shorter(inputs: dict[str, Path]) -> None:
    blocks = [*student(inputs).aids().values()]
    assert [(block.first, block.epochs) for block in blocks] == [(0, 10), (10, 2)]
    longer = [*student(inputs, recipe=recipe(epochs=40)).aids().values()]
    assert [block.first for block in longer] == [0, 10, 20, 30]
    assert longer[0].key == blocks[0].key
    assert longer[1].key != blocks[1].key


def test_only_decisions_are_stored(inputs: dict[str, Path]) -> None:
    assert not student(inputs, distillation=HARD | {"method": "soft"}).aids()
    assert not student(inputs, distillation=HARD | {"method": "label"}).aids()


@pytest.mark.parametrize("stops", [0, 2, 11 * STEPS + 1], ids=["at once", "stopped", "stopped in the second block"])
def test_the_same_bytes_as_with_a_live_teacher(
    inputs: dict[str, Path], stored: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: int
) -> None:
    expected = trained(student(inputs), inputs, tmp_path / "live")
    asked = live(monkeypatch)
    assert trained(student(inputs), inputs | stored, tmp_path / "stored", stops) == expected
    # One batch of each block, drawn at random, is compared; after a restart that of its block again.
    assert asked == [BATCH] * (3 if stops else 2)


def test_a_block_that_is_missing_is_answered_live(
    inputs: dict[str, Path], stored: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = trained(student(inputs), inputs, tmp_path / "live")
    first, _ = stored
    asked = live(monkeypatch)
    assert trained(student(inputs), inputs | {first: stored[first]}, tmp_path / "half") == expected
    assert len(asked) == 1 + 2 * STEPS


def test_another_student_of_the_stream_reads_them(
    inputs: dict[str, Path], stored: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = student(inputs, recipe=recipe(**{**SAME, "epochs": 7}), distillation=HARD | {"weight": 0.3})
    (role,) = other.aids()
    # Seven epochs are a block of their own: blocks are as long as what their readers share.
    assert other.aids()[role].key != student(inputs).aids()[role].key
    ten = student(inputs, recipe=recipe(**{**SAME, "epochs": 10}))
    assert ten.aids()[role].key == student(inputs).aids()[role].key
    expected = trained(ten, inputs, tmp_path / "live")
    asked = live(monkeypatch)
    assert trained(ten, inputs | {role: stored[role]}, tmp_path / "stored") == expected
    assert len(asked) == 1


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_each_rank_reads_its_own_positions(inputs: dict[str, Path], stored: dict[str, Path], ranks: int) -> None:
    """4 ranks tear a mix group of 16 images in two; an image that is repeated has an answer for each copy."""
    job, device = student(inputs), torch.device("cpu")
    data = data_set(inputs)
    whole = TrainBatches(data, job.recipe, SIZE, 3)
    said = engine.Teacher(inputs["teacher"], SIZE, 10, "fused", "fp32", device)
    for rank in range(ranks):
        team = Ranks(rank, ranks)
        lessons = engine.Lessons(job, inputs | stored, data, team, device)
        batches = TrainBatches(data, job.recipe, SIZE, 3, rank, ranks)
        part = slice(rank * BATCH // ranks, (rank + 1) * BATCH // ranks)
        for epoch, step in ((0, 0), (3, STEPS - 1), (11, 1)):
            found = lessons(batches.batch(epoch, step).images, epoch, batches.positions(step))
            assert found.dtype == torch.int64
            assert torch.equal(found, said.classes(whole.batch(epoch, step).images)[part])


def test_a_job_that_was_stopped_goes_on(inputs: dict[str, Path], stored: dict[str, Path], tmp_path: Path) -> None:
    job = student(inputs).aids()["answers from epoch 1"]
    calls = iter(range(1, 6))
    with pytest.raises(Stopped, match="epoch 2, step 2"):
        answer(job, inputs, tmp_path, lambda: next(calls) == 5)
    (checkpoint,) = (tmp_path / job.key).glob("checkpoint*")
    reports: list[dict[str, object]] = []
    engine.run(job, inputs, tmp_path / job.key, reports.append, never)
    assert (tmp_path / job.key / ANSWERS).read_bytes() == (stored["answers from epoch 1"] / ANSWERS).read_bytes()
    assert reports[-1] == {"epoch": 10, "epochs": 10, "step": STEPS, "steps": STEPS}
    assert reports[0] == {"epoch": 2, "epochs": 10, "step": 3, "steps": STEPS}
    assert not checkpoint.exists()


def damaged(folder: Path, copy: Path, change: Callable[[bytes], bytes]) -> Path:
    copy.mkdir(parents=True)
    (copy / "job.json").write_bytes((folder / "job.json").read_bytes())
    (copy / ANSWERS).write_bytes(change((folder / ANSWERS).read_bytes()))
    return copy


def wrong_answers(whole: bytes) -> bytes:
    answers = np.frombuffer(whole[128:], np.int16)
    return whole[:128] + ((answers + 1) % 10).astype(np.int16).tobytes()


def no_class(whole: bytes) -> bytes:
    return whole[:-2] + np.int16(10).tobytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda whole: whole[:-100], "cut short or damaged"),
        (lambda whole: whole[:20], "cut short or damaged"),
        (lambda whole: b"", "cut short or damaged"),
        (no_class, "classes beyond the 10"),
        (wrong_answers, "32 of 32 stored answers are not what the teacher says here"),
    ],
    ids=["end", "header", "empty", "class", "wrong"],
)
def test_a_damaged_block_is_answered_live(
    inputs: dict[str, Path],
    stored: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[bytes], bytes],
    said: str,
) -> None:
    role, job = "answers from epoch 11", student(inputs)
    block = damaged(stored[role], tmp_path / stored[role].name, change)
    lessons = engine.Lessons(job, inputs | {role: block}, data_set(inputs), Ranks(), torch.device("cpu"))
    batches = TrainBatches(data_set(inputs), job.recipe, SIZE, 3)
    with caplog.at_level(logging.WARNING):
        found = lessons(batches.batch(10, 0).images, 10, batches.positions(0))
    assert found.shape == (BATCH, 10), "logits of a live teacher"
    assert said in caplog.text
    assert "the teacher answers live in its place" in caplog.text


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"size": 8}, {"inputs": {"teacher": "train-teacher-1", "data": "data-digits-0"}}]
    + [{"recipe": recipe(**{name: value})} for name, value in OTHER.items()]
    + [{"recipe": recipe(precision="bf16")}, {"recipe": recipe(attention="explicit")}],
    ids=lambda change: next(iter(change)),
)
def test_answers_of_another_teacher_precision_or_stream_are_refused(
    inputs: dict[str, Path], stored: dict[str, Path], caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    role = "answers from epoch 1"
    mine, other = student(inputs).aids()[role], student(inputs, **change).aids()[role]
    assert mine.key != other.key
    with pytest.raises(engine.StoreFault, match="answers of another teacher, precision or stream"):
        engine.read_answers(stored[role], other, IMAGES, 10)


def test_every_field_of_a_recipe_is_known_to_change_the_images_or_not(inputs: dict[str, Path]) -> None:
    """A new field of `Recipe` belongs into `OTHER` (and `Stream`) or `SAME`; both are compared with the images."""
    streamed = {*OTHER, "color_jitter"}
    assert set(Stream.model_fields) == streamed
    assert streamed | set(SAME) | {"precision", "attention"} == set(Recipe.model_fields)
    data = data_set(inputs)

    def images(**fields: Any) -> torch.Tensor:
        batches = TrainBatches(data, Recipe(**(RECIPE | fields)), SIZE, 3)
        return torch.cat([batches.batch(1, step).images for step in range(batches.steps_per_epoch)])

    whole = images()
    assert torch.equal(images(**SAME), whole)
    for name, value in OTHER.items():
        assert not torch.equal(images(**{name: value}), whole), name
    # Active only while there is no policy.
    assert not torch.equal(images(auto_augment="", color_jitter=0.1), images(auto_augment=""))
    job = student(inputs).aids()["answers from epoch 1"]
    again = TrainBatches(data, job.stream.recipe(EPOCHS, "fp32", "fused"), SIZE, 3)
    assert torch.equal(torch.cat([again.batch(1, step).images for step in range(STEPS)]), whole)
