"""Whether torch compiles the network of a training, and what happens where it cannot.

Apart from `replicate.engine.train`, since it is the one part of a training that may fail and change nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from replicate.engine.batches import decode_workers
from replicate.errors import UserError

log = logging.getLogger(__name__)

CompiledSteps = Literal["no", "yes", "partly"]
"""Which steps of a training were those of a compiled network; the rest were computed operation by operation."""

COMPILE = "REPLICATE_COMPILE"
"""Environment variable: ``on`` compiles the network of every training, ``off`` of none; ``auto``, as when unset, on a
GPU that of a long one (`LONG`). No part of a key: it changes the order of additions, as another device does, so it is
recorded with the result."""
WORDS = ("auto", "on", "off")

LONG = 2_000_000
"""Images, over all epochs, from which on ``auto`` compiles for a GPU: it saves about a tenth of the time and takes a
minute or two, so that it pays after twenty minutes, at 1,700 images/s. On a CPU a result is the same bytes
everywhere, and stays so."""

CACHE, CACHE_FOLDER = "TORCHINDUCTOR_CACHE_DIR", ".compiled"
"""Environment variable of torch: where it keeps what it compiled. Unless it is set, a folder of the store, so that a
network is compiled once for all trainings of a plan."""
THREADS = "TORCHINDUCTOR_COMPILE_THREADS"


def is_wanted(images: int, device: torch.device) -> bool:
    """Whether to compile for a training on ``images`` over all epochs. Errors: `UserError` for another word."""
    word = os.environ.get(COMPILE) or "auto"
    if word not in WORDS:
        raise UserError(f"{COMPILE} is none of {', '.join(WORDS)}: '{word}'\n  correct it, or unset it")
    return word == "on" or (word == "auto" and device.type == "cuda" and images >= LONG)


def share_cache(store: Path, device: torch.device) -> None:
    """Have torch keep what it compiles in ``store``, and use no more cores for it than this job has."""
    os.environ.setdefault(CACHE, str(store / CACHE_FOLDER))
    os.environ.setdefault(THREADS, str(max(1, decode_workers(device))))


def compiled(module: nn.Module, tried: Callable[[Any], None]) -> nn.Module | None:
    """``module`` compiled for the shapes that ``tried`` calls it with; None, and a message, where that fails.

    tried: computes a whole step, so that the backward pass is compiled, too: torch compiles at the first call.
    Errors: `torch.cuda.OutOfMemoryError`, of which the compiler is not the cause.
    """
    try:
        made: nn.Module = torch.compile(module, dynamic=False)  # type: ignore[assignment]
        tried(made)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # of the compilers beneath, each has its own
        why = str(error).strip().partition("\n")[0]
        log.warning("torch.compile failed, going on without it (%s=off): %s: %s", COMPILE, type(error).__name__, why)
        return None
    return made


def both(before: CompiledSteps, now: CompiledSteps) -> CompiledSteps:
    """What a training is that was ``before`` when it stopped, and goes on as ``now``."""
    return now if before == now else "partly"


_steps: CompiledSteps = "no"


def note(steps: CompiledSteps) -> None:
    """Note how this process trains its network, for `steps_of_this_process`: it performs one job."""
    global _steps
    _steps = steps


def steps_of_this_process() -> CompiledSteps:
    return _steps
