"""Who computes a job: an atomic mkdir, so that two callers never compute the same key, and which heals itself."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from replicate.store.atomic import write_json

CLAIM = "claim"
_GRACE = 10.0
"""Seconds a claim may stand without saying whose it is: between mkdir and the writing of its owner."""


@dataclass(frozen=True, slots=True)
class Owner:
    """``started`` tells a process from a later one with the same pid (clock ticks since boot, Linux)."""

    host: str
    pid: int
    started: int

    @classmethod
    def here(cls) -> Owner:
        return cls(socket.gethostname(), os.getpid(), _started(os.getpid()))

    def alive(self) -> bool:
        """False only when the owner is known to be gone: on another host nobody here can tell."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return _started(self.pid) == self.started


def acquire(folder: Path) -> bool:
    """Claim the job in ``folder`` for this process. False while another process that is alive has it."""
    claim = folder / CLAIM
    for _ in range(2):
        try:
            claim.mkdir()
        except FileExistsError:
            if holder_alive(folder) or not _break(claim):
                return False
        else:
            write_json(claim / "owner.json", asdict(Owner.here()))
            return True
    return False


def release(folder: Path) -> None:
    _discard(folder / CLAIM)


def holder_alive(folder: Path) -> bool:
    """Is somebody at work on the job in ``folder``?"""
    claim = folder / CLAIM
    try:
        age = time.time() - claim.stat().st_mtime
    except FileNotFoundError:
        return False
    owner = _owner(claim)
    return age < _GRACE if owner is None else owner.alive()


def _owner(claim: Path) -> Owner | None:
    try:
        return Owner(**json.loads((claim / "owner.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _break(claim: Path) -> bool:
    """Remove a dead claim. Only one process may: the mkdir inside the claim decides who."""
    try:
        (claim / "breaking").mkdir()
    except FileNotFoundError:
        return True
    except FileExistsError:
        with suppress(OSError):
            if time.time() - (claim / "breaking").stat().st_mtime > 6 * _GRACE:
                (claim / "breaking").rmdir()
        return False
    owner = _owner(claim)
    if owner is not None and owner.alive():
        # The dead claim was replaced by a living one between looking and breaking.
        with suppress(OSError):
            (claim / "breaking").rmdir()
        return False
    _discard(claim)
    return True


def _discard(claim: Path) -> None:
    # Renamed first: a claim is never seen half deleted.
    grave = claim.with_name(f".{CLAIM}-{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):
        claim.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)


def _started(pid: int) -> int:
    try:
        # Field 22, counted after the command, which may hold blanks and brackets (man 5 proc).
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
