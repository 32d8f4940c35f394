"""Processes that decode images, beside the one that trains: its threads would wait for each other.

A process of Python decodes on about six cores at most, however many threads it has: a sixth of the time one of them
holds the interpreter. Each decoder makes its share of each batch that it is told of, straight into memory that it
shares with the training (`replicate.engine.shared_crops`), and is told of a few batches ahead. One that is killed, as
by the kernel where memory runs out, is replaced, and what it had not made is made again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from replicate.errors import JobError, UserError

DEATHS = 3
"""So many deaths of a decoder in one batch are no accident."""

Make = Callable[[int, int], None]
"""(position, decoder): makes this decoder's share of the batch at this position."""


@dataclass(slots=True)
class _Decoder:
    number: int
    process: BaseProcess
    connection: Connection
    told: deque[int] = field(default_factory=deque)
    """Positions that it has not said to be made, in their order."""
    deaths: int = 0
    """Since it last made anything, those of its predecessors included."""


class Decoders:
    """``count`` processes, forked from this one as it is; ``make`` runs in them.

    They end with this process, however it ends: each reads from a pipe whose other end no other process has.
    """

    def __init__(self, make: Make, count: int) -> None:
        self._make, self._closed = make, False
        self._decoders: list[_Decoder] = []
        for number in range(count):
            self._decoders.append(self._started(number))

    @property
    def processes(self) -> list[int]:
        return [decoder.process.pid or 0 for decoder in self._decoders]

    def begin(self, position: int) -> None:
        """Have each make its share of ``position``, after those it was told of before."""
        for decoder in self._decoders:
            decoder.told.append(position)
            self._tell(decoder, position)

    def finish(self, position: int) -> None:
        """Wait until all of ``position``, which was begun, is made. Raises what a decoder raised.

        Errors: `JobError` where the same share cost `DEATHS` decoders their lives, and after `close`.
        """
        for decoder in self._decoders:
            while decoder.told and decoder.told[0] <= position:
                try:
                    fault = decoder.connection.recv()
                except (EOFError, OSError):
                    self._replace(decoder)
                    continue
                decoder.deaths = 0
                decoder.told.popleft()
                if fault is not None:
                    raise fault

    def close(self) -> None:
        """End the processes. A `finish` in another thread ends with an error."""
        self._closed = True
        for decoder in self._decoders:
            decoder.process.kill()
        for decoder in self._decoders:
            # Collected, so that what they cost counts as this job's.
            decoder.process.join()

    def _tell(self, decoder: _Decoder, position: int) -> None:
        # Where it is gone, the next `finish` sees that, and tells its successor.
        with suppress(OSError):
            decoder.connection.send(position)

    def _started(self, number: int) -> _Decoder:
        context: Any = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        others = [decoder.connection for decoder in self._decoders]
        process = context.Process(
            target=_serve, args=(self._make, number, there, [here, *others], os.getpid()), daemon=True
        )
        process.start()
        there.close()
        return _Decoder(number, process, here)

    def _replace(self, decoder: _Decoder) -> None:
        if self._closed:
            raise JobError("decoders were ended")
        decoder.process.join()
        code, decoder.deaths = decoder.process.exitcode, decoder.deaths + 1
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        if decoder.deaths >= DEATHS:
            raise JobError(
                f"decoding failed {DEATHS} times in one batch: a process that decodes {how} each time\n"
                "  signal 9 comes from the kernel where memory runs out: give the job more memory,\n"
                "  or fewer such processes (REPLICATE_DECODE_THREADS)"
            )
        print(f"a process that decodes images {how}: another one makes its part of the batch again", flush=True)
        decoder.connection.close()
        new = self._started(decoder.number)
        decoder.process, decoder.connection = new.process, new.connection
        for position in decoder.told:
            self._tell(decoder, position)


def _serve(make: Make, number: int, connection: Connection, parents: list[Connection], parent: int) -> None:
    """Be a decoder until the other end of ``connection`` is closed; the ends ``parents`` are the parent's alone."""
    for end in parents:
        if not end.closed:
            end.close()
    # Ctrl-C reaches the whole process group; the parent's handler of SIGTERM is not for this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    try:
        while os.getppid() == parent:
            position = connection.recv()
            connection.send(_fault(make, position, number))
    except (EOFError, OSError):
        pass
    os._exit(0)


def _fault(make: Make, position: int, number: int) -> Exception | None:
    try:
        make(position, number)
    except (UserError, MemoryError) as error:
        return error
    except Exception as error:
        # It may not be what another process can read; its traceback can.
        traceback.print_exc()
        return JobError(f"decoding failed: {error!r}")
    return None
