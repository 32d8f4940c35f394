"""A lease on a job: the lock, taken by an atomic rename, that keeps two processes from computing the same key.

The next caller removes the lease of a process that is gone. A process on another machine cannot be inspected, so the
holder touches ``claim/owner.json`` every minute (not the folder, whose time changes with every file made in it).
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from replicate.store.files import parsed, write_json

CLAIM = "claim"
"""Folder of a lease; the name dates from the first stores."""
OWNER = "owner.json"
TASK, RESTART = "REPLICATE_TASK", "REPLICATE_RESTART"
"""Environment variables of a process that a scheduler started: its task, and how often it was restarted."""
_GRACE = 60.0
"""Seconds of silence after which a process of another host that was removing a dead lease counts as gone itself."""
HEARTBEAT = 60.0
LARGEST_PID = 2**31 - 1
ABANDONED = 24 * 3600.0
"""Seconds without a heartbeat after which a lease of another host counts as dead.

Longer than a laptop sleeps overnight; one that wakes later finds its lease taken, and its process ends (`beating`).
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a lease.

    started: clock ticks since boot (Linux), which differ where a later process has the same pid. task: name of the
    scheduler's task, empty without a scheduler. restart: how often the task was started before. job: number of the
    scheduler's job, for people only, since a scheduler that lost its state uses numbers again.
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

    def alive(self, gone: Gone | None = None, silence: float = 0.0) -> bool:
        """Return False only if the owner is known to be gone. Of another host only ``gone`` can know it.

        silence: seconds since its last sign of life.
        """
        if self.task and self.task == os.environ.get(TASK) and self.restart < int(os.environ.get(RESTART, "0")):
            # A scheduler restarts a task only after its process before has ended, or was cut off.
            return False
        if self.host != _host():
            return not (gone is not None and gone(self, silence))
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return _started(self.pid) == self.started


Gone = Callable[[Owner, float], bool]
"""Return True if the process of an owner on another host has surely ended, False if that is unknown.

It is also told how many seconds ago the owner gave its last sign of life.
"""


def acquire(folder: Path, gone: Gone | None = None) -> bool:
    """Take the lease on the job in ``folder``. Return False while a living process holds it.

    Raises FileNotFoundError where there is no ``folder``: another process has just moved it away.
    """
    lease = folder / CLAIM
    for _ in range(2):
        if _place(lease):
            return True
        if silence(folder) < -_GRACE:
            # Dated by a clock that was ahead, a dead lease would count as fresh until then. From now on it ages.
            with suppress(OSError):
                os.utime(lease / OWNER)
        if holder_alive(folder, gone) or not _break(folder, gone):
            return False
    return False


def _place(lease: Path) -> bool:
    """Return False if another lease exists: a rename onto a folder that is not empty fails."""
    made = lease.with_name(f".{CLAIM}-{uuid.uuid4().hex}")
    made.mkdir()
    try:
        write_json(made / OWNER, asdict(Owner.here()))
        made.rename(lease)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    # The kernel looks the folder up first: where its holder moved it away since, the lease is in a folder elsewhere.
    return _owner(lease) == Owner.here()


def release(folder: Path) -> None:
    """Give the lease up, unless another process has taken it meanwhile."""
    lease = folder / CLAIM
    owner = _owner(lease)
    if owner == Owner.here():
        _discard(lease, owner)


def holder(folder: Path) -> Owner | None:
    """Return the holder of the lease on the job in ``folder``, None without one."""
    return _owner(folder / CLAIM)


def holder_alive(folder: Path, gone: Gone | None = None) -> bool:
    """Return whether a living process holds the lease on the job in ``folder``."""
    owner = _owner(folder / CLAIM)
    # A lease is made with its owner in it: one without a readable owner is damaged, not new.
    return owner is not None and _stands(folder, owner, gone)


def clear(folder: Path, gone: Gone | None = None) -> None:
    """Remove the lease on ``folder`` if its holder is gone: who knows that may not be who takes the lease next."""
    if (folder / CLAIM).exists() and not holder_alive(folder, gone):
        _break(folder, gone)


def renew(folder: Path) -> bool:
    """Touch the lease of this process. Return False if another process holds it now."""
    owner = _owner(folder / CLAIM)
    if owner == Owner.here():
        with suppress(OSError):
            os.utime(folder / CLAIM / OWNER)
    # No readable owner: somebody removed it by hand, or a network file system failed for a moment.
    return owner is None or owner == Owner.here()


@contextmanager
def beating(folder: Path, lost: Callable[[], None]) -> Iterator[None]:
    """Touch the lease on ``folder`` every minute. A thread calls ``lost`` when another process has taken it."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT):
            if not renew(folder):
                # This process gave it up just now and the next one took it: not lost.
                if not ended.is_set():
                    lost()
                return

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def silence(folder: Path) -> float:
    """Return the seconds since the holder last touched the lease on ``folder``; 0 without a lease."""
    try:
        return _age(folder / CLAIM / OWNER, folder)
    except OSError:
        return 0.0


def _stands(folder: Path, owner: Owner, gone: Gone | None) -> bool:
    quiet = 0.0 if owner.host == _host() else silence(folder)
    return quiet <= ABANDONED and owner.alive(gone, quiet)


def _owner(lease: Path) -> Owner | None:
    try:
        body = parsed((lease / OWNER).read_bytes())
        # A later version may have written more.
        found = Owner(**{each.name: body[each.name] for each in fields(Owner) if each.name in body})
    except (OSError, ValueError, TypeError):
        return None
    words, numbers = (found.host, found.task, found.job), (found.pid, found.started, found.restart)
    sound = all(type(word) is str for word in words) and all(type(number) is int for number in numbers)
    return found if sound and 0 < found.pid <= LARGEST_PID else None


def _age(path: Path, folder: Path) -> float:
    """Return the age of ``path`` in seconds, by the clock of the file system: a node's may be an hour off.

    Raises FileNotFoundError.
    """
    try:
        now = file_clock(folder)
    except FileNotFoundError:
        raise
    except OSError:
        # On a read-only or full file system only this machine's clock is left.
        now = time.time()
    return now - path.stat().st_mtime


def file_clock(folder: Path) -> float:
    """Return the time by the clock of the file system of ``folder`` in seconds, read from a file made for it."""
    probe = folder / f".clock-{uuid.uuid4().hex}"
    try:
        probe.touch(exist_ok=False)
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _break(folder: Path, gone: Gone | None) -> bool:
    """Remove a dead lease. Only who holds the lease on the lease's own folder may do so.

    That lease is made inside the folder that is removed with it, so that it never speaks of a later one.
    """
    lease = folder / CLAIM
    try:
        if not acquire(lease, _slow):
            return False
    except FileNotFoundError:
        return True
    owner = _owner(lease)
    if owner is not None and _stands(folder, owner, gone):
        # A living process took the lease between the look and this.
        release(lease)
        return False
    # Without its own lease in it, this is a later lease, or none.
    return holder(lease) == Owner.here() and _discard(lease, owner)


def _slow(_: Owner, silence: float) -> bool:
    return abs(silence) > _GRACE


def _discard(lease: Path, owner: Owner | None) -> bool:
    """Remove the lease of ``owner``. Return False, and leave it, if it is another's by now."""
    # Renamed first, so that no process sees it half deleted.
    grave = lease.with_name(f".{CLAIM}-{uuid.uuid4().hex}")
    try:
        lease.rename(grave)
    except FileNotFoundError:
        return True
    if _owner(grave) != owner:
        # This process was stopped for so long that others removed the lease, and the next one has taken it.
        with suppress(OSError):
            grave.rename(lease)
        return False
    shutil.rmtree(grave, ignore_errors=True)
    return True


def _host() -> str:
    # Nodes of a testbed share one machine, but Slurm treats them as separate hosts.
    return (os.environ.get(TASK) and os.environ.get("SLURMD_NODENAME")) or socket.gethostname()


def _started(pid: int) -> int:
    try:
        # Fields 3 and 22 of man 5 proc, counted after the command, which may hold blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        # A zombie has ended, and in a container possibly no process ever collects it.
        return -1 if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return 0
