"""Who computes a job: a folder renamed into place, so that two callers never compute the same key.

It heals itself: a claim whose process is gone is removed by the next caller. Processes of other machines cannot be
looked at, so a holder gives a sign of life: the time of ``claim/owner.json`` (that of the folder changes with whatever
is made in it, by a caller that is about to remove it, for one).
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from replicate.store.files import write_json

CLAIM = "claim"
OWNER = "owner.json"
TASK, RESTART = "REPLICATE_TASK", "REPLICATE_RESTART"
"""Environment of a process that a scheduler started: its task and how often that was started before."""
_GRACE = 60.0
"""Seconds after which a caller that was removing a dead claim is taken for gone itself."""
_HEARTBEAT = 60.0
ABANDONED = 24 * 3600.0
"""Seconds without a sign of life after which a claim made on another host counts as dead, whatever made it.

Longer than a laptop sleeps overnight; one that wakes later finds its claim taken, and its process ends (`beating`).
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """``started`` tells a process from a later one with the same pid (clock ticks since boot, Linux).

    ``task`` names it to a scheduler (empty: none started it), ``restart`` counts the lives before this one.
    ``job`` is the scheduler's number, for people: numbers are used again after a scheduler lost its state.
    """

    host: str
    pid: int
    started: int
    task: str = ""
    restart: int = 0
    job: str = ""

    @classmethod
    def here(cls) -> Owner:
        pid, environ = os.getpid(), os.environ
        restart = int(environ.get(RESTART, "0"))
        return cls(_host(), pid, _started(pid), environ.get(TASK, ""), restart, environ.get("SLURM_JOB_ID", ""))

    def alive(self, gone: Gone | None = None) -> bool:
        """False only when the owner is known to be gone.

        On another host nobody here can tell, but ``gone`` may know.
        """
        if self.task and self.task == os.environ.get(TASK) and self.restart < int(os.environ.get(RESTART, "0")):
            # A scheduler starts a task again only when its life before is over (or cut off: see `is_mine`).
            return False
        if self.host != _host():
            return not (gone is not None and gone(self))
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return _started(self.pid) == self.started


Gone = Callable[[Owner], bool]
"""True where it is sure that the process of an owner on another host has ended; False where nobody knows."""


def acquire(folder: Path, gone: Gone | None = None) -> bool:
    """Claim the job in ``folder`` for this process. False while another process that is alive has it."""
    claim = folder / CLAIM
    for _ in range(2):
        if _place(claim):
            return True
        if holder_alive(folder, gone) or not _break(folder, gone):
            return False
    return False


def _place(claim: Path) -> bool:
    """False where another claim stands: renaming onto a folder with something in it fails."""
    made = claim.with_name(f".{CLAIM}-{uuid.uuid4().hex}")
    made.mkdir()
    try:
        write_json(made / OWNER, asdict(Owner.here()))
        made.rename(claim)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def release(folder: Path) -> None:
    """Give up the claim, unless it was taken from this process meanwhile."""
    claim = folder / CLAIM
    owner = _owner(claim)
    if owner is None or owner == Owner.here():
        _discard(claim)


def holder(folder: Path) -> Owner | None:
    """Whose the job in ``folder`` is; None where nobody has it."""
    return _owner(folder / CLAIM)


def holder_alive(folder: Path, gone: Gone | None = None) -> bool:
    """Is somebody at work on the job in ``folder``?"""
    owner = _owner(folder / CLAIM)
    # A claim comes with its owner in it: one without a readable owner is damaged, not new.
    return owner is not None and _stands(folder, owner, gone)


def renew(folder: Path) -> bool:
    """Give a sign of life, if the claim is this process's. False where another process has it now."""
    owner = _owner(folder / CLAIM)
    if owner == Owner.here():
        with suppress(OSError):
            os.utime(folder / CLAIM / OWNER)
    # Without a readable owner: somebody removed it by hand, or a network file system stumbled.
    return owner is None or owner == Owner.here()


@contextmanager
def beating(folder: Path, lost: Callable[[], None]) -> Iterator[None]:
    """Give signs of life for the claim on ``folder``. ``lost`` is called, in a thread, where it was taken away."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_HEARTBEAT):
            if not renew(folder):
                # Given up by ourselves just now, and taken by the next: not lost.
                if not ended.is_set():
                    lost()
                return

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def silence(folder: Path) -> float:
    """Seconds since the holder of ``folder`` gave a sign of life; 0 where nobody has it."""
    try:
        return _age(folder / CLAIM / OWNER, folder)
    except OSError:
        return 0.0


def _stands(folder: Path, owner: Owner, gone: Gone | None) -> bool:
    return owner.alive(gone) and (owner.host == _host() or silence(folder) <= ABANDONED)


def _owner(claim: Path) -> Owner | None:
    try:
        found = Owner(**json.loads((claim / OWNER).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found if isinstance(found.pid, int) and found.pid > 0 else None


def _age(path: Path, folder: Path) -> float:
    """Seconds, by the clock of the file system of ``folder``: that of a node may be an hour off.

    Raises FileNotFoundError.
    """
    try:
        now = file_clock(folder)
    except FileNotFoundError:
        raise
    except OSError:
        # Read-only or full: this machine's clock is all there is.
        now = time.time()
    return now - path.stat().st_mtime


def file_clock(folder: Path) -> float:
    """What time it is to the file system of ``folder``, in seconds; it is asked by making a file."""
    probe = folder / f".clock-{uuid.uuid4().hex}"
    try:
        probe.touch(exist_ok=False)
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _break(folder: Path, gone: Gone | None) -> bool:
    """Remove a dead claim. Only one process may: the mkdir inside the claim decides who."""
    claim = folder / CLAIM
    try:
        (claim / "breaking").mkdir()
    except FileNotFoundError:
        return True
    except FileExistsError:
        with suppress(OSError):
            if _age(claim / "breaking", claim) > _GRACE:
                (claim / "breaking").rmdir()
        return False
    owner = _owner(claim)
    if owner is not None and _stands(folder, owner, gone):
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


def _host() -> str:
    # Several nodes of a testbed share one machine; to Slurm they are as apart as any.
    return (os.environ.get(TASK) and os.environ.get("SLURMD_NODENAME")) or socket.gethostname()


def _started(pid: int) -> int:
    try:
        # Fields 3 and 22, counted after the command, which may hold blanks and brackets (man 5 proc).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # A zombie has ended; in a container nobody may ever collect it.
        return -1 if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return 0
