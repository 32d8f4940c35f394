"""Crops of the next global batches, in memory that the processes of one machine share.

Copies of an image are dealt over the processes of a training, so each would decode it again. Here one process decodes
it, and writes each copy, cropped and resized, to its place in the global batch, where the process that trains on it
takes it from. No byte of a batch depends on it.

The memory is a ring of batches in a file without a name (memfd): it takes no room of /dev/shm, which has 64 MB in many
containers, and the kernel frees it with the last of its processes, however that ended. The same file holds what each
process has filled and taken, and a lock for each, which the kernel takes off a process that ends.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import secrets
import struct
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from weakref import finalize

import numpy as np
import torch
from torch import Tensor

from replicate.engine.ranks import Ranks

AHEAD = 2
"""Batches that decoders (`replicate.engine.decoders`) make ahead of the one that is asked for."""
DEPTH = 2
"""Batches in memory, those ahead apart: the one that is asked for, and the one before, which a slower process may still
take."""

PAUSE = 0.001
"""Seconds between two looks at what the others have done; a batch takes a hundred times as long."""
LIFE = 0.2
"""Seconds between two looks whether the others are alive."""
PATIENCE = 120.0
"""Seconds that a process waits for one that is alive: it may hang in a file system. Then it decodes its own."""

HEAD = 1 << 16
"""Bytes before the crops: the token, whether sharing has ended, then a line of `LINE` bytes a process."""
LINE = 64
LOCKS = 1 << 60
"""Where in the file the locks of the processes are: beyond all data."""
BOOT = Path("/proc/sys/kernel/random/boot_id")


class SharedCrops:
    """The ring of one process, ``rank``, of the ``ranks`` on this machine.

    Positions count the steps of a training, and are asked for one after the other by all processes. A process that
    is gone, or hangs, ends the sharing for good: then all methods that wait return False, and each decodes its own.

    Args:
        file: an open memfd of `size_of` bytes, which this object closes.
        shape: batches in memory, then batch, channels, height, width.
        reserve: the rows of each batch that this process makes room for.

    Errors: `OSError` where there is no memory for it.
    """

    def __init__(self, file: int, ranks: Sequence[int], rank: int, shape: Sequence[int], reserve: range) -> None:
        self.ranks, self.member = tuple(ranks), ranks.index(rank)
        self._file, self._first, self._next = file, -1, -1
        self._depth, size, row = shape[0], shape[1], int(np.prod(shape[2:]))
        for batch in range(self._depth):
            # A page that cannot be had later would end the process with SIGBUS.
            os.posix_fallocate(file, HEAD + (batch * size + reserve.start) * row, max(1, len(reserve) * row))
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, LOCKS + self.member)
        self._memory = mmap.mmap(file, size_of(shape))
        self.batches: Tensor = torch.frombuffer(self._memory, dtype=torch.uint8, offset=HEAD).view(*shape)
        """uint8 [depth, batch, 3, S, S]."""
        finalize(self, os.close, file)

    def opened(self, position: int) -> bool:
        """Wait until all have taken what was at the place of ``position``. False where sharing has ended."""
        if self._first < 0:
            self._first = self._next = position
        if position != self._next:
            self.close()
        self._next = position + 1
        return self._wait(lambda: self.is_free(position)) and not self._ended()

    def is_free(self, position: int) -> bool:
        """Whether all have taken what was at the place of ``position``."""
        return position < self._first + self._depth or self._least(1) > position - self._depth

    def batch(self, position: int) -> Tensor:
        """Where the crops of ``position`` are: uint8 [batch, 3, S, S]."""
        return self.batches[position % self._depth]

    def filled(self, position: int) -> None:
        """Tell the others that this process has made its part of ``position``."""
        self._tell(0, position + 1)

    def complete(self, position: int) -> bool:
        """Wait until all have made their parts of ``position``. False where sharing has ended before."""
        return self._wait(lambda: self._least(0) > position)

    def taken(self, position: int) -> None:
        """Tell the others that this process needs ``position`` no more."""
        self._tell(1, position + 1)

    def close(self) -> None:
        """End the sharing, for all: who waits for this process decodes its own images."""
        os.pwrite(self._file, b"\1", 8)

    def _ended(self) -> bool:
        return os.pread(self._file, 1, 8) != b"\0"

    # Counters are written and read by system calls, which order them with what is written to the memory before.
    def _tell(self, counter: int, value: int) -> None:
        os.pwrite(self._file, struct.pack("q", value), LINE * (1 + self.member) + 8 * counter)

    def _least(self, counter: int) -> int:
        lines = np.frombuffer(os.pread(self._file, LINE * len(self.ranks), LINE), np.int64)
        return int(lines[counter :: LINE // 8].min())

    def _wait(self, ready: Callable[[], bool]) -> bool:
        begun = looked = time.monotonic()
        while not ready():
            if self._ended():
                return False
            now = time.monotonic()
            if now - looked >= LIFE:
                looked = now
                gone = [member for member in range(len(self.ranks)) if not self._is_alive(member)]
                if gone or now - begun > PATIENCE:
                    why = "one of them is gone" if gone else f"one of them has made nothing for {PATIENCE:.0f} s"
                    print(f"processes share images no longer: {why}; each decodes its own", flush=True)
                    self.close()
            time.sleep(PAUSE)
        return True

    def _is_alive(self, member: int) -> bool:
        if member == self.member:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, LOCKS + member)
        except OSError:
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, LOCKS + member)
        return False


def size_of(shape: Sequence[int]) -> int:
    """Bytes of the file for batches of ``shape``."""
    return HEAD + int(np.prod(shape))


def join(team: Ranks, device: torch.device, shape: Sequence[int], decoders: bool = False) -> SharedCrops | None:
    """Crops of global batches of ``shape`` that the processes of ``team`` on this machine share.

    All of ``team`` call it at once. None where nobody shares them with this process, which has no ``decoders`` either,
    and, after one line that says why, where no memory can be shared.
    """
    here = _machine()
    machines = [machine for (machine,) in team.gather([here], device)]
    members = [rank for rank, machine in enumerate(machines) if machine == here]
    first, fault, file, token = members[0], 0, -1, secrets.randbits(62)
    depth = DEPTH + (AHEAD if decoders else 0)
    try:
        if team.rank == first and (len(members) > 1 or decoders):
            file = _created([depth, *shape], token)
    except OSError as error:
        fault = error.errno or errno.EIO
    process, number, token, depth = team.gather([os.getpid(), file, token, depth], device)[first]
    crops, part = None, shape[0] // team.world_size
    try:
        if number >= 0:
            file = file if team.rank == first else _opened(process, number, token)
            rows = range(team.rank * part, (team.rank + 1) * part)
            crops = SharedCrops(file, members, team.rank, [depth, *shape], rows)
    except OSError as error:
        fault = error.errno or errno.EIO
        if file >= 0:
            os.close(file)
    faults = [number for (number,) in team.gather([fault], device)]
    if team.first and len(set(machines)) > 1:
        print(f"each of {len(set(machines))} machines decodes the images of its own processes", flush=True)
    why = next((os.strerror(faults[rank]) for rank in members if faults[rank]), None)
    if why is None:
        return crops
    if team.rank == first:
        print(f"processes share no images: {why}; each decodes its own", flush=True)
    return None


def _created(shape: Sequence[int], token: int) -> int:
    """A memfd for batches of ``shape``, which ``token`` tells from any other."""
    if not hasattr(os, "memfd_create"):
        raise OSError(errno.ENOSYS, "no memfd")
    file = os.memfd_create(f"crops-{os.getpid()}")
    try:
        os.ftruncate(file, size_of(shape))
        os.pwrite(file, struct.pack("q", token), 0)
    except OSError:
        os.close(file)
        raise
    return file


def _opened(process: int, number: int, token: int) -> int:
    file = os.open(f"/proc/{process}/fd/{number}", os.O_RDWR | os.O_CLOEXEC)
    if struct.unpack("q", os.pread(file, 8, 0).ljust(8, b"\0"))[0] != token:
        os.close(file)
        raise OSError(errno.ESRCH, "another process")
    return file


def _machine() -> int:
    """A number for this machine and, of containers that do not see each other's processes, for this container."""
    try:
        names = BOOT.read_bytes() + os.readlink("/proc/self/ns/pid").encode()
    except OSError:
        names = os.uname().nodename.encode()
    return int.from_bytes(blake2b(names, digest_size=7).digest(), "big")
