"""Processes that decode: the same bytes, those killed replaced, none left behind, a few batches ahead and no more."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from paper_recipe import data_job, recipe
from test_ranks import payload, write_job

from replicate.backends import worker
from replicate.engine import batches, shared_crops, train
from replicate.engine.batches import THREADS_PAY, TrainBatches, decode_in_processes, epoch_order
from replicate.engine.data import ArraySplit, DataSet, make_data
from replicate.engine.decoders import DEATHS, Decoders
from replicate.engine.prefetcher import Prefetcher
from replicate.engine.ranks import Ranks
from replicate.engine.shared_crops import AHEAD
from replicate.engine.sources.shapes import render_split
from replicate.errors import JobError, UserError
from replicate.jobs.job import from_payload
from replicate.jobs.train import Train

pytestmark = pytest.mark.torch

MEAN, STD = (0.3, 0.25, 0.2), (0.2, 0.25, 0.3)
CPU = torch.device("cpu")
SIZE, COUNT = 16, 3
RECIPE = recipe()
SPLITS = [ArraySplit(*render_split(0, part, 256, 24), MEAN, STD) for part in ("train", "test")]


class Trap(ArraySplit):
    """Kills who decodes an image of the second batch, or refuses it, while ``file`` is there; ``once`` removes it."""

    def __init__(self, file: Path, how: str) -> None:
        super().__init__(*render_split(0, "train", 256, 24), MEAN, STD)
        self.file, self.how = file, how
        self.deadly = epoch_order(256, RECIPE.repeats, 0, 0)[RECIPE.batch + 9]

    def image(self, index: int) -> torch.Tensor:
        if self.file.exists() and index == self.deadly:
            if self.how == "refused":
                raise UserError("x.JPEG is no readable image")
            if self.how == "once":
                self.file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().image(index)


def stream(train: ArraySplit = SPLITS[0]) -> TrainBatches:
    shared = shared_crops.join(Ranks(), CPU, (RECIPE.batch, 3, SIZE, SIZE), decoders=True)
    assert shared is not None
    return TrainBatches(DataSet(train, SPLITS[1], 10, MEAN, STD), RECIPE, SIZE, 0, shared=shared, decoders=COUNT)


def check(made: TrainBatches, positions: range) -> None:
    alone = TrainBatches(DataSet(*SPLITS, 10, MEAN, STD), RECIPE, SIZE, 0)
    for position in positions:
        epoch, step = divmod(position, alone.steps_per_epoch)
        found, wanted = made.batch(epoch, step), alone.batch(epoch, step)
        assert torch.equal(found.images, wanted.images)
        assert torch.equal(found.targets, wanted.targets)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(reached: Any) -> None:
    end = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def made() -> Iterator[TrainBatches]:
    found = stream()
    yield found
    found.close()


def test_processes_change_nothing(made: TrainBatches) -> None:
    """From any position on, as after a restart, and past the end of an epoch."""
    check(made, range(2, 7))


def test_out_of_their_order_batches_are_made_by_threads(made: TrainBatches) -> None:
    check(made, range(3))
    check(made, range(1, 3))


def test_one_that_is_killed_is_replaced(made: TrainBatches, capsys: pytest.CaptureFixture[str]) -> None:
    check(made, range(2))
    before = made.decoders.processes if made.decoders else []
    os.kill(before[1], signal.SIGKILL)
    check(made, range(2, 6))
    after = made.decoders.processes if made.decoders else []
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]
    assert capsys.readouterr().out == (
        "a process that decodes images was killed by signal 9: another one makes its part of the batch again\n"
    )


def test_one_that_is_killed_while_it_decodes_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trap").touch()
    made = stream(Trap(tmp_path / "trap", "once"))
    check(made, range(4))
    made.close()
    assert capsys.readouterr().out.count("killed by signal 9") == 1
    assert not (tmp_path / "trap").exists()


def test_a_batch_that_kills_them_again_and_again_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "trap").touch()
    made = stream(Trap(tmp_path / "trap", "always"))
    with pytest.raises(JobError, match=f"^decoding failed {DEATHS} times in one batch: .* was killed by signal 9"):
        check(made, range(4))
    made.close()


def test_what_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    (tmp_path / "trap").touch()
    made = stream(Trap(tmp_path / "trap", "refused"))
    with pytest.raises(UserError, match=r"^x\.JPEG is no readable image"):
        check(made, range(4))
    made.close()


def test_no_more_batches_are_made_ahead_than_may_be(tmp_path: Path) -> None:
    """A thread asks for them, and whoever takes none leaves the processes idle."""
    made = stream()
    assert made.decoders is not None
    begun, begin = [], made.decoders.begin
    made.decoders.begin = lambda position: (begun.append(position), begin(position))  # type: ignore[method-assign]
    ahead = Prefetcher(lambda position: made.crops(*divmod(position, made.steps_per_epoch)), 12)
    for position in range(12):
        ahead(position)
        # The thread asks for one more.
        assert max(begun) <= position + 1 + AHEAD
    ahead.close()
    made.close()
    assert begun == list(range(12)), "each once, and none after the last of three epochs"


def test_they_end_when_they_are_closed(made: TrainBatches) -> None:
    check(made, range(1))
    processes = made.decoders.processes if made.decoders else []
    assert len(processes) == COUNT
    assert all(map(alive, processes))
    made.close()
    until(lambda: not any(map(alive, processes)))


def test_they_end_with_their_parent_however_it_ends() -> None:
    """Also those that were forked after others."""
    context: Any = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def parent() -> None:
        decoders = Decoders(lambda position, number: None, COUNT)
        os.kill(decoders.processes[0], signal.SIGKILL)
        decoders.begin(0)
        decoders.finish(0)
        sender.send(decoders.processes)
        time.sleep(60)

    process = context.Process(target=parent)
    process.start()
    processes = receiver.recv()
    assert all(map(alive, processes))
    process.kill()
    process.join()
    until(lambda: not any(map(alive, processes)))


def test_a_training_ends_in_the_same_bytes_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = from_payload(payload(epochs=1))
    data = data_job(
        {"source": "digits", "version": 1, "classes": 10, "size": 16, "seed": 1} | {"skip": 0, "train": 96, "test": 20}
    )
    inputs = {"data": tmp_path / "data"}
    inputs["data"].mkdir()
    make_data(data, inputs["data"])
    write_job(inputs["data"], data.payload)
    begun, begin = [], Decoders.begin
    weights = []
    for workers, name in ((0, "alone"), (2, "processes")):
        (tmp_path / name).mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(batches, "decode_workers", lambda device, workers=workers: workers)
            patch.setenv("REPLICATE_DECODE_WITH", "processes")
            patch.setattr(Decoders, "begin", lambda self, position: (begun.append(position), begin(self, position)))
            assert isinstance(job, Train)
            train.run(job, inputs, tmp_path / name, lambda fields: None, lambda: False)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert begun == [0, 1, 2]
    until(lambda: not multiprocessing.active_children())


def test_processes_pay_where_threads_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPLICATE_DECODE_WITH", raising=False)
    assert [decode_in_processes(workers) for workers in (0, 1, THREADS_PAY, THREADS_PAY + 1)] == [False] * 3 + [True]
    monkeypatch.setenv("REPLICATE_DECODE_WITH", "processes")
    assert [decode_in_processes(workers) for workers in (0, 1, 64)] == [False, True, True]
    monkeypatch.setenv("REPLICATE_DECODE_WITH", "threads")
    assert not decode_in_processes(64)
    monkeypatch.setenv("REPLICATE_DECODE_WITH", "gpus")
    with pytest.raises(UserError, match="is neither threads nor processes: 'gpus'"):
        decode_in_processes(1)


def test_what_decoders_took_counts_as_the_job_s() -> None:
    def busy(position: int, number: int) -> None:
        begun = time.process_time()
        while time.process_time() - begun < 0.1:
            pass

    before = worker._processor_seconds()
    decoders = Decoders(busy, 2)
    decoders.begin(0)
    decoders.finish(0)
    decoders.close()
    assert worker._processor_seconds() - before >= 0.2
