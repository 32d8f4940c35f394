"""No job is computed twice at a time, and no claim outlives who made it."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import environment
from racing import KEYS, Journal, faults, race, work

from replicate.store import lease
from replicate.store.store import Store


def test_racing_processes_compute_nothing_twice(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    racers = [context.Process(target=race, args=(str(tmp_path), barrier)) for _ in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0, 0]
    for number in range(KEYS):
        folder = tmp_path / f"job-{number}"
        names = sorted(path.name for path in folder.iterdir())
        assert len(names) == 2, names
        assert names[1] == "done"


def stress(root: Path, seconds: float, processes: int, kills_a_second: float) -> Journal:
    """Processes at work on one store, of which one after the other is killed and replaced."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["racing"])
    journal, dice, numbers = Journal(root / "journal"), random.Random(11), itertools.count()
    store = root / "results"
    store.mkdir()
    journal.path.touch()
    deadline = time.monotonic() + seconds

    def start() -> Any:
        left = max(deadline - time.monotonic(), 0.1)
        number = next(numbers)
        seed = dice.randrange(10**9)
        process = context.Process(
            target=work, args=(str(store), str(journal.path), number, seed, left), name=str(number)
        )
        process.start()
        return process

    at_work = [start() for _ in range(processes)]
    while time.monotonic() < deadline:
        time.sleep(dice.expovariate(kills_a_second))
        victim = at_work.pop(dice.randrange(processes))
        # Before it, since the next one may take the key before this process goes on.
        journal.write("kill", "-", int(victim.name))
        victim.kill()
        victim.join(20)
        assert victim.exitcode in {0, -9}
        at_work.append(start())
    for process in at_work:
        process.join(20)
    assert [process.exitcode for process in at_work] == [0] * processes
    return journal


def check_stress(root: Path, seconds: float, kills_a_second: float) -> None:
    journal = stress(root, seconds, 8, kills_a_second)
    assert journal.at_once() == []
    assert (journal.count("damage"), journal.count("wrong")) == (0, 0)
    # Few enough for a machine that is busy with other things.
    assert journal.count("end") > 5
    assert journal.count("kill") > 5
    assert faults(Store(root / "results")) == []
    # What was moved away is whole, too.
    for path in (root / "results" / ".aside").glob("*/predict-*"):
        assert Store(path.parent).result(path.name) is not None


def test_processes_that_are_killed_leave_whole_results_and_no_claim(tmp_path: Path) -> None:
    check_stress(tmp_path, 8, 4)


@pytest.mark.slurm_fault
def test_a_minute_of_it(tmp_path: Path) -> None:
    check_stress(tmp_path, 60, 10)


def owner(**changes: object) -> dict[str, Any]:
    here = lease.Owner.here()
    return {"host": here.host, "pid": here.pid, "started": here.started} | changes


def claimed(folder: Path, body: object) -> Path:
    (folder / "claim").mkdir()
    (folder / "claim" / "owner.json").write_text(body if isinstance(body, str) else json.dumps(body))
    return folder


def test_a_claim_is_never_seen_without_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    write = lease.write_json

    def look_first(path: Path, value: object) -> None:
        seen.append((tmp_path / "claim").exists())
        write(path, value)

    monkeypatch.setattr(lease, "write_json", look_first)
    assert lease.acquire(tmp_path)
    assert seen == [False]
    assert lease.holder(tmp_path) == lease.Owner.here()


def test_a_claim_of_a_living_process_stands(tmp_path: Path) -> None:
    assert lease.acquire(tmp_path)
    assert lease.holder_alive(tmp_path)
    assert not lease.acquire(tmp_path)
    lease.release(tmp_path)
    assert not lease.holder_alive(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert lease.acquire(tmp_path)


def test_a_killed_owner_is_healed(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from replicate.store import lease
print(lease.acquire(Path({str(tmp_path)!r})), flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        assert not lease.acquire(tmp_path)
        process.kill()
        # Not collected yet: a zombie has its number still, and is gone all the same.
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        assert not lease.holder_alive(tmp_path)
        assert lease.acquire(tmp_path)


def test_a_later_process_with_the_same_number_is_another_one(tmp_path: Path) -> None:
    claimed(tmp_path, owner(started=lease.Owner.here().started - 1))
    assert not lease.holder_alive(tmp_path)
    assert lease.acquire(tmp_path)


@pytest.mark.parametrize("body", ["", "{", "[]", "{}", '{"host": "h", "pid": -1, "started": 0}'])
def test_a_claim_without_a_readable_owner_is_damaged_and_removed(tmp_path: Path, body: str) -> None:
    claimed(tmp_path, body)
    assert not lease.holder_alive(tmp_path)
    assert lease.acquire(tmp_path)
    assert lease.holder_alive(tmp_path)


def test_an_empty_claim_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "claim").mkdir()
    assert lease.acquire(tmp_path)
    assert lease.holder(tmp_path) == lease.Owner.here()


def test_a_claim_of_another_host_stands_and_says_whose_it_is(tmp_path: Path) -> None:
    claimed(tmp_path, owner(host="gpu17", pid=1))
    assert not lease.acquire(tmp_path)
    found = lease.holder(tmp_path)
    assert found is not None
    assert (found.host, found.pid) == ("gpu17", 1)


def silent(folder: Path, seconds: float) -> Path:
    """Of another host, with the last sign of life ``seconds`` ago."""
    claimed(folder, owner(host="gpu17"))
    then = time.time() - seconds
    os.utime(folder / "claim" / "owner.json", (then, then))
    return folder


def test_a_silent_claim_of_another_host_is_broken_by_whoever_asks_for_its_silence(tmp_path: Path) -> None:
    """Breaking makes a folder in the claim, which must not count as a sign of life."""
    silent(tmp_path, 3600)
    assert not lease.acquire(tmp_path, lambda _, silence: silence > 7200)
    assert lease.acquire(tmp_path, lambda _, silence: silence > 900)
    assert lease.holder(tmp_path) == lease.Owner.here()
    assert [path.name for path in tmp_path.iterdir()] == ["claim"]


def test_a_claim_of_another_host_is_abandoned_after_a_day_of_silence(tmp_path: Path) -> None:
    silent(tmp_path, lease.ABANDONED - 600)
    assert lease.holder_alive(tmp_path)
    assert not lease.acquire(tmp_path)
    os.utime(tmp_path / "claim" / "owner.json", (0, 0))
    assert not lease.holder_alive(tmp_path)
    assert lease.acquire(tmp_path)


def test_a_claim_dated_by_a_clock_that_was_ahead_ages_from_now_on(tmp_path: Path) -> None:
    """A night died on another host while that clock was three years ahead: it would block all nights until then."""
    silent(tmp_path, -3 * 365 * 86400)
    assert not lease.acquire(tmp_path)
    assert 0 <= lease.silence(tmp_path) < 60
    ahead = time.time() + 30
    os.utime(tmp_path / "claim" / "owner.json", (ahead, ahead))
    assert not lease.acquire(tmp_path)
    assert lease.silence(tmp_path) < 0


def test_silence_says_nothing_of_a_process_of_this_host(tmp_path: Path) -> None:
    assert lease.acquire(tmp_path)
    os.utime(tmp_path / "claim" / "owner.json", (0, 0))
    assert lease.holder_alive(tmp_path)
    assert lease.renew(tmp_path)
    assert lease.silence(tmp_path) < 60


def test_who_finds_the_claim_taken_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT", 0.01)
    assert lease.acquire(tmp_path)
    lost = threading.Event()
    with lease.beating(tmp_path, lost.set):
        os.utime(tmp_path / "claim" / "owner.json", (0, 0))
        deadline = time.monotonic() + 10
        while lease.silence(tmp_path) > 60 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lease.silence(tmp_path) < 60
        assert not lost.is_set()
        (tmp_path / "claim" / "owner.json").write_text(json.dumps(owner(host="gpu17")))
        assert lost.wait(10)
        assert not lease.renew(tmp_path)


def test_who_breaks_a_claim_that_was_renewed_meanwhile_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and breaking, the dead claim was replaced by that of a living process."""
    claimed(tmp_path, owner())
    monkeypatch.setattr(lease, "holder_alive", lambda *_: False)
    assert not lease.acquire(tmp_path)
    assert lease.holder(tmp_path) == lease.Owner.here()
    assert [path.name for path in (tmp_path / "claim").iterdir()] == ["owner.json"]


def broken_by(folder: Path, body: object) -> Path:
    """A dead lease that another process was removing."""
    claimed(folder, owner(started=1))
    return claimed(folder / "claim", body)


def test_a_breaker_that_was_killed_blocks_nobody(tmp_path: Path) -> None:
    broken_by(tmp_path, owner(started=2))
    assert lease.acquire(tmp_path)


def test_breakers_that_were_killed_one_after_the_other_block_nobody(tmp_path: Path) -> None:
    claimed(broken_by(tmp_path, owner(started=2)) / "claim", owner(started=3))
    assert lease.acquire(tmp_path)
    assert [path.name for path in (tmp_path / "claim").iterdir()] == ["owner.json"]


def test_a_living_breaker_is_left_to_it_however_slow_it_is(tmp_path: Path) -> None:
    broken_by(tmp_path, owner())
    os.utime(tmp_path / "claim" / "claim" / "owner.json", (0, 0))
    assert not lease.acquire(tmp_path)


@pytest.mark.parametrize("then", [0, 2**32], ids=["silent", "a clock that was ahead"])
def test_a_breaker_of_another_host_is_gone_after_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: int
) -> None:
    sign = broken_by(tmp_path, owner(host="gpu17")) / "claim" / "owner.json"
    assert not lease.acquire(tmp_path)
    os.utime(sign, (then, then))
    monkeypatch.setattr(lease, "_GRACE", 0.05)
    # Dated ahead, it ages from the first look on.
    lease.acquire(tmp_path)
    time.sleep(0.1)
    assert lease.acquire(tmp_path) or lease.holder(tmp_path) == lease.Owner.here()


def test_a_breaker_that_was_stopped_for_long_takes_no_living_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped after its last look; meanwhile another host removes the dead lease, and takes the job."""
    claimed(tmp_path, owner(started=1))
    remove = lease._discard

    def stopped(of: Path, holder: lease.Owner | None) -> bool:
        if of == tmp_path / "claim":
            shutil.rmtree(of)
            claimed(tmp_path, owner(host="gpu17"))
        return remove(of, holder)

    monkeypatch.setattr(lease, "_discard", stopped)
    assert not lease.acquire(tmp_path)
    found = lease.holder(tmp_path)
    assert found is not None
    assert found.host == "gpu17"


def test_a_lease_that_landed_in_a_folder_moved_away_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel finds the folder, and before it renames in it, the holder moves it away and gives it up."""
    folder, aside = tmp_path / "job", tmp_path / "aside"
    folder.mkdir()
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        found = rename(self, target)
        if target == folder / "claim":
            rename(folder, aside)
        return found

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(FileNotFoundError):
        lease.acquire(folder)


def test_only_one_of_two_breakers_takes_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is slow between its last look and the removal, the others are slower to call it gone than to ask again."""
    claimed(tmp_path, owner(started=1))
    monkeypatch.setattr(lease, "_GRACE", 0.0)
    remove = lease._discard
    meanwhile = []

    def slow(of: Path, *holder: Any) -> Any:
        if not meanwhile:
            meanwhile.append(False)
            meanwhile.extend(lease.acquire(tmp_path) for _ in range(3))
        return remove(of, *holder)

    monkeypatch.setattr(lease, "_discard", slow)
    taken = lease.acquire(tmp_path)
    assert [taken, *meanwhile].count(True) == 1


def test_a_claim_that_another_process_has_now_is_not_given_up(tmp_path: Path) -> None:
    claimed(tmp_path, owner(host="gpu17"))
    lease.release(tmp_path)
    assert (tmp_path / "claim" / "owner.json").exists()


def test_nothing_is_set_aside_under_a_process_at_work(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.folder("job").mkdir()
    claimed(store.folder("job"), owner(host="gpu17"))
    assert store.set_aside("job") is None
    assert store.folder("job").exists()
    store.gone = lambda *_: True
    assert store.set_aside("job") is not None
    assert not store.folder("job").exists()
