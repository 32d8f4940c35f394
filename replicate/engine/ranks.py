"""The processes that train one network together: one alone, or several under torch.distributed.

Every process computes its slice of each global batch (see `replicate.engine.batches.TrainBatches`), gradients are
averaged, and the first process alone writes. The number of processes changes no image, no drop path and no image that
BatchNorm takes its statistics from (`replicate.engine.micro_batch`), but the order in which floats are added: results
of different numbers agree closely, not bit for bit. One thing does depend on it: dropout draws from a seed of the
process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from replicate.engine import models
from replicate.errors import JobError, RankGone, UserError

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others: they may still be loading torch from a slow file system."""

Forward = Callable[[Tensor], dict[str, Tensor]]


class Heads(nn.Module):
    """`models.heads` as a module: DistributedDataParallel and torch.compile only see what goes through ``forward``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return models.heads(self.network, images)


@dataclass(frozen=True, slots=True)
class Ranks:
    """``rank`` of ``world_size`` processes."""

    rank: int = 0
    world_size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def forward(self, network: nn.Module, compiled: nn.Module | None = None) -> Forward:
        """`models.heads` of ``network``, such that a backward pass averages the gradients over the processes.

        compiled: `Heads` of it, as torch.compile made them, to be called instead.
        """
        if self.world_size > 1:
            return DistributedDataParallel(Heads(network) if compiled is None else compiled)
        return (lambda images: models.heads(network, images)) if compiled is None else compiled

    def apart(self, forward: Forward) -> AbstractContextManager[Any]:
        """Inside, ``forward`` and its backward pass add to this process's gradients only: more of the batch follows."""
        return forward.no_sync() if isinstance(forward, DistributedDataParallel) else nullcontext()

    def means(self, values: Tensor) -> list[float]:
        """The mean of each of ``values`` [n] over the processes; not finite where it is so in any of them."""
        if self.world_size == 1:
            return [float(value) for value in values.tolist()]
        total = values.detach().clone()
        distributed.all_reduce(total)
        return [value / self.world_size for value in total.tolist()]

    def largest(self, numbers: list[int], device: torch.device) -> list[int]:
        """The largest of each of ``numbers`` over the processes."""
        if self.world_size == 1:
            return numbers
        found = torch.tensor(numbers, device=device)
        distributed.all_reduce(found, op=distributed.ReduceOp.MAX)
        return [int(number) for number in found.tolist()]

    def gather(self, numbers: Sequence[int], device: torch.device) -> list[list[int]]:
        """The ``numbers`` of every process, by rank."""
        if self.world_size == 1:
            return [list(numbers)]
        own = torch.tensor(numbers, device=device)
        everyones = [torch.empty_like(own) for _ in range(self.world_size)]
        distributed.all_gather(everyones, own)
        return [found.tolist() for found in everyones]

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether ``flag`` is set in any process: all of them have to stop at the same step."""
        return bool(self.largest([int(flag)], device)[0])

    def check(self, images: int, batch: int, start: int, device: torch.device) -> None:
        """Check, before the first step, that the processes agree.

        images: of this process in a batch; start: the step it begins at.

        Errors: `UserError` where the processes together do not make ``batch``, the recipe's; `JobError` where
        they found different checkpoints.
        """
        if self.world_size == 1:
            return
        total = torch.tensor([images, start, -start], device=device)
        distributed.all_reduce(total[:1])
        distributed.all_reduce(total[1:], op=distributed.ReduceOp.MAX)
        images_together, latest, earliest = int(total[0]), int(total[1]), -int(total[2])
        if images_together != batch:
            raise UserError(
                f"recipe.batch is not taken by {self.world_size} processes: {batch} images, got {images_together}\n"
                "  the result would be another recipe's: change nodes or ntasks_per_node of the profile"
            )
        if latest != earliest:
            raise JobError(f"train: processes found checkpoints of step {earliest} and of step {latest}")


@contextmanager
def together() -> Iterator[Ranks]:
    """Join the processes that the environment names (WORLD_SIZE, RANK, MASTER_ADDR, MASTER_PORT), if any."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    try:
        distributed.init_process_group(backend, timeout=PATIENCE)
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    except RuntimeError as error:
        if not _of_another(error):
            raise
        raise RankGone(f"train: another process of this training is gone or does not answer\n  {error}") from error
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _of_another(error: RuntimeError) -> bool:
    """Whether ``error`` says that another process cannot be reached: gloo has no class of its own for that."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)
