"""The images that a process computes at a time, and the groups that BatchNorm needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from replicate.engine.run import whole_number

log = logging.getLogger(__name__)

T = TypeVar("T")

MICRO_BATCH = "REPLICATE_MICRO_BATCH"
"""Environment variable: images that a process computes at a time, in training and in evaluation.

Unset it is all of a batch, halved where the memory of a GPU does not suffice. No part of a key: it changes the order
of additions (and what dropout draws), like the number of processes.
"""
CPU_PIXELS = 2**20
"""Pixels that a CPU evaluates at a time, where nothing tells when the memory runs out and one job a core runs.

DeiT-B at 384: 7 images, 1.4 GB; 64 took 2.6 GB, at the same images/s (docs/benchmarks.md).
"""


class MicroBatches:
    """``images`` at a time, of at most ``most``; `halve` makes them fewer for good.

    Errors: `UserError` where `MICRO_BATCH` is no number of images.
    """

    def __init__(self, most: int) -> None:
        self.images = min(whole_number(MICRO_BATCH, "images") or most, most)

    @classmethod
    def of_evaluation(cls, most: int, size: int, device: torch.device) -> MicroBatches:
        """Of images of ``size`` x ``size`` that are only evaluated; on a CPU at most `CPU_PIXELS` at a time."""
        return cls(most if device.type == "cuda" else min(most, max(1, CPU_PIXELS // size**2)))

    def parts(self, count: int) -> Iterator[slice]:
        """``count`` images, in parts of as many as fit."""
        for begin in range(0, count, self.images):
            yield slice(begin, min(begin + self.images, count))

    def halve(self) -> None:
        """After the memory ran out, outside the handler of that: its traceback keeps the activations."""
        torch.cuda.empty_cache()
        self.images = -(-self.images // 2)
        log.warning("out of GPU memory: going on with %d images at a time (%s)", self.images, MICRO_BATCH)

    def each(self, compute: Callable[[Tensor], T], images: Tensor) -> list[T]:
        """``compute`` of every part of ``images``, in order; again in smaller parts where the memory runs out.

        For what looks at each image by itself: how it is split makes no other result.
        Errors: `torch.cuda.OutOfMemoryError` where not even one image fits.
        """
        while True:
            try:
                return [compute(images[part]) for part in self.parts(len(images))]
            except torch.cuda.OutOfMemoryError:
                self.images = min(self.images, len(images))
                if self.images == 1:
                    raise
            self.halve()


class BatchNorms:
    """The layers of ``network`` that take the statistics of a batch; none where it is in evaluation mode."""

    def __init__(self, network: nn.Module) -> None:
        self._layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d) and layer.training]

    def __bool__(self) -> bool:
        return bool(self._layers)

    @contextmanager
    def tracking(self, first: bool) -> Iterator[None]:
        """Inside, a forward pass changes the running statistics only where it is of the ``first`` group of a batch."""
        for layer in self._layers:
            layer.track_running_stats = first
        try:
            yield
        finally:
            for layer in self._layers:
                layer.track_running_stats = True
