import errno
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from filled_results import example
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, load_file
from torch import nn

from replicate.engine import batches, checkpoint, input_results, models, shared_crops, train
from replicate.engine import train as step_module
from replicate.engine import train as validation_module
from replicate.engine.data import make_data
from replicate.engine.ranks import Ranks
from replicate.engine.run import Report
from replicate.engine.train import Training
from replicate.errors import Diverged, NotAvailable, StoreFault, UserError
from replicate.jobs.job import from_payload
from replicate.jobs.train import Train
from replicate.specs.recipe import Distillation, Recipe
from replicate.store import epochs

pytestmark = pytest.mark.torch

Files = dict[str, dict[str, bytes]]
"""Of each variant, the files that its training leaves."""
Gradients = tuple[float, dict[str, torch.Tensor]]

SIZE, IMAGES, BATCH, EPOCHS = 16, 96, 32, 2
STEPS = IMAGES // BATCH
TOTAL = STEPS * EPOCHS


def recipe(**fields: Any) -> dict[str, Any]:
    base = {
        "optimizer": "adamw", "lr": 3e-3, "lr_batch": BATCH, "weight_decay": 0.05, "momentum": 0.9,
        "batch": BATCH, "mix_batch": BATCH, "epochs": EPOCHS, "warmup_epochs": 1, "warmup_lr": 1e-3,
        "min_lr": 1e-5, "repeats": 1, "crop_scale": (0.7, 1.0), "crop_ratio": (0.9, 1.1), "flip": 0.5,
        "auto_augment": "", "color_jitter": 0.0, "erase": 0.5, "mixup": 0.8, "cutmix": 1.0, "mix_prob": 1.0,
        "mix_switch": 0.5, "label_smoothing": 0.1, "drop_path": 0.3, "dropout": 0.0, "train_mode": True,
        "ema": 0.0, "precision": "fp32",
    }  # fmt: skip
    return json.loads(Recipe(**(base | fields)).model_dump_json())


def method(**fields: Any) -> dict[str, Any]:
    base = {"method": "hard", "token": False, "weight": 0.5, "tau": 3.0, "reduction": "batchmean"}
    return json.loads(Distillation(**(base | fields)).model_dump_json())


def vit(distilled: bool = False, **fields: Any) -> dict[str, Any]:
    return {
        "name": "v", "timm": "deit_tiny_distilled_patch16_224" if distilled else "deit_tiny_patch16_224",
        "args": {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}, "resizable": True,
        "pos_embed_std": 0.1, "channels_last": False,
    } | fields  # fmt: skip


CONVNET = {
    "name": "c", "timm": "regnety_002", "resizable": False, "pos_embed_std": None, "channels_last": True,
    "args": {"depth": 4, "w0": 16, "wa": 12.0, "wm": 1.5, "stem_width": 8, "group_size": 8},
}  # fmt: skip


class Job:
    """A train job beside its inputs, run as often as a test likes."""

    def __init__(self, folder: Path, inputs: dict[str, Path], **payload: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.inputs = folder, inputs
        self.reports: list[Any] = []
        names = {name: path.name for name, path in inputs.items()}
        base = {"kind": "train", "seed": 3, "size": SIZE, "model": vit(), "recipe": recipe()}
        self.payload = base | {"distillation": None, "inputs": names} | payload
        (folder / "job.json").write_text(json.dumps({"key": folder.name, "payload": self.payload}))

    @property
    def job(self) -> Train:
        return from_payload(self.payload, self.folder.name)

    def run(self, stop: Callable[[], bool] = lambda: False, report: Report | None = None) -> dict[str, object]:
        return train.run(self.job, self.inputs, self.folder, report or self.reports.append, stop)

    def stop(self, after: int) -> str:
        """Run and stop after so many steps; the message."""
        calls = iter(range(1, after + 1))
        with pytest.raises(train.Stopped) as caught:
            self.run(lambda: next(calls) == after)
        return str(caught.value)

    def files(self) -> dict[str, bytes]:
        other = ("job.json", epochs.EPOCHS)  # the second holds times
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.name not in other}

    def checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("checkpoint-*"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    digits = {"source": "digits", "version": 1, "classes": 10, "size": SIZE, "seed": 1, "skip": 0}
    digits |= {"train": IMAGES, "test": 20}
    make_data(from_payload({"kind": "data", "data": digits}), folder)
    (folder / "job.json").write_text(json.dumps({"key": "d", "payload": {"kind": "data", "data": digits}}))
    return folder


@pytest.fixture(scope="module")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = Job(tmp_path_factory.mktemp("teacher"), {"data": data}, model=CONVNET)
    job.run()
    return job.folder


VARIANTS = {
    "adamw, token, EMA": {"model": vit(True), "recipe": recipe(ema=0.9), "distillation": method(token=True)},
    "sgd, soft": {
        "recipe": recipe(optimizer="sgd", lr=0.05),
        "distillation": method(method="soft", weight=0.1),
    },
    "convnet": {"model": CONVNET, "recipe": recipe(ema=0.5)},
    "dropout": {"recipe": recipe(dropout=0.2)},
    "bf16": {"recipe": recipe(precision="bf16")},
}


@pytest.fixture(scope="module")
def whole(data: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of every variant, trained without interruption."""
    root = tmp_path_factory.mktemp("whole")
    found = {}
    for number, (name, fields) in enumerate(VARIANTS.items()):
        job = Job(root / str(number), inputs_for(fields, data, teacher), **fields)
        job.run()
        found[name] = job.files()
    return found


def inputs_for(fields: Any, data: Path, teacher: Path) -> dict[str, Path]:
    return {"data": data, "teacher": teacher} if "distillation" in fields else {"data": data}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_leaves_its_artefacts_only(whole: Files, variant: str) -> None:
    ema = ["ema.safetensors"] if VARIANTS[variant].get("recipe", {}).get("ema") else []
    assert sorted(whole[variant]) == ["curve.json", *ema, "model.safetensors"]


@pytest.mark.parametrize("after", range(1, TOTAL + 1))
@pytest.mark.parametrize("variant", VARIANTS)
def test_stopped_anywhere_and_resumed_is_bit_for_bit_the_same(
    data: Path, teacher: Path, whole: Files, tmp_path: Path, variant: str, after: int
) -> None:
    fields = VARIANTS[variant]
    job = Job(tmp_path / "job", inputs_for(fields, data, teacher), **fields)
    job.stop(after)
    job.run()
    assert job.files() == whole[variant]


@settings(max_examples=6, deadline=None)
@given(after=st.lists(st.integers(1, 2), min_size=2, max_size=3))
def test_stopped_many_times(
    data: Path, teacher: Path, whole: Files, tmp_path_factory: pytest.TempPathFactory, after: list[int]
) -> None:
    fields = VARIANTS["adamw, token, EMA"]
    job = Job(tmp_path_factory.mktemp("job"), inputs_for(fields, data, teacher), **fields)
    for steps in after:
        # The six steps may be over before.
        if steps <= TOTAL - sum(int(path.stem[-9:]) for path in job.checkpoints()[-1:]):
            job.stop(steps)
    job.run()
    assert job.files() == whole["adamw, token, EMA"]


class Killed(Exception):
    pass


def run_killed(job: Job, after: int) -> None:
    """Run until ``after`` steps are done, then leave without a word."""
    calls = iter(range(1, after + 1))

    def stop() -> bool:
        if next(calls) == after:
            raise Killed
        return False

    with pytest.raises(Killed):
        job.run(stop)


@pytest.mark.parametrize("after", [2, STEPS, STEPS + 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_killed_anywhere_it_resumes_at_the_step_of_its_last_checkpoint(
    data: Path, teacher: Path, whole: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, after: int
) -> None:
    monkeypatch.setenv("REPLICATE_CHECKPOINT_SECONDS", "0")
    fields = VARIANTS[variant]
    job = Job(tmp_path / "job", inputs_for(fields, data, teacher), **fields)
    # Asked for after the step, before the checkpoint of it.
    run_killed(job, after + 1)
    assert job.checkpoints()[-1].name == f"checkpoint-{after:09d}.safetensors"
    job.reports.clear()
    job.run()
    assert (job.reports[0]["epoch"], job.reports[0]["step"]) == (after // STEPS + 1, after % STEPS + 1)
    assert job.files() == whole[variant]


def test_no_checkpoint_before_its_seconds_have_passed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_CHECKPOINT_SECONDS", "3600")
    job = Job(tmp_path / "job", {"data": data})
    run_killed(job, STEPS + 1)
    assert job.checkpoints() == []


def clock_of(monkeypatch: pytest.MonkeyPatch, cost: float) -> list[float]:
    """A clock that goes on by ``cost`` seconds with every file that is written, and by what is added to it."""
    now = [0.0]
    real = checkpoint.write_bytes

    def write(path: Path, content: bytes) -> None:
        now[0] += cost
        real(path, content)

    monkeypatch.setattr(checkpoint, "write_bytes", write)
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("set_to", "cost", "expected"), [("", 0.1, 10), ("", 30, 600), ("5", 30, 5), ("0", 30, 0)])
def test_writing_takes_a_twentieth_of_the_time_unless_seconds_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_to: str, cost: float, expected: float
) -> None:
    monkeypatch.setenv("REPLICATE_CHECKPOINT_SECONDS", set_to)
    now = clock_of(monkeypatch, cost)
    made = checkpoint.Checkpoints(tmp_path, example("train"))
    assert made.due() == (set_to == "0")
    now[0] += 10
    assert made.due()
    made.save(checkpoint.Snapshot(1, {"w": torch.ones(2)}, {}))
    now[0] += expected * 0.9
    assert made.due() == (expected == 0)
    now[0] += expected * 0.11
    assert made.due()


@pytest.mark.parametrize("text", ["abc", "nan", "-1", "inf", "10 s"])
def test_seconds_that_are_none(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("REPLICATE_CHECKPOINT_SECONDS", text)
    said = f"REPLICATE_CHECKPOINT_SECONDS is no number of seconds from 0 on: '{text}'"
    with pytest.raises(UserError, match=said):
        Job(tmp_path / "job", {"data": data}).run()


@pytest.mark.parametrize("damage", ["byte", "cut", "empty", "renamed"])
def test_a_damaged_checkpoint_is_skipped_for_the_one_before(
    data: Path, whole: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    job = Job(tmp_path / "job", {"data": data}, **VARIANTS["dropout"])
    job.stop(2)
    job.stop(2)
    old, new = job.checkpoints()
    content = new.read_bytes()
    middle = len(content) // 2
    damaged = {
        "byte": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "cut": content[:-9],
        "empty": b"",
        "renamed": content.replace(b"position", b"positiom"),
    }
    new.write_bytes(damaged[damage])
    with caplog.at_level(logging.WARNING):
        job.run()
    assert f"{new}: skipped" in caplog.text
    assert old.name not in caplog.text
    assert job.files() == whole["dropout"]


def test_a_checkpoint_of_another_payload_is_not_resumed(
    data: Path, whole: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Job(tmp_path / "job", {"data": data}, seed=4, **VARIANTS["dropout"])
    other.stop(2)
    job = Job(tmp_path / "job", {"data": data}, **VARIANTS["dropout"])
    job.run()
    assert "another payload" in caplog.text
    assert job.files() == whole["dropout"]


def failing(code: int, after: int = 0) -> Callable[[Path, bytes], None]:
    calls = []
    real = checkpoint.write_bytes

    def write(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) > after:
            raise OSError(code, "made up", str(path))
        real(path, content)

    return write


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_costs_checkpoints_and_nothing_else(
    data: Path,
    whole: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
) -> None:
    monkeypatch.setenv("REPLICATE_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr(checkpoint, "write_bytes", failing(code))
    job = Job(tmp_path / "job", {"data": data}, **VARIANTS["dropout"])
    job.run()
    assert "not written" in caplog.text
    assert job.files() == whole["dropout"]


def test_a_full_disk_leaves_the_last_checkpoint(
    data: Path, whole: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(tmp_path / "job", {"data": data}, **VARIANTS["dropout"])
    with monkeypatch.context() as patch:
        patch.setenv("REPLICATE_CHECKPOINT_SECONDS", "0")
        patch.setattr(checkpoint, "write_bytes", failing(errno.ENOSPC, after=1))
        assert "checkpoint-000000001" in job.stop(TOTAL - 1)
    job.run()
    assert job.files() == whole["dropout"]


def test_another_failure_to_write_a_checkpoint_is_not_hidden(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "write_bytes", failing(errno.EIO))
    with pytest.raises(OSError, match="made up"):
        Job(tmp_path / "job", {"data": data}).run(lambda: True)


def test_a_full_disk_for_the_final_weights_is_an_error_and_keeps_the_checkpoint(
    data: Path, whole: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_CHECKPOINT_SECONDS", "0")
    job = Job(tmp_path / "job", {"data": data}, **VARIANTS["dropout"])
    with monkeypatch.context() as patch:
        patch.setattr(train, "write_bytes", failing(errno.ENOSPC))
        with pytest.raises(OSError, match="made up"):
            job.run()
    assert job.checkpoints()[-1].name == f"checkpoint-{TOTAL:09d}.safetensors"
    job.run()
    assert job.files() == whole["dropout"]


def test_two_checkpoints_at_most_and_no_leftovers(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLICATE_CHECKPOINT_SECONDS", "0")
    job = Job(tmp_path / "job", {"data": data}, recipe=recipe(epochs=5))
    (job.folder / ".checkpoint-000000001.safetensors.x.tmp").write_bytes(b"of a killed process")
    most = []
    job.run(lambda: most.append(len(job.checkpoints())))
    assert max(most) == 2
    assert not list(job.folder.glob("*checkpoint-*"))


def test_a_loss_that_is_not_finite(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLICATE_CHECKPOINT_SECONDS", "0")
    job = Job(tmp_path / "job", {"data": data})
    real, calls = step_module.loss, []

    def broken(*arguments: Any) -> Any:
        calls.append(1)
        return real(*arguments) * (float("nan") if len(calls) == STEPS + 2 else 1.0)

    monkeypatch.setattr(step_module, "loss", broken)
    with pytest.raises(Diverged, match="epoch 2 of 2, step 2 of 3: loss nan") as caught:
        job.run()
    assert str(job.checkpoints()[-1]) in str(caught.value)


def test_weights_that_are_not_finite_are_found_at_the_end_of_the_epoch(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_CHECKPOINT_SECONDS", "0")
    job = Job(tmp_path / "job", {"data": data})
    real = Training.step

    def broken(self, epoch: int, step: int) -> Any:
        value = real(self, epoch, step)
        with torch.no_grad():
            self.network.head.bias[3] = float("inf")
        return value

    monkeypatch.setattr(Training, "step", broken)
    # The loss of step 2 would be infinite, too: one step an epoch shows the check of the weights.
    job.payload["recipe"] = recipe(batch=IMAGES, mix_batch=IMAGES)
    with pytest.raises(Diverged, match="weights that are not finite in epoch 1 of 2, step 1 of 1") as caught:
        job.run()
    assert "last good checkpoint: none" in str(caught.value)
    assert job.checkpoints() == []


def test_weights_that_are_not_finite_are_no_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the step after is the first to show them."""
    monkeypatch.setenv("REPLICATE_CHECKPOINT_SECONDS", "0")
    job = Job(tmp_path / "job", {"data": data})
    real = Training.step

    def broken(self, epoch: int, step: int) -> Any:
        value = real(self, epoch, step)
        if step == 1:
            with torch.no_grad():
                self.network.head.bias[3] = float("inf")
        return value

    monkeypatch.setattr(Training, "step", broken)
    with pytest.raises(Diverged, match="a loss that is not finite in epoch 1 of 2, step 3 of 3") as caught:
        job.run()
    assert "checkpoint-000000001" in str(caught.value)
    assert [path.name for path in job.checkpoints()] == ["checkpoint-000000001.safetensors"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="fp16 is available here")
def test_fp16_needs_a_gpu(data: Path, tmp_path: Path) -> None:
    job = Job(tmp_path / "job", {"data": data}, recipe=recipe(precision="fp16"))
    with pytest.raises(NotAvailable, match=r"recipe\.precision: 'fp16' needs a GPU"):
        job.run()


def test_the_curve(data: Path, tmp_path: Path) -> None:
    job = Job(tmp_path / "job", {"data": data}, recipe=recipe(epochs=4))
    values = []
    real = job.reports.append
    summary = job.run(report=lambda fields: (values.append(fields), real(fields)))
    curve = json.loads((job.folder / "curve.json").read_text())
    assert [line["epoch"] for line in curve] == [0, 1, 2, 3]
    assert [line["images"] for line in curve] == [96, 192, 288, 384]
    # Warm-up of one epoch: 1e-3 twice; then the cosine of 1/4 and 2/4 of pi from 3e-3 to 1e-5
    expected = [1e-3, 1e-3, 1e-5 + 2.99e-3 * 0.8535533906, (3e-3 + 1e-5) / 2]
    assert [line["lr"] for line in curve] == pytest.approx(expected, rel=1e-9)
    assert summary["loss"] == curve[-1]["loss"]
    assert summary["images"] == 384
    assert values[-1]["epoch"] == values[-1]["epochs"] == 4
    assert values[-1]["step"] == values[-1]["steps"] == STEPS


def test_the_curves_loss_is_the_mean_of_the_steps_even_of_a_stopped_epoch(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(tmp_path / "job", {"data": data})
    values = []
    real = Training.losses
    monkeypatch.setattr(Training, "losses", lambda self: values.extend(found := real(self)) or found)
    job.stop(2)
    job.run()
    curve = json.loads((job.folder / "curve.json").read_text())
    assert [line["loss"] for line in curve] == [sum(values[:3]) / 3, sum(values[3:]) / 3]


def test_validation_is_what_a_prediction_of_the_same_images_counts(data: Path, tmp_path: Path) -> None:
    job = Job(tmp_path / "job", {"data": data})
    job.run()
    curve = json.loads((job.folder / "curve.json").read_text())
    network = input_results.network(job.folder, SIZE, 10)
    images, labels = next(
        batches.evaluation_batches(input_results.data_set({"data": data}).test, SIZE, batches.PAPER, 256)
    )
    with torch.no_grad():
        correct = int((models.heads(network, images)["class"].argmax(dim=1) == labels).sum())
    assert curve[-1]["validation"] == pytest.approx(100 * correct / len(labels))


def test_a_validation_without_memory_goes_on_with_parts(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(tmp_path / "job", {"data": data})
    job.run()
    whole = job.files()
    sizes = memory_of(monkeypatch, 8, lambda network: not network.training)
    again = Job(tmp_path / "again", {"data": data})
    again.run()
    # 20 images; the second epoch's validation begins with what did fit.
    assert [size for size in sizes if size != BATCH] == [20, 10, 5, 5, 5, 5, 5, 5, 5, 5]
    assert again.files() == whole


def test_validation_reaches_the_last_class_of_a_sorted_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation_module, "VALIDATION_IMAGES", 6)
    job = Job(tmp_path / "job", {"data": data})
    test = input_results.data_set({"data": data}).test
    # 20 test images, every fourth
    assert Training(job.job, job.inputs).validation.labels.tolist() == test.labels[::4].tolist()


def test_it_learns(data: Path, tmp_path: Path) -> None:
    plain = recipe(epochs=16, erase=0.0, mixup=0.0, cutmix=0.0, label_smoothing=0.0, drop_path=0.0, flip=0.0)
    plain |= {"crop_scale": [1.0, 1.0], "lr": 1e-2}
    job = Job(tmp_path / "job", {"data": data}, recipe=plain)
    # log(10) = 2.3 is chance
    assert job.run()["loss"] < 1.5


def test_the_teacher_sees_the_students_images_in_evaluation_mode(
    data: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(tmp_path / "job", {"data": data, "teacher": teacher}, distillation=method())
    training = Training(job.job, job.inputs)
    seen = {}
    heads = models.heads

    def spy(network: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
        seen[network is training.lessons.teacher.network] = images.clone(), network.training, torch.is_grad_enabled()
        return heads(network, images)

    monkeypatch.setattr(models, "heads", spy)
    before = {name: tensor.clone() for name, tensor in training.lessons.teacher.network.state_dict().items()}
    training.step(1, 2)
    batch = training.batches.batch(1, 2)
    assert torch.equal(seen[True][0], batch.images)
    assert torch.equal(seen[False][0], batch.images)
    assert (seen[True][1:], seen[False][1:]) == ((False, False), (True, True))
    after = training.lessons.teacher.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def trained(data: Path, folder: Path, **fields: Any) -> bytes:
    job = Job(folder, {"data": data}, **fields)
    job.run()
    return job.files()["model.safetensors"]


def test_training_in_evaluation_mode_has_no_drop_path(data: Path, tmp_path: Path) -> None:
    without = trained(data, tmp_path / "a", recipe=recipe(drop_path=0.0))
    assert trained(data, tmp_path / "b", recipe=recipe(drop_path=0.3, train_mode=False)) == without
    assert trained(data, tmp_path / "c", recipe=recipe(drop_path=0.3)) != without


def test_drop_path_is_keyed_by_the_step(data: Path, tmp_path: Path) -> None:
    training = Training(Job(tmp_path / "job", {"data": data}).job, {"data": data})
    state = training.snapshot(0)
    state = checkpoint.Snapshot(0, {name: t.clone() for name, t in state.tensors.items()}, dict(state.state))
    training.step(0, 1)
    first = training.losses()
    training.restore(state)
    torch.rand(100)
    training.step(0, 1)
    assert training.losses() == first


def gradients(training: Training) -> Gradients:
    """Of step (0, 1), by parameter; the optimiser does not step."""
    batch = training.batches.batch(0, 1)
    value = training._gradients(batch.images, batch.targets, 0, 1)
    found = {name: parameter.grad.clone() for name, parameter in training.network.named_parameters()}
    training.optimizer.zero_grad(set_to_none=True)
    return float(value), found


def same_gradients(found: Gradients, wanted: Gradients) -> None:
    assert found[0] == pytest.approx(wanted[0], rel=1e-5)
    for name, value in found[1].items():
        assert torch.allclose(value, wanted[1][name], atol=1e-6), name


@pytest.mark.parametrize("micro", ["1", "7", "16", "1000"])
@pytest.mark.parametrize("how", ["none", "soft", "hard"])
def test_a_batch_in_parts_has_the_gradients_of_the_whole(
    data: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro: str, how: str
) -> None:
    fields = {"distillation": method(method=how, reduction="mean")} if how != "none" else {}
    job = Job(tmp_path / "job", inputs_for(fields, data, teacher), **fields)
    whole = gradients(Training(job.job, job.inputs))
    monkeypatch.setenv("REPLICATE_MICRO_BATCH", micro)
    training = Training(job.job, job.inputs)
    assert training.micro_batches.images == min(int(micro), BATCH)
    same_gradients(gradients(training), whole)


def memory_of(
    monkeypatch: pytest.MonkeyPatch, images: int, which: Callable[[nn.Module], bool] = lambda network: True
) -> list[int]:
    """Networks that run out of memory with more than so many images, of ``which``; the sizes they were given."""
    sizes = []
    heads = models.heads

    def forward(network: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        sizes.append(len(batch))
        if len(batch) > images and which(network):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return heads(network, batch)

    monkeypatch.setattr(models, "heads", forward)
    return sizes


def test_without_memory_for_the_batch_it_goes_on_with_parts(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = Job(tmp_path / "job", {"data": data})
    whole = gradients(Training(job.job, job.inputs))
    training = Training(job.job, job.inputs)
    sizes = memory_of(monkeypatch, 10)
    same_gradients(gradients(training), whole)
    assert sizes == [32, 16, 8, 8, 8, 8]
    assert "going on with 8 images at a time (REPLICATE_MICRO_BATCH)" in caplog.text
    gradients(training)
    assert sizes[6:] == [8, 8, 8, 8]


@pytest.mark.parametrize(("fields", "tried"), [({}, [32, 16, 8, 4, 2, 1]), ({"model": CONVNET}, [32])])
def test_what_does_not_fit_in_any_parts_fails(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: Any, tried: list[int]
) -> None:
    """BatchNorm's statistics are those of a group, so it is not split further."""
    job = Job(tmp_path / "job", {"data": data}, **fields)
    training = Training(job.job, job.inputs)
    sizes = memory_of(monkeypatch, 0)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        training.step(0, 0)
    assert sizes == tried


@pytest.mark.parametrize(("train_mode", "images"), [(True, 8), (False, 4)])
def test_batch_norm_sees_groups_whatever_the_memory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train_mode: bool, images: int
) -> None:
    monkeypatch.setenv("REPLICATE_MICRO_BATCH", "4")
    job = Job(tmp_path / "job", {"data": data}, model=CONVNET, recipe=recipe(train_mode=train_mode, mix_batch=8))
    assert Training(job.job, job.inputs).micro_batches.images == images


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_batch_norm_has_the_statistics_of_each_gpu_of_the_released_code(
    data: Path, tmp_path: Path, groups: int
) -> None:
    """Gradients are the mean over the GPUs', the running statistics those of the first one."""
    plain = recipe(mix_batch=BATCH // groups, drop_path=0.0)
    job = Job(tmp_path / "job", {"data": data}, model=CONVNET, recipe=plain)
    training, gpus = (Training(job.job, job.inputs) for _ in range(2))
    batch = training.batches.batch(0, 1)
    running, means = [], []
    for images, targets in zip(batch.images.chunk(groups), batch.targets.chunk(groups), strict=True):
        logits = models.heads(gpus.network, images.contiguous(memory_format=gpus.format))
        # As DistributedDataParallel: each backward pass adds its share of the mean.
        value = step_module.loss(logits, targets, None, None) * (1 / groups)
        value.backward()
        means.append(value.item())
        running.append({name: buffer.clone() for name, buffer in gpus.network.named_buffers()})
    value, found = gradients(training)
    assert value == pytest.approx(sum(means), rel=1e-6)
    for name, parameter in gpus.network.named_parameters():
        assert torch.equal(found[name], parameter.grad), name
    for name, buffer in training.network.named_buffers():
        assert torch.equal(buffer, running[0][name]), name


def test_each_epoch_leaves_a_line_as_it_ends(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    job = Job(tmp_path / "job", {"data": data})
    job.stop(STEPS + 1)
    (first,) = epochs.read(job.folder)
    with (job.folder / epochs.EPOCHS).open("a") as file:
        file.write(json.dumps({**asdict(first), "epoch": 2}) + '\n{"epoch": 3, "los')
    job.run()
    lines = epochs.read(job.folder)
    assert [line.epoch for line in lines] == list(range(1, EPOCHS + 1)), "an epoch that is done again has one line"
    assert lines[0] == first
    curve = json.loads((job.folder / "curve.json").read_text())
    assert [(line.loss, line.images) for line in lines] == [(point["loss"], point["images"]) for point in curve]
    for line in lines:
        assert 0 < line.waiting < line.seconds
        assert line.speed > 0
        assert line.memory_mb > 50
        assert (line.gpus, line.epochs) == (0, EPOCHS)
    assert lines[-1].left == 0
    assert f"epoch 1/{EPOCHS}: loss {first.loss:.4f}" in capfd.readouterr().out


@pytest.mark.parametrize("world", [4, 16])
def test_a_group_of_batch_norm_is_not_torn_between_processes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: int
) -> None:
    # The other processes, which share decoded images with this one, are not there.
    monkeypatch.setattr(shared_crops, "join", lambda *arguments: None)
    plain = recipe(mixup=0.0, cutmix=0.0, mix_prob=0.0, mix_batch=16)
    job = Job(tmp_path / "job", {"data": data}, model=CONVNET, recipe=plain)
    said = f"recipe.mix_batch does not divide {BATCH // world}, .*: got 16\n  .* use at most 2 processes"
    with pytest.raises(UserError, match=said):
        Training(job.job, job.inputs, Ranks(0, world))


@pytest.mark.parametrize("text", ["0", "-3", "many", "1.5"])
def test_a_micro_batch_that_is_none(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("REPLICATE_MICRO_BATCH", text)
    job = Job(tmp_path / "job", {"data": data})
    with pytest.raises(UserError, match=f"REPLICATE_MICRO_BATCH is no number of images from 1 on: '{text}'"):
        Training(job.job, job.inputs)


def test_a_training_whose_batches_are_made_ahead_is_the_same(
    data: Path, whole: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU does, but for the pinning, which needs one."""
    job = Job(tmp_path / "job", {"data": data}, **VARIANTS["dropout"])
    init, threads = Training.__init__, []

    def ahead(self, *arguments: Any) -> None:
        init(self, *arguments)
        self.prefetcher = step_module.Prefetcher(self._crops, EPOCHS * STEPS)
        threads.append(self.prefetcher)

    monkeypatch.setattr(Training, "__init__", ahead)
    before = threading.active_count()
    job.stop(2)
    job.run()
    assert len(threads) == 2
    assert threading.active_count() == before
    assert job.files() == whole["dropout"]


def test_the_average_of_the_weights(data: Path, tmp_path: Path) -> None:
    job = Job(tmp_path / "job", {"data": data}, recipe=recipe(ema=0.75))
    training = Training(job.job, job.inputs)
    expected = training.network.head.weight.detach().clone()
    for step in range(STEPS):
        training.step(0, step)
        expected = 0.75 * expected + 0.25 * training.network.head.weight.detach()
    assert torch.allclose(training.ema.module.head.weight, expected, atol=1e-7)
    assert not torch.equal(training.ema.module.head.weight, training.network.head.weight)


def test_fine_tuning_starts_from_the_weights_at_another_size(data: Path, tmp_path: Path) -> None:
    first = Job(tmp_path / "first", {"data": data})
    first.run()
    job = Job(tmp_path / "job", {"data": data, "init": first.folder}, size=32)
    training = Training(job.job, job.inputs)
    start = load_file(first.folder / "model.safetensors")
    assert torch.equal(training.network.head.weight, start["head.weight"])
    assert training.network.pos_embed.shape == (1, 17, 16)
    assert torch.equal(training.network.pos_embed[:, :1], start["pos_embed"][:, :1])
    assert training.optimizer.state_dict()["state"] == {}


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize(("same_data", "allowed"), [(False, True), (True, False)])
def test_new_heads_only_for_other_data(
    data: Path, tmp_path: Path, same_data: bool, allowed: bool, published: bool
) -> None:
    first = Job(tmp_path / "first", {"data": data})
    first.run()
    weights = load((first.folder / "model.safetensors").read_bytes())
    weights |= {"head.weight": torch.ones(7, 16), "head.bias": torch.ones(7)}
    (first.folder / "model.safetensors").write_bytes(checkpoint.weights_bytes(weights))
    payload = first.payload
    if published:
        # Published weights name their data set and read none.
        own = json.loads((data / "job.json").read_text())["payload"]["data"]
        payload = {"kind": "weights", "model": payload["model"], "size": SIZE, "data": own}
        payload |= {"distillation": None, "file": "model-01234567.pth"}
    if not same_data:
        payload |= {"data": own | {"seed": 2}} if published else {"inputs": {"data": "another"}}
    (first.folder / "job.json").write_text(json.dumps({"payload": payload}))
    job = Job(tmp_path / "job", {"data": data, "init": first.folder})
    if allowed:
        network = Training(job.job, job.inputs).network
        assert network.head.weight.shape == (10, 16)
        assert torch.equal(network.norm.weight, weights["norm.weight"])
    else:
        with pytest.raises(UserError, match=r"head\.weight"):
            Training(job.job, job.inputs)


def test_a_new_head_depends_on_the_seed(data: Path, tmp_path: Path) -> None:
    first = Job(tmp_path / "first", {"data": data})
    first.run()
    start = load_file(first.folder / "model.safetensors")
    found = {}
    for name, fields in {"kept": {}, "new": {}, "other": {"seed": 4}}.items():
        if name == "new":
            payload = first.payload | {"inputs": {"data": "another"}}
            (first.folder / "job.json").write_text(json.dumps({"payload": payload}))
        job = Job(tmp_path / name, {"data": data, "init": first.folder}, **fields)
        network = Training(job.job, job.inputs).network
        assert torch.equal(network.norm.weight, start["norm.weight"])
        found[name] = network.head.weight.detach()
    assert torch.equal(found["kept"], start["head.weight"])
    assert not torch.equal(found["new"], start["head.weight"])
    assert not torch.equal(found["new"], found["other"])


@pytest.mark.parametrize(("asked", "file"), [(None, "model"), ("last", "model"), ("ema", "ema")])
def test_it_starts_from_the_weights_that_are_asked_for(
    data: Path, tmp_path: Path, asked: str | None, file: str
) -> None:
    first = Job(tmp_path / "first", {"data": data}, recipe=recipe(ema=0.9))
    first.run()
    start = load_file(first.folder / f"{file}.safetensors")
    job = Job(tmp_path / "job", {"data": data, "init": first.folder}, **({"init_weights": asked} if asked else {}))
    assert torch.equal(Training(job.job, job.inputs).network.norm.weight, start["norm.weight"])


def test_two_class_tokens_need_no_teacher(data: Path, tmp_path: Path) -> None:
    how = method(method="label", token=True)
    job = Job(tmp_path / "job", {"data": data}, model=vit(True), distillation=how)
    training = Training(job.job, job.inputs)
    assert training.lessons is None
    before = training.network.head_dist.weight.detach().clone()
    training.step(0, 0)
    assert not torch.equal(training.network.head_dist.weight, before)


@pytest.mark.parametrize("norm", [0.0, 0.01, 1e6])
def test_gradients_are_scaled_down_to_the_norm(data: Path, tmp_path: Path, norm: float) -> None:
    """Plain SGD at a rate of 1 moves the weights by the gradient, so by ``norm`` where it is below the gradient's."""
    fields = {"optimizer": "sgd", "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0, "warmup_epochs": 0}
    job = Job(tmp_path / "job", {"data": data}, recipe=recipe(clip_norm=norm, **fields))
    training = Training(job.job, job.inputs)
    before = [parameter.detach().clone() for parameter in training.network.parameters()]
    training.step(0, 0)
    moved = [parameter.detach() - old for parameter, old in zip(training.network.parameters(), before, strict=True)]
    length = torch.cat([part.flatten() for part in moved]).norm().item()
    if norm == 0.01:
        assert length == pytest.approx(0.01, rel=1e-3)
    else:
        assert length > 0.1


def test_a_token_without_its_head_is_refused_before_the_first_step(data: Path, teacher: Path, tmp_path: Path) -> None:
    inputs = {"data": data, "teacher": teacher}
    job = Job(tmp_path / "job", inputs, model=vit(False), distillation=method(token=True))
    with pytest.raises(UserError, match="distillation token"):
        Training(job.job, job.inputs)


def test_a_teacher_without_weights_is_a_fault_of_the_store(data: Path, tmp_path: Path) -> None:
    teacher = Job(tmp_path / "teacher", {"data": data}, model=CONVNET)
    job = Job(tmp_path / "job", {"data": data, "teacher": teacher.folder}, distillation=method())
    with pytest.raises(StoreFault, match=r"model\.safetensors"):
        job.run()
