"""What racing processes do. By itself: each is started anew, and imports what is imported here."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replicate.errors import StoreFault
from replicate.store import lease
from replicate.store.result import RESULT, commit_result
from replicate.store.store import Store, remove_scratch

KEYS = 60
NAMES = ("decisions.npz", "curve.json")


def race(root: str, barrier: Any) -> None:
    """Takes each key in turn, as a worker does: claim, look whether it is done, compute, give up the claim."""
    barrier.wait()
    for number in range(KEYS):
        folder = Path(root) / f"job-{number}"
        folder.mkdir(exist_ok=True)
        if not lease.acquire(folder):
            continue
        if not (folder / "done").exists():
            (folder / f"computed-by-{os.getpid()}").touch()
            time.sleep(0.001)
            (folder / "done").touch()
        lease.release(folder)


@dataclass(frozen=True)
class Journal:
    """A file that every process appends whole lines to, so that their order is that of the events."""

    path: Path

    def write(self, event: str, key: str, number: int) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(descriptor, f"{event} {key} {number}\n".encode())
        finally:
            os.close(descriptor)

    def at_once(self) -> list[str]:
        """Computations of a key that began while another process was still at it. A killed process is at nothing."""
        at_work: dict[str, str] = {}
        killed: set[str] = set()
        found = []
        for line in self.path.read_text().splitlines():
            event, key, number = line.split()
            if event == "kill":
                killed.add(number)
            elif event == "begin":
                if at_work.get(key, number) not in {number, *killed}:
                    found.append(f"{key}: {at_work[key]} was at it when {number} began")
                at_work[key] = number
            elif event == "end" and at_work.pop(key, None) != number and number not in killed:
                found.append(f"{key}: {number} ended what it was not at")
        return found

    def count(self, event: str) -> int:
        return self.path.read_text().count(f"{event} ")


def content(key: str, name: str, making: int) -> bytes:
    return f"{key}/{name}/{making}\n".encode() * 3000


def work(root: str, journal: str, number: int, seed: int, seconds: float) -> None:
    """Until it is killed, or ``seconds`` are over: compute, read and move away results at random."""
    dice, log = random.Random(seed), Journal(Path(journal))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        key = f"predict-{dice.randrange(12)}"
        step(Store(Path(root)), key, log, number, dice)


def step(store: Store, key: str, log: Journal, number: int, dice: random.Random) -> None:
    result = store.result(key)
    if key in store.damage:
        log.write("damage", key, number)
        return
    if result is not None:
        try:
            whole = all(
                result.path(name).read_bytes() == content(key, name, result.summary["making"]) for name in NAMES
            )
        except FileNotFoundError:
            # Moved away meanwhile.
            return
        again = store.result(key) if whole else Store(store.root).result(key)
        if not whole and again is not None and again.summary == result.summary:
            log.write("wrong", key, number)
        if dice.random() < 0.1:
            store.set_aside(key)
        return
    compute(store, key, log, number, dice)


def compute(store: Store, key: str, log: Journal, number: int, dice: random.Random) -> None:
    """As a worker does it: under the lease, which is held until the result is there."""
    folder = store.folder(key)
    try:
        folder.mkdir(exist_ok=True)
        if not lease.acquire(folder):
            return
    except FileNotFoundError:
        # Moved away before the lease was there.
        return
    try:
        store.forget(key)
        if store.result(key) is None and key not in store.damage:
            making = dice.randrange(10**9)
            log.write("begin", key, number)
            for name in NAMES:
                with (folder / name).open("wb") as file:
                    whole = content(key, name, making)
                    for begin in range(0, len(whole), 20_000):
                        file.write(whole[begin : begin + 20_000])
                        time.sleep(dice.random() * 0.002)
            remove_scratch(folder)
            commit_result(folder, key, list(NAMES), {"making": making}, {}, {})
            log.write("end", key, number)
    finally:
        lease.release(folder)


def faults(store: Store) -> list[str]:
    """What is left of the race: results that are not whole, and leases that nobody can take."""
    found = []
    for folder in sorted(store.root.glob("predict-*")):
        key = folder.name
        try:
            result = store.result(key)
        except StoreFault as fault:
            found.append(str(fault))
            continue
        if key in store.damage:
            found.append(store.damage[key])
        if result is not None:
            for name in NAMES:
                if result.path(name).read_bytes() != content(key, name, result.summary["making"]):
                    found.append(f"{key}/{name}: another making")
        elif (folder / RESULT).exists():
            found.append(f"{key}: not read")
        if not lease.acquire(folder):
            found.append(f"{key}: its lease is stuck: {lease.holder(folder)}")
    return found
