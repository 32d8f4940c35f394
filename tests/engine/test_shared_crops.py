"""Processes of a machine share decoded images: each image once, the same bytes, and none waits for one that is gone."""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from paper_recipe import recipe
from torch import distributed

from replicate.engine import shared_crops
from replicate.engine.batches import Batch, TrainBatches
from replicate.engine.data import ArraySplit, DataSet
from replicate.engine.ranks import Ranks
from replicate.engine.sources.shapes import render_split
from replicate.specs.recipe import Recipe

pytestmark = pytest.mark.torch

MEAN, STD = (0.3, 0.25, 0.2), (0.2, 0.25, 0.3)
CPU = torch.device("cpu")
SIZE, STEPS = 16, 4
TORN = recipe(mix_batch=32)
"""Two mix groups of 32: four processes tear them."""
WHOLE = recipe(mix_batch=8)


class Counted(ArraySplit):
    decoded = 0

    def image(self, index: int) -> torch.Tensor:
        self.decoded += 1
        return super().image(index)


def data_set() -> DataSet:
    splits = [Counted(*render_split(0, part, 256, 24), MEAN, STD) for part in ("train", "test")]
    return DataSet(*splits, 10, MEAN, STD)


DATA = data_set()


def stream(team: Ranks, chosen: Recipe, decoders: int = 0) -> TrainBatches:
    shared = shared_crops.join(team, CPU, (chosen.batch, 3, SIZE, SIZE), decoders > 0)
    return TrainBatches(DATA, chosen, SIZE, 0, team.rank, team.world_size, shared=shared, decoders=decoders)


def batches(team: Ranks, chosen: Recipe, before: Callable[[Ranks, int], None] = lambda team, step: None) -> Any:
    """Images and targets of each step, and how many images were decoded for them."""
    made, decoded = stream(team, chosen), DATA.train.decoded
    found = []
    for step in range(STEPS):
        before(team, step)
        batch = made.batch(0, step)
        found.append((batch.images.numpy().copy(), batch.targets.numpy().copy()))
    made.close()
    return found, DATA.train.decoded - decoded


def _child(rank: int, world: int, store: Path, body: Callable[[Ranks], Any], sender: Any, log: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{store}", timedelta(seconds=60), world, rank)
    with log.open("a") as lines, redirect_stdout(lines):
        sender.send(body(Ranks(rank, world)))


def together(tmp_path: Path, world: int, body: Callable[[Ranks], Any]) -> list[Any]:
    """What ``body`` returns in each of ``world`` processes; None of one that was killed. Their lines: `said`."""
    context: Any = multiprocessing.get_context("fork")
    started = []
    for rank in range(world):
        receiver, sender = context.Pipe(duplex=False)
        args = (rank, world, tmp_path / "store", body, sender, tmp_path / "log")
        process = context.Process(target=_child, args=args)
        process.start()
        sender.close()
        started.append((process, receiver))
    (tmp_path / "pids").write_text(" ".join(str(process.pid) for process, _ in started))
    found: list[Any] = []
    for process, receiver in started:
        try:
            assert receiver.poll(60), "it hangs"
            found.append(receiver.recv())
        except EOFError:
            found.append(None)
        finally:
            process.join(1)
            process.kill()
    return found


def said(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


def check(parts: list[Any], chosen: Recipe, ranks: range | None = None) -> None:
    """``parts`` of the processes ``ranks`` are those of whole batches, made alone."""
    alone = TrainBatches(DATA, chosen, SIZE, 0)
    share = chosen.batch // len(parts)
    for step in range(STEPS):
        whole: Batch = alone.batch(0, step)
        for rank in ranks or range(len(parts)):
            rows = slice(rank * share, (rank + 1) * share)
            images, targets = parts[rank][0][step]
            assert torch.equal(torch.from_numpy(images), whole.images[rows])
            assert torch.equal(torch.from_numpy(targets), whole.targets[rows])


@pytest.mark.parametrize(("world", "chosen"), [(2, WHOLE), (4, TORN), (8, TORN)])
def test_an_image_is_decoded_once_for_all_processes(tmp_path: Path, world: int, chosen: Recipe) -> None:
    parts = together(tmp_path, world, lambda team: batches(team, chosen))
    check(parts, chosen)
    shown = -(-chosen.batch // chosen.repeats)
    # An image at the end of a batch may have its last copy in the next.
    assert STEPS * shown <= sum(decoded for _, decoded in parts) <= STEPS * (shown + 1)
    assert said(tmp_path) == []


def test_processes_that_share_may_have_processes_that_decode(tmp_path: Path) -> None:
    """One here, two there."""

    def body(team: Ranks) -> Any:
        made, before = stream(team, TORN, 1 + team.rank), DATA.train.decoded
        found = [made.batch(0, step) for step in range(STEPS)]
        made.close()
        return [(batch.images.numpy(), batch.targets.numpy()) for batch in found], DATA.train.decoded - before

    parts = together(tmp_path, 2, body)
    check(parts, TORN)
    assert [decoded for _, decoded in parts] == [0, 0]
    assert said(tmp_path) == []


def test_processes_of_two_machines_share_on_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_crops, "_machine", lambda: distributed.get_rank() // 2)
    parts = together(tmp_path, 4, lambda team: batches(team, TORN))
    check(parts, TORN)
    shown = -(-TORN.batch // TORN.repeats)
    assert STEPS * shown <= sum(decoded for _, decoded in parts) <= 2 * STEPS * (shown + 1)
    assert said(tmp_path) == ["each of 2 machines decodes the images of its own processes"]


@pytest.mark.parametrize("where", ["memfd_create", "posix_fallocate"])
def test_without_shared_memory_each_decodes_its_own(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        if distributed.get_rank() != 1 or where == "memfd_create":
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, where, full)
    parts = together(tmp_path, 4, lambda team: batches(team, WHOLE))
    check(parts, WHOLE)
    assert said(tmp_path) == ["processes share no images: No space left on device; each decodes its own"]


def test_a_small_dev_shm_is_enough(tmp_path: Path) -> None:
    """As containers have it; crops of a step here are 98 kB."""

    def body(team: Ranks) -> Any:
        libc = ctypes.CDLL(None)
        if libc.unshare(0x20000) or libc.mount(None, b"/", None, 0x44000, None):
            return "may not mount"
        assert libc.mount(b"none", b"/dev/shm", b"tmpfs", 0, b"size=64k") == 0
        assert os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize == 1 << 16
        made, first = stream(team, TORN), team.gather([os.getpid()], CPU)[0][0]
        assert f"memfd:crops-{first} " in Path("/proc/self/maps").read_text()
        made.close()
        found = batches(team, TORN)
        assert os.listdir("/dev/shm") == []
        return found

    parts = together(tmp_path, 2, body)
    if "may not mount" in parts:
        pytest.skip("needs to mount a file system")
    check(parts, TORN)
    assert said(tmp_path) == []


@pytest.mark.parametrize("victim", [0, 2])
def test_none_waits_for_a_process_that_was_killed(tmp_path: Path, victim: int) -> None:
    """The first has made the memory."""

    def die(team: Ranks, step: int) -> None:
        if step == 2 and team.rank == victim:
            os.kill(os.getpid(), signal.SIGKILL)

    begun = time.monotonic()
    parts = together(tmp_path, 4, lambda team: batches(team, TORN, die))
    assert time.monotonic() - begun < 20
    assert parts[victim] is None
    for rank in {0, 1, 2, 3} - {victim}:
        check(parts, TORN, range(rank, rank + 1))
    assert "processes share images no longer: one of them is gone; each decodes its own" in said(tmp_path)
    first = (tmp_path / "pids").read_text().split()[0]
    assert not any(f"memfd:crops-{first} " in maps for maps in _all_maps())


def test_a_process_that_hangs_is_waited_for_no_longer_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_crops, "PATIENCE", 0.5)

    def hang(team: Ranks, step: int) -> None:
        if step == 2 and team.rank == 1:
            time.sleep(3)

    parts = together(tmp_path, 2, lambda team: batches(team, TORN, hang))
    check(parts, TORN)
    lines = said(tmp_path)
    assert lines == ["processes share images no longer: one of them has made nothing for 0 s; each decodes its own"]


def test_batches_out_of_their_order_are_decoded_alone(tmp_path: Path) -> None:
    def body(team: Ranks) -> Any:
        made = stream(team, TORN)
        order = (0, 1, 3, 1) if team.rank == 1 else (0, 1, 2, 3)
        return [made.batch(0, step).images.numpy() for step in order]

    found = together(tmp_path, 2, body)
    alone = TrainBatches(DATA, TORN, SIZE, 0)
    for rank, order in enumerate([(0, 1, 2, 3), (0, 1, 3, 1)]):
        for step, images in zip(order, found[rank], strict=True):
            wanted = alone.batch(0, step).images[32 * rank : 32 * rank + 32]
            assert torch.equal(torch.from_numpy(images), wanted)


def _all_maps() -> list[str]:
    """What every process of this machine has in its memory, as far as that may be read."""
    found = []
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            found.append(maps.read_text())
        except OSError:
            continue
    return found
