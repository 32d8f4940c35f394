"""The batches that a network is trained and evaluated on: their order, their images, prepared ahead of a GPU."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from replicate.engine import augmentation, shared_crops, transforms
from replicate.engine.data import DataSet, Split
from replicate.engine.decoders import Decoders
from replicate.engine.device_ops import onto
from replicate.engine.keyed_random import generator, uniforms
from replicate.engine.ranks import Ranks
from replicate.engine.run import whole_number
from replicate.engine.shared_crops import AHEAD, SharedCrops
from replicate.errors import JobError, UserError
from replicate.specs.recipe import Evaluation, Recipe, check_shares, epoch_length

T = TypeVar("T")
Copy: TypeAlias = tuple[int, list[float]]
"""A row of a batch, and the draws of its crop."""
Shown: TypeAlias = tuple[int, list[Copy]]
"""An image, by its index, and its copies in a batch."""

DECODE_THREADS = "REPLICATE_DECODE_THREADS"
"""Environment variable: threads that decode for a GPU; unset as many as there are cores. Jobs that share the cores of a
machine are told their part (`replicate.backends.local`)."""

DECODE_WITH = "REPLICATE_DECODE_WITH"
"""Environment variable: what decodes for a GPU, `threads` or `processes`; unset, processes where there are more than
`THREADS_PAY`."""

THREADS_PAY = 4
"""Threads that hardly wait for each other: each holds the interpreter for a sixth of the time."""

CHUNK = 8 * 224 * 224
"""Pixels that are augmented at a time, of each channel: what stays in a processor's cache, and a thread's share."""

CPU = torch.device("cpu")

PAPER = Evaluation(crop=0.875, interpolation="bicubic", weights="last")
"""The paper's evaluation, for looks at a network that are no result of a table (recipes.md, "Evaluation")."""


def epoch_order(images: int, repeats: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The image at every position of an epoch: int64 [epoch_length]. 1.28 million images take 20 ms."""
    length = epoch_length(images)
    permutation = generator(seed, "order", epoch).permutation(images)
    return np.repeat(permutation[: -(-length // repeats)], repeats)[:length].astype(np.int64, copy=False)


def deal(batch: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """Reorder a global batch so that its consecutive ``groups`` parts are what round robin deals to each.

    The copies of one image thus land in different mix groups, with different partners, as on DeiT's GPUs.
    """
    return batch.reshape(-1, groups).T.reshape(-1)


def rank_positions(batch: int, rank: int, world_size: int) -> range:
    """The positions in a global batch that one of ``world_size`` processes computes: equal contiguous slices."""
    part = batch // world_size
    return range(rank * part, (rank + 1) * part)


@dataclass(frozen=True, slots=True)
class Batch:
    images: Tensor
    """float32 [b, 3, S, S], normalised, erased and mixed."""
    targets: Tensor
    """float32 [b, K], smoothed and mixed."""
    labels: Tensor
    """int64 [b], of the images before mixing."""


@dataclass(frozen=True, slots=True)
class Group:
    """A process's part of a mix group: slots of the global batch.

    ``partners``: where the group is torn between processes, the slots that ``own`` is mixed with; they stand mirrored
    in the group, and are made here again.
    """

    own: range
    partners: range
    mix: transforms.Mix | None


@dataclass(frozen=True, slots=True)
class Crops:
    """A process's part of a global batch, cropped and resized: what is made of it further may be made on a GPU.

    ``parts``: its slots of the global batch, those of partners of torn groups last. ``erased``: what random erasing
    is going to overwrite; None where it is drawn when the images are made.
    """

    epoch: int
    step: int
    images: Tensor
    """uint8 [n, 3, S, S]."""
    labels: Tensor
    """int64 [n]."""
    parts: tuple[range, ...]
    groups: tuple[Group, ...]
    erased: tuple[transforms.Erasure, ...] | None = None

    def pinned(self) -> Crops:
        """In memory that a GPU copies from while the processor goes on."""
        erased = self.erased and tuple(replace(one, noise=one.noise.pin_memory()) for one in self.erased)
        return replace(self, images=self.images.pin_memory(), erased=erased)


def decode_workers(device: torch.device) -> int:
    """Threads that decode for ``device``: a GPU waits for its images; on the CPU other jobs run beside this one.

    Errors: `UserError` where `DECODE_THREADS` is no number of threads.
    """
    if device.type != "cuda":
        return 0
    return whole_number(DECODE_THREADS, "threads") or len(os.sched_getaffinity(0))


def decode_in_processes(workers: int) -> bool:
    """Whether ``workers`` that decode are to be processes. Errors: `UserError` where `DECODE_WITH` is another word."""
    match os.environ.get(DECODE_WITH, ""):
        case "":
            return workers > THREADS_PAY
        case "threads":
            return False
        case "processes":
            return workers > 0
        case other:
            raise UserError(f"{DECODE_WITH} is neither threads nor processes: '{other}'\n  correct it, or unset it")


class TrainBatches:
    """The training batches of one process, by epoch and step, in any order.

    The order of augmentation is DeiT's: random resized crop, flip, RandAugment or AutoAugment (colour jitter
    where there is neither), normalisation, random erasing; then mixup or CutMix. Every draw is keyed by (seed, epoch,
    position in the epoch), so the slices of any number of processes together are the single process's batch,
    bit for bit.

    Args:
        rank, world_size: this process, and how many share a global batch of ``recipe.batch`` images.
        workers: threads that decode and augment; worth it for images on disk, not for small arrays.
        shared: where processes of this machine share the images that each has decoded. Batches are then asked for in
            their order, by all of these processes; out of it, each process decodes its own.
        decoders: processes that decode for this one; they need ``shared``.

    Raises UserError where the batch cannot be split so, or is larger than the data.
    """

    def __init__(
        self,
        data: DataSet,
        recipe: Recipe,
        size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        shared: SharedCrops | None = None,
        decoders: int = 0,
    ) -> None:
        check_shares(recipe, world_size)
        self._data, self._recipe, self._size, self._seed = data, recipe, size, seed
        self._world_size = world_size
        self._slice = rank_positions(recipe.batch, rank, world_size)
        self.share = len(self._slice)
        """Images of a global batch that this process computes."""
        self._policy = augmentation.parse(recipe.auto_augment) if recipe.auto_augment else None
        self._fill = [min(255, round(255 * value)) for value in data.mean]
        self._normalise = _normaliser(data.mean, data.std)
        self._pool = ThreadPoolExecutor(workers) if workers else None
        self._shared = shared
        self._order: tuple[int, NDArray[np.int64]] | None = None
        self.steps_per_epoch = epoch_length(len(data.train)) // recipe.batch
        """The last, incomplete batch is dropped, as in the official loader."""
        if self.steps_per_epoch == 0:
            raise UserError(
                f"recipe.batch exceeds {epoch_length(len(data.train))}, the images of an epoch: {recipe.batch}\n"
                "  use a smaller batch"
            )
        self._begun, self._closed = -1, False
        self.decoders = Decoders(partial(self._make, decoders), decoders) if shared is not None and decoders else None

    def positions(self, step: int) -> range:
        """The positions in their epoch of this process's images of global batch ``step``."""
        start = step * self._recipe.batch
        return range(start + self._slice.start, start + self._slice.stop)

    def close(self) -> None:
        """End the processes that decode, and tell those that share images with this one that it makes no more."""
        self._closed = True
        if self._shared is not None:
            self._shared.close()
        if self.decoders is not None:
            self.decoders.close()

    def batch(self, epoch: int, step: int) -> Batch:
        """This process's slice of global batch ``step`` (0 to ``steps_per_epoch`` - 1) of ``epoch``."""
        return self.finished(self.crops(epoch, step, erase=False), CPU)

    def crops(self, epoch: int, step: int, erase: bool = True) -> Crops:
        """What a processor makes for `finished` on a GPU: decoded, cropped and resized images, and drawn noise."""
        groups = self._groups(epoch, step, self._slice)
        parts = self._parts(self._slice, groups)
        slots = np.concatenate([np.arange(part.start, part.stop) for part in parts])
        images = self._from_shared(epoch, step, parts)
        if images is None:
            images = torch.empty((len(slots), 3, self._size, self._size), dtype=torch.uint8)
            self._crop(self._copies(epoch, step, slots, range(len(slots))), images)
        labels = torch.from_numpy(self._data.train.labels[self._images_of(epoch, step)[slots]])
        crops = Crops(epoch, step, images, labels, parts, groups)
        return replace(crops, erased=self._erased(crops)) if erase else crops

    def finished(self, crops: Crops, device: torch.device) -> Batch:
        """Augment, normalise, erase and mix ``crops`` on ``device``: its pixels are used up.

        A GPU makes what the processor does, from the same draws, but for the last bit of rotations and shears.
        """
        images = crops.images.to(device, non_blocking=True)
        pixels = torch.empty(images.shape, device=device)
        on_cpu, first = device.type == "cpu", 0
        chunks: list[tuple[slice, int]] = []
        for part in crops.parts:
            # Pieces stay in a processor's cache; a GPU would wait for each of them.
            most = max(1, CHUNK // self._size**2) if on_cpu else len(part)
            for begin in range(0, len(part), most):
                rows = slice(first + begin, first + min(begin + most, len(part)))
                chunks.append((rows, crops.step * self._recipe.batch + part.start + begin))
            first += len(part)

        def augment(chunk: tuple[slice, int]) -> None:
            rows, start = chunk
            self._augment(images[rows], pixels[rows], crops.epoch, start, erase=crops.erased is None)

        # The threads crop the next batch while a GPU makes this one.
        self._each(augment, chunks, self._pool if on_cpu else None)
        for one in crops.erased or ():
            one.overwrite(pixels)
        return self._mixed(crops, pixels)

    def _mixed(self, crops: Crops, pixels: Tensor) -> Batch:
        count, classes, smoothing = self.share, self._data.classes, self._recipe.label_smoothing
        targets, others = [], count
        for group in crops.groups:
            part = slice(group.own.start - self._slice.start, group.own.stop - self._slice.start)
            images, labels = pixels[part], crops.labels[part]
            if self._is_torn(group):
                rest = slice(others, others := others + len(group.own))
                images, labels = torch.cat([images, pixels[rest]]), torch.cat([labels, crops.labels[rest]])
            transforms.mix_images(images, group.mix)
            if self._is_torn(group):
                pixels[part] = images[: len(group.own)]
            targets.append(transforms.soft_targets(labels, classes, smoothing, group.mix)[: len(group.own)])
        return Batch(pixels[:count], onto(torch.cat(targets), pixels.device), crops.labels[:count])

    def _groups(self, epoch: int, step: int, part: range) -> tuple[Group, ...]:
        """The mix groups of a global batch that ``part`` of it has slots of; all of it where nothing is mixed."""
        recipe, size = self._recipe, self._recipe.mix_batch
        if not transforms.is_mixed(recipe):
            return (Group(part, range(0), None),)
        groups = []
        for group in range(part.start // size, -(-part.stop // size)):
            own = range(max(part.start, group * size), min(part.stop, (group + 1) * size))
            mirror = (2 * group + 1) * size
            mix = transforms.draw_mix(recipe, self._size, self._seed, epoch, step * recipe.batch // size + group)
            groups.append(Group(own, range(mirror - own.stop, mirror - own.start), mix))
        return tuple(groups)

    def _parts(self, part: range, groups: Sequence[Group]) -> tuple[range, ...]:
        """The slots that a process makes whose part of the global batch is ``part``."""
        return (part, *(group.partners for group in groups if self._is_torn(group)))

    def _is_torn(self, group: Group) -> bool:
        return group.mix is not None and len(group.own) < self._recipe.mix_batch

    def _erased(self, crops: Crops) -> tuple[transforms.Erasure, ...]:
        if self._recipe.erase == 0:
            return ()
        erased, first = [], 0
        for part in crops.parts:
            start = crops.step * self._recipe.batch + part.start
            draws = uniforms(self._seed, "erase", crops.epoch, start, start + len(part), transforms.ERASE_DRAWS)
            noise = self._erase_noise(crops.epoch, start)
            shape = crops.images.shape[1:]
            found = transforms.erasures(shape, draws, self._recipe.erase, noise)
            erased += [replace(one, index=first + one.index) for one in found]
            first += len(part)
        return tuple(erased)

    def _erase_noise(self, epoch: int, start: int) -> transforms.Noise:
        """Normal numbers for the images from position ``start`` of the epoch on."""

        def noise(index: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
            return generator(self._seed, "erase noise", epoch, start + index).standard_normal(shape, np.float32)

        return noise

    @staticmethod
    def _each(work: Callable[[T], None], items: Iterable[T], pool: ThreadPoolExecutor | None) -> None:
        for _ in (pool.map if pool else map)(work, items):
            pass

    def _images_of(self, epoch: int, step: int) -> NDArray[np.int64]:
        """Indices of the images of a global batch, in the order of its mix groups."""
        if self._order is None or self._order[0] != epoch:
            order = epoch_order(len(self._data.train), self._recipe.repeats, self._seed, epoch)
            self._order = epoch, order
        size = self._recipe.batch
        batch = self._order[1][step * size : (step + 1) * size]
        return deal(batch, size // self._recipe.mix_batch)

    def _from_shared(self, epoch: int, step: int, parts: Sequence[range]) -> Tensor | None:
        """The crops of ``parts``, of which this process has made some; None where nothing is shared any more."""
        shared, position = self._shared, epoch * self.steps_per_epoch + step
        if shared is None:
            return None
        if not shared.opened(position):
            self._end_sharing()
            return None
        if self.decoders is None:
            self._make(1, position, 0)
        else:
            self._begin(shared, self.decoders, position)
            self.decoders.finish(position)
        shared.filled(position)
        if not shared.complete(position):
            self._end_sharing()
            return None
        batch = shared.batch(position)
        images = torch.cat([batch[part.start : part.stop] for part in parts])
        shared.taken(position)
        return images

    def _end_sharing(self) -> None:
        """Decode in threads from now on, where processes have done it. Errors: `JobError` after `close`."""
        if self._closed:
            raise JobError("no batches are made any more")
        if self.decoders is not None:
            self.decoders.close()
            self._pool = self._pool or ThreadPoolExecutor(len(self.decoders.processes))

    def _begin(self, shared: SharedCrops, decoders: Decoders, position: int) -> None:
        """Have ``position`` made and, where they have room already, those ahead."""
        last = min(position + AHEAD, self._recipe.epochs * self.steps_per_epoch - 1)
        for later in range(max(position, self._begun + 1), last + 1):
            if later > position and not shared.is_free(later):
                break
            decoders.begin(later)
            self._begun = later

    def _make(self, of: int, position: int, number: int) -> None:
        """Make part ``number`` ``of`` so many that this process's share of a shared global batch is cut into."""
        shared = self._shared
        assert shared is not None, "somebody has asked for it"
        epoch, step = divmod(position, self.steps_per_epoch)
        slots = self._slots(epoch, step, shared.ranks)
        _, images = np.unique(self._images_of(epoch, step)[slots], return_inverse=True)
        turn, whose = np.divmod(images, len(shared.ranks))
        # The processes need not have as many decoders each.
        slots = slots[(whose == shared.member) & (turn % of == number)]
        self._crop(self._copies(epoch, step, slots, slots.tolist()), shared.batch(position))

    def _slots(self, epoch: int, step: int, ranks: Sequence[int]) -> NDArray[np.int64]:
        """The slots of a global batch that the processes ``ranks`` need."""
        needed = np.zeros(self._recipe.batch, np.bool_)
        parts = [rank_positions(self._recipe.batch, rank, self._world_size) for rank in ranks]
        for part in parts:
            needed[part.start : part.stop] = True
        for part in () if needed.all() else parts:
            for other in self._parts(part, self._groups(epoch, step, part)):
                needed[other.start : other.stop] = True
        return np.flatnonzero(needed)

    def _copies(self, epoch: int, step: int, slots: NDArray[np.int64], rows: Sequence[int]) -> list[Shown]:
        """The images at ``slots`` of a global batch, each once, with the ``rows`` that their copies go to."""
        batch = self._recipe.batch
        # Of the whole batch: a fifth of a millisecond for 1,024.
        draws = uniforms(self._seed, "crop", epoch, step * batch, (step + 1) * batch, transforms.CROP_DRAWS)
        chosen, copies = self._images_of(epoch, step)[slots].tolist(), defaultdict[int, list[Copy]](list)
        for index, row, drawn in zip(chosen, rows, draws[slots].tolist(), strict=True):
            copies[index].append((row, drawn))
        return list(copies.items())

    def _crop(self, shown: Sequence[Shown], images: Tensor) -> None:
        """Decode, crop and resize ``shown`` into ``images`` uint8 [n, 3, S, S].

        Each image is decoded once, however many copies of it there are: decoding is a third of the stream.
        """
        recipe = self._recipe

        def crop(image: Shown) -> None:
            index, copies = image
            pixels = self._data.train.image(index)
            height, width = pixels.shape[1:]
            for row, draws in copies:
                box = transforms.random_box(height, width, recipe.crop_scale, recipe.crop_ratio, draws)
                transforms.crop_resized(pixels, box, images[row])

        self._each(crop, shown, self._pool)

    def _augment(self, images: Tensor, pixels: Tensor, epoch: int, start: int, erase: bool) -> None:
        """All but mixing, of ``images`` (uint8, used up) at the positions from ``start`` on, into ``pixels``."""
        recipe = self._recipe

        def draws(stream: str, width: int) -> NDArray[np.float64]:
            return uniforms(self._seed, stream, epoch, start, start + len(images), width)

        flipped = augmentation.sent(np.flatnonzero(draws("flip", 1)[:, 0] < recipe.flip), images)
        images[flipped] = images[flipped].flip(3)
        if self._policy is not None:
            # One stream for either policy, named after the first: renaming it would change every training.
            self._policy.apply(images, draws("rand augment", self._policy.width), self._fill)
        elif recipe.color_jitter > 0:
            augmentation.color_jitter(images, recipe.color_jitter, draws("color jitter", augmentation.JITTER_DRAWS))
        self._normalise(images, pixels)
        if erase and recipe.erase > 0:
            found = draws("erase", transforms.ERASE_DRAWS)
            transforms.erase(pixels, found, recipe.erase, self._erase_noise(epoch, start))


def training_batches(
    data: DataSet, recipe: Recipe, size: int, seed: int, team: Ranks, device: torch.device
) -> TrainBatches:
    """The batches that this process of ``team`` trains with on ``device``, decoded by as many as that is worth."""
    workers = decode_workers(device)
    decoders = workers if decode_in_processes(workers) else 0
    if (shared := shared_crops.join(team, device, (recipe.batch, 3, size, size), decoders > 0)) is None:
        decoders = 0
    threads = 0 if decoders else workers
    return TrainBatches(data, recipe, size, seed, team.rank, team.world_size, threads, shared, decoders)


def spread(images: int, most: int) -> range:
    """Up to ``most`` indices below ``images``, evenly spaced: folders of images are sorted by class."""
    return range(0, images, max(1, -(-images // most)))


def evaluation_batches(
    split: Split,
    size: int,
    evaluation: Evaluation,
    batch: int,
    workers: int = 0,
    chosen: Sequence[int] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images of ``split``: float32 [b, 3, size, size] normalised, and labels int64 [b].

    chosen: their indices; None is all of them, in order. workers: threads that decode and crop.
    The last batch may be smaller. One centre crop an image (see `transforms.evaluation_view`).
    """
    normalise = _normaliser(split.mean, split.std)

    def view(index: int) -> Tensor:
        return transforms.evaluation_view(split.image(index), size, evaluation.crop, evaluation.interpolation)

    if chosen is None:
        chosen = range(len(split))
    with ThreadPoolExecutor(workers) if workers else nullcontext() as pool:
        for begin in range(0, len(chosen), batch):
            indices = chosen[begin : begin + batch]
            views = list(pool.map(view, indices) if pool else map(view, indices))
            images = torch.stack(views)
            pixels = torch.empty(images.shape)
            normalise(images, pixels)
            yield pixels, torch.from_numpy(split.labels[list(indices)])


def _normaliser(mean: Sequence[float], std: Sequence[float]) -> Callable[[Tensor, Tensor], None]:
    """Writes uint8 [B, 3, H, W] as float32: (value / 255 - mean) / std as one multiplication and one addition."""
    scale = torch.tensor([1 / (255 * s) for s in std])[:, None, None]
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])[:, None, None]

    def write(images: Tensor, pixels: Tensor) -> None:
        # Two kernels on any device: one would round once where these round twice.
        pixels.copy_(images).mul_(onto(scale, pixels.device)).add_(onto(shift, pixels.device))

    return write
