"""A step is given to the device without waiting for it, its losses are looked at every few steps, and torch may compile
it. There is no GPU here: what would wait for one is found by the operations that torch is asked for."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from test_train import CONVNET, STEPS, Job, data, method, recipe, run_killed, teacher, vit  # noqa: F401 - fixtures among them
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from replicate.engine import augmentation, compiled, models, train
from replicate.engine.checkpoint import Checkpoints
from replicate.engine.machine import machine_of
from replicate.engine.train import Looks, Training
from replicate.errors import Diverged, UserError
from replicate.store.machine import Machine

pytestmark = pytest.mark.torch

ASKS = {"aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero", "aten::masked_select", "aten::equal"}
"""Operations whose result the processor has to wait for."""


class Waits(TorchDispatchMode):
    """Counts what would make the processor wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.copies = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        out, name = func(*args, **given), func._schema.name
        if name in ASKS:
            self.found.append(name)
        if name == "aten::_to_copy" and out.device != args[0].device:
            self.copies += 1
            if not given.get("non_blocking"):
                self.found.append(f"{name} {args[0].device} to {out.device} {tuple(args[0].shape)}")
        return out


STEPS_OF = {
    "EMA, clipped": {"recipe": recipe(ema=0.9, clip_norm=1.0, dropout=0.1)},
    "sgd, bf16": {"recipe": recipe(optimizer="sgd", precision="bf16")},
    "hard, token": {"model": vit(True), "distillation": method(token=True)},
    "soft": {"distillation": method(method="soft")},
}


@pytest.mark.parametrize("how", STEPS_OF)
def test_no_step_waits_for_its_numbers(data: Path, teacher: Path, tmp_path: Path, how: str) -> None:  # noqa: F811
    fields: dict[str, Any] = STEPS_OF[how]
    inputs = {"data": data, "teacher": teacher} if "distillation" in fields else {"data": data}
    training = Training(Job(tmp_path / "job", inputs, **fields).job, inputs)
    with Waits() as waits:
        training.step(0, 0)
        training.step(0, 1)
    assert waits.found == []
    assert len(training.losses()) == 2


def test_the_scaling_of_fp16_waits_for_nothing(
    data: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    training = Training(Job(tmp_path / "job", {"data": data}).job, {"data": data})
    training.scaler = torch.amp.GradScaler("cpu")
    training.step(0, 0)
    with Waits() as waits:
        training.step(0, 1)
    assert waits.found == []


@pytest.mark.parametrize("has", [True, False])
def test_a_processor_without_bf16_says_so(
    data: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    has: bool,
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has)
    for precision in ("fp32", "bf16"):
        job = Job(tmp_path / precision, {"data": data}, recipe=recipe(precision=precision))
        with caplog.at_level(logging.WARNING):
            Training(job.job, job.inputs)
    said = [line.getMessage() for line in caplog.records]
    assert len(said) == (0 if has else 1)
    assert has or said[0].startswith("recipe.precision is 'bf16', of which this processor has no instructions")


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors without values on a device `cuda`. Neither a backward pass nor pinned memory can be had without one."""

    def real(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def outside(*arguments: Any) -> Any:
            with unset_fake_temporarily():
                return function(*arguments)

        monkeypatch.setattr(owner, name, outside)

    for owner, name in ((augmentation, "noisy_levels"), (models, "build"), (Training, "_crops")):
        real(owner, name)
    monkeypatch.setattr(models, "best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(train, "Validation", lambda *_: None)
    monkeypatch.setattr(torch, "Generator", MagicMock())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: None)
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)


@pytest.mark.usefixtures("fake_gpu")
def test_all_that_a_gpu_gets_it_copies_by_itself(data: Path, tmp_path: Path) -> None:  # noqa: F811
    plain = recipe(auto_augment="rand-m9-mstd0.5-inc1", ema=0.9)
    training = Training(Job(tmp_path / "job", {"data": data}, recipe=plain).job, {"data": data})
    try:
        with Waits() as waits:
            training.step(0, 0)
    finally:
        training.close()
    assert waits.copies > 5
    assert waits.found == []
    assert training._losses[0].device.type == "cuda"


def test_a_gpu_is_looked_at_after_some_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(train.time, "monotonic", lambda: now[0])
    for device, seconds, expected in (
        ("cuda", 1.0, 4),
        ("cuda", 0.02, 12),
        ("cuda", 1e-4, 64),
        ("cpu", 1.0, 1),
        ("cpu", 0.1, 2),
    ):
        looks = Looks(torch.device(device))
        assert looks.due(), "the first step is looked at"
        now[0] += seconds
        looks.steps = looks.next()
        assert looks.steps == expected
        assert [looks.due() for _ in range(expected)] == [False] * (expected - 1) + [True]


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks after 64 steps, so in these short trainings at the end of an epoch alone."""
    monkeypatch.setattr(Looks, "due", lambda self: bool(setattr(self, "_since", self._since + 1)))


@pytest.mark.usefixtures("seldom")
@pytest.mark.parametrize("bad", [1, 2, 3])
def test_the_first_loss_that_is_not_finite_is_named_by_its_step(
    data: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bad: int,
) -> None:
    """Steps after it were computed, and nothing of them is kept."""
    job = Job(tmp_path / "job", {"data": data})
    job.stop(STEPS)
    kept = job.checkpoints()
    steps = breaking(monkeypatch, bad)
    with pytest.raises(Diverged, match=f"a loss that is not finite in epoch 2 of 2, step {bad} of 3: loss nan") as told:
        job.run()
    assert len(steps) == STEPS
    assert job.checkpoints() == kept
    assert str(kept[0]) in str(told.value)


def breaking(monkeypatch: pytest.MonkeyPatch, bad: int) -> list[int]:
    """Make the loss of the step ``bad`` from now on NaN; the steps."""
    real, steps = train.loss, []

    def broken(*arguments: Any) -> Any:
        steps.append(1)
        return real(*arguments) * (float("nan") if len(steps) == bad else 1.0)

    monkeypatch.setattr(train, "loss", broken)
    return steps


@pytest.mark.usefixtures("seldom")
@pytest.mark.parametrize("why", ["asked to stop", "checkpoint due"])
def test_no_checkpoint_of_what_nobody_has_looked_at(
    data: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    why: str,
) -> None:
    """The loss of step 1 is looked at because step 2 is to be written."""
    job = Job(tmp_path / "job", {"data": data})
    breaking(monkeypatch, 1)
    calls = iter(range(1, 100))
    second = lambda *_: next(calls) >= 2  # noqa: E731
    if why == "checkpoint due":
        monkeypatch.setattr(Checkpoints, "due", second)
    with pytest.raises(Diverged, match="epoch 1 of 2, step 1 of 3: loss nan"):
        job.run(second if why == "asked to stop" else lambda: False)
    assert job.checkpoints() == []


def test_weights_that_are_not_finite_are_no_checkpoint_of_a_stop(
    data: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job, real = Job(tmp_path / "job", {"data": data}), Training.step

    def broken(self: Training, epoch: int, step: int) -> None:
        real(self, epoch, step)
        with torch.no_grad():
            self.network.get_parameter("head.bias")[3] = float("inf")

    monkeypatch.setattr(Training, "step", broken)
    with pytest.raises(Diverged, match="weights that are not finite in epoch 1 of 2, step 1 of 3"):
        job.run(lambda: True)
    assert job.checkpoints() == []


@pytest.mark.usefixtures("seldom")
def test_how_often_it_is_looked_at_changes_nothing(
    data: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seldom = Job(tmp_path / "seldom", {"data": data})
    seldom.run()
    monkeypatch.setattr(Looks, "due", lambda self: bool(setattr(self, "_since", self._since + 1)) or True)
    often = Job(tmp_path / "often", {"data": data})
    often.run()
    assert often.files() == seldom.files()


def test_what_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    long = compiled.LONG
    for word, expected in {
        "": [False, False, False, True],
        "auto": [False, False, False, True],
        "on": [True] * 4,
        "off": [False] * 4,
    }.items():
        monkeypatch.setenv("REPLICATE_COMPILE", word)
        given = [(long - 1, cpu), (long, cpu), (long - 1, gpu), (long, gpu)]
        assert [compiled.is_wanted(*each) for each in given] == expected
    monkeypatch.setenv("REPLICATE_COMPILE", "yes")
    with pytest.raises(UserError, match="REPLICATE_COMPILE is none of auto, on, off: 'yes'"):
        compiled.is_wanted(1, cpu)


@pytest.mark.parametrize("where", ["torch.compile", "forward", "backward"])
def test_where_it_cannot_compile_it_trains_all_the_same(
    data: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    """To the same bytes as without, BatchNorm's statistics among them, with one message."""
    plain = Job(tmp_path / "plain", {"data": data}, model=CONVNET)
    plain.run()
    monkeypatch.setenv("REPLICATE_COMPILE", "on")
    monkeypatch.setattr(torch, "compile", failing(where))
    job = Job(tmp_path / "job", {"data": data}, model=CONVNET)
    with caplog.at_level(logging.WARNING):
        job.run()
    (said,) = [line.getMessage() for line in caplog.records]
    assert said.startswith("torch.compile failed, going on without it (REPLICATE_COMPILE=off): RuntimeError: no g++")
    assert "\n" not in said
    assert job.files() == plain.files()
    assert machine_of(job.job).compiled == "no"


def failing(where: str) -> Any:
    class Breaks(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
            raise RuntimeError("no g++\nand much more")

    def compile_(module: torch.nn.Module, dynamic: bool) -> Any:
        def forward(images: torch.Tensor) -> Any:
            logits = module(images)
            if where == "forward":
                raise RuntimeError("no g++\nand much more")
            return {name: Breaks.apply(part) for name, part in logits.items()}

        if where == "torch.compile":
            raise RuntimeError("no g++\nand much more")
        return forward

    return compile_


def test_what_was_compiled_is_recorded_over_restarts(
    data: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "compile", lambda module, dynamic: module)
    monkeypatch.setenv("REPLICATE_COMPILE", "on")
    whole = Job(tmp_path / "whole", {"data": data})
    whole.run()
    assert machine_of(whole.job).compiled == "yes"
    job = Job(tmp_path / "job", {"data": data})
    job.stop(2)
    monkeypatch.setenv("REPLICATE_COMPILE", "off")
    job.run()
    found = machine_of(job.job)
    assert found.compiled == "partly"
    assert "compiled partly" in found.precision
    assert found.changes(Machine.of(found.recorded() | {"compiled": "no"})) == ["compiled partly → no"]
    assert found.changes(Machine.of(found.recorded())) == []
    # What an older version recorded was not compiled.
    eager = Machine.of(found.recorded() | {"compiled": "no"})
    older = Machine.of({name: given for name, given in eager.recorded().items() if name != "compiled"})
    assert eager.changes(older) == older.changes(eager) == []
    assert "compiled" not in eager.precision


def test_jobs_share_what_was_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(compiled.CACHE, raising=False)
    monkeypatch.setenv(compiled.THREADS, "3")
    compiled.share_cache(tmp_path, torch.device("cpu"))
    assert os.environ[compiled.CACHE] == str(tmp_path / ".compiled")
    assert os.environ[compiled.THREADS] == "3"
    monkeypatch.setenv(compiled.CACHE, "mine")
    compiled.share_cache(tmp_path, torch.device("cpu"))
    assert os.environ[compiled.CACHE] == "mine"


@pytest.mark.slurm_fault
def test_a_compiled_training_is_the_training(
    data: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With torch's own compiler: minutes of a busy core."""
    losses = {}
    for word in ("off", "on"):
        monkeypatch.setenv("REPLICATE_COMPILE", word)
        job = Job(tmp_path / word, {"data": data}, recipe=recipe(ema=0.9))
        job.run()
        losses[word] = [point["loss"] for point in json.loads((job.folder / "curve.json").read_text())]
    assert machine_of(job.job).compiled == "yes"
    assert losses["on"] == pytest.approx(losses["off"], rel=1e-4)
    again = Job(tmp_path / "again", {"data": data}, recipe=recipe(ema=0.9))
    run_killed(again, STEPS + 1)
    again.run()
    assert again.files() == job.files()
    unique = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert unique <= 3, "compiled once for each training, not once a step"
