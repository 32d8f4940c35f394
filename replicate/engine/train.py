"""Training one network: pre-training, distillation and fine-tuning are one loop.

A training is a function of its job and its inputs: where it is stopped and resumed does not
change a bit of it (on the CPU).
"""

from __future__ import annotations

import logging
import math
import resource
import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor

from replicate.engine import compiled, input_results, models, optim
from replicate.engine.answers import Lessons
from replicate.engine.batches import PAPER, Crops, evaluation_batches, spread, training_batches
from replicate.engine.checkpoint import (
    Checkpoints,
    Snapshot,
    optimizer_tensors,
    restore_network,
    restore_optimizer,
    weights_bytes,
    within,
)
from replicate.engine.compiled import CompiledSteps
from replicate.engine.data import Split
from replicate.engine.device_ops import onto
from replicate.engine.keyed_random import torch_seed
from replicate.engine.losses import check_token, loss
from replicate.engine.micro_batch import BatchNorms, MicroBatches
from replicate.engine.models import DropPaths
from replicate.engine.prefetcher import Prefetcher
from replicate.engine.ranks import Forward, Heads, Ranks, together
from replicate.engine.run import EVERY, Progress, Report, Stop, Stopped
from replicate.errors import Diverged, NotAvailable
from replicate.jobs.network import WEIGHTS
from replicate.jobs.train import CURVE, VALIDATION_IMAGES, Train
from replicate.metrics.stated import stored_as
from replicate.specs.recipe import check_whole
from replicate.store import epochs as log
from replicate.store.epochs import EpochLine
from replicate.store.files import write_bytes, write_json

ALONE = Ranks()


def run(job: Train, inputs: Mapping[str, Path], folder: Path, report: Report, stop: Stop) -> dict[str, object]:
    """Run a train job: ``model.safetensors``, ``curve.json`` and, with an EMA, ``ema.safetensors``.

    report: gets ``{"epoch", "epochs", "step", "steps", "loss"}``, epoch and step counted from 1.
    stop: asked after each step; True writes a checkpoint there and raises `Stopped`. Several processes agree on
    it every few steps (`Looks`).
    Resumes from the newest intact checkpoint in ``folder``; without a fault they are removed at the end.
    Returns the last epoch's mean loss, and epochs, images and parameters.
    Where the environment names several processes (see `ranks.together`), they share each batch, and the first
    one writes; the others return an empty summary.
    Errors: `Diverged`, those of `Training`, and `OSError` when the weights cannot be written.
    """
    compiled.share_cache(folder.parent, models.best_device())
    with together() as team, closing(Training(job, inputs, team)) as training:
        return _train(training, job, folder, report, stop)


def _train(training: Training, job: Train, folder: Path, report: Report, stop: Stop) -> dict[str, object]:
    team = training.team
    checkpoints = Checkpoints(folder, job)
    start = 0
    if (snapshot := checkpoints.newest()) is not None:
        training.restore(snapshot)
        start = snapshot.position
    epochs, steps = training.recipe.epochs, training.steps
    team.check(training.batches.share, training.recipe.batch, start, training.device)
    progress, watch, looks, asked = Progress(report), Watch(training), Looks(training.device), False
    if team.first:
        log.begin(folder, start // steps)
    for position in range(start, epochs * steps):
        epoch, step = divmod(position, steps)
        if step == 0 or position == start:
            optim.set_rate(training.optimizer, optim.rate(training.recipe, epoch))
        training.step(epoch, step)
        epoch_done = step == steps - 1
        asked = stop() or asked
        # Several processes look after the same steps. One alone looks whenever it is going to write, too.
        now = epoch_done or (team.world_size == 1 and (asked or checkpoints.due()))
        if not (looks.due() or now):
            continue
        losses = training.losses()
        stopping, fewer = team.largest([int(asked), -looks.next()], training.device)
        looks.steps = -fewer
        good = sum(1 for _ in takewhile(math.isfinite, losses))
        what = None
        if good < len(losses):
            what, value, at = "a loss that is not finite", losses[good], step + 1 - len(losses) + good
        # Asked of all: where one alone gave up, the others would wait for it.
        elif (epoch_done or stopping) and team.any(not training.finite(), training.device):
            what, value, at = "weights that are not finite", losses[-1], step
        if what is not None:
            raise Diverged(
                f"train: {what} in epoch {epoch + 1} of {epochs}, step {at + 1} of {steps}: loss {value}\n"
                f"  last good checkpoint: {checkpoints.last or 'none'}"
            )
        if epoch_done:
            training.end_epoch(epoch)
        fields: dict[str, object] = {
            "epoch": epoch + 1,
            "epochs": epochs,
            "step": step + 1,
            "steps": steps,
            "loss": losses[-1],
        }
        if team.first:
            if epoch_done:
                line = watch.epoch_done()
                log.append(folder, line)
                print(line, flush=True)
            # Whoever watches reads the line of an epoch when this says that it ended.
            progress(fields, always=epoch_done)
        if stopping:
            if team.first:
                checkpoints.save(training.snapshot(position + 1))
            raise Stopped(f"train: stopped after epoch {epoch + 1}, step {step + 1}: {checkpoints.last}")
        # Within an epoch too: one of DeiT-B takes over an hour on a V100. What has diverged is no way back.
        if team.first and checkpoints.due() and training.finite():
            checkpoints.save(training.snapshot(position + 1))
    if not team.first:
        return {}
    write_bytes(folder / WEIGHTS["last"], weights_bytes(training.network.state_dict()))
    if training.ema is not None:
        write_bytes(folder / WEIGHTS["ema"], weights_bytes(training.ema.module.state_dict()))
    write_json(folder / CURVE, [point.as_json() for point in training.curve])
    checkpoints.clear()
    return {
        "loss": training.curve[-1].loss,
        "epochs": epochs,
        "images": training.images,
        "parameters": models.parameter_count(training.network),
    }


LOOK_SECONDS = EVERY
"""At least so long between two looks at a device: a reader sees no more."""
GPU_STEPS, MOST_STEPS = 4, 64
"""A GPU is looked at after at least four steps: while the processor waits for one, it prepares nothing of the next.
After 64 a loss that is not finite is found, however fast the steps are."""


class Looks:
    """When the processor waits for a device to finish its steps, to read their losses: every few steps.

    steps: from one look to the next; several processes make it the same.
    """

    def __init__(self, device: torch.device) -> None:
        self.steps = 1
        self._least = 1 if device.type == "cpu" else GPU_STEPS
        self._since, self._begun = 0, time.monotonic()

    def due(self) -> bool:
        """Asked after each step."""
        self._since += 1
        return self._since >= self.steps

    def next(self) -> int:
        """After a look: in how many steps the next one should be, by the time that these took."""
        now = time.monotonic()
        each = (now - self._begun) / self._since
        self._since, self._begun = 0, now
        return max(self._least, MOST_STEPS if each * MOST_STEPS <= LOOK_SECONDS else int(LOOK_SECONDS / each))


class Watch:
    """Times a training, epoch by epoch, for whoever watches it: nothing of the result depends on it."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._begin()

    def epoch_done(self) -> EpochLine:
        """The epoch that has just been added to the curve. Ends what was timed, and begins anew."""
        training, point = self._training, self._training.curve[-1]
        seconds = time.monotonic() - self._begun
        line = EpochLine(
            epoch=point.epoch + 1,
            epochs=training.recipe.epochs,
            loss=point.loss,
            rate=point.lr,
            top1=point.validation,
            images=training.images,
            seconds=round(seconds, 3),
            waiting=round(training.waiting - self._waited, 3),
            speed=round((training.images - self._images) / seconds, 3),
            memory_mb=round(_peak_bytes(training.device) / 1e6, 1),
            gpus=training.team.world_size if training.device.type == "cuda" else 0,
        )
        self._begin()
        return line

    def _begin(self) -> None:
        self._begun, self._images, self._waited = time.monotonic(), self._training.images, self._training.waiting


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Linux counts kilobytes.
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@dataclass(frozen=True, slots=True)
class Point:
    """An epoch of the curve: rate, mean loss, images seen so far, and top-1 [%] where there are images for it."""

    epoch: int
    lr: float
    loss: float
    images: int
    validation: float | None = None

    def as_json(self) -> dict[str, float]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class _State:
    """What a checkpoint holds that is no tensor."""

    images: int
    loss_sum: float
    curve: tuple[Point, ...]
    scaler: Mapping[str, int | float] | None
    compiled: CompiledSteps = "no"


class Training:
    """A network in training: everything that changes from step to step.

    Errors: `NotAvailable` for fp16 without a GPU, `UserError` for a network that does not suit the
    method, the weights it starts from or the number of processes, or for `micro_batch.MICRO_BATCH`.
    """

    def __init__(self, job: Train, inputs: Mapping[str, Path], team: Ranks = ALONE) -> None:
        self.recipe, self.distillation = job.recipe, job.distillation
        assert job.seed is not None, "its payload has one"
        self.seed, self.size = job.seed, job.size
        self.device = models.best_device()
        if job.needs_gpu and self.device.type != "cuda":
            raise NotAvailable(
                f"recipe.precision: '{self.recipe.precision}' needs a GPU, got device '{self.device.type}'\n"
                "  set precision = 'bf16' or 'fp32', or run it where torch finds a GPU"
            )
        bf16_on_cpu = self.device.type == "cpu" and self.recipe.precision == "bf16"
        if bf16_on_cpu and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            logging.getLogger(__name__).warning(
                "recipe.precision is 'bf16', of which this processor has no instructions: "
                "a step takes many times as long as in 'fp32'"
            )
        data = input_results.data_set(inputs)
        self.team = team
        self.batches = training_batches(data, self.recipe, self.size, self.seed, team, self.device)
        self.steps: int = self.batches.steps_per_epoch
        self.prefetcher: Prefetcher[Crops] | None = None
        if self.device.type == "cuda":
            self.prefetcher = Prefetcher(
                lambda position: self._crops(position).pinned(), self.recipe.epochs * self.steps
            )

        attention = self.recipe.attention
        network = models.build(job.model, self.size, data.classes, self.recipe, self.seed, attention)
        check_token(models.has_distillation_head(network), self.distillation)
        if "init" in inputs:
            weights = inputs["init"] / WEIGHTS[job.init_weights]
            models.load_weights(network, weights, resize=True, new_heads=not input_results.same_data(job, inputs))
        self.drop_paths = DropPaths(network, self.seed)
        self.network = network.to(self.device).train(self.recipe.train_mode)
        self.micro_batches = MicroBatches(self.batches.share)
        self.batch_norms = BatchNorms(self.network)
        if self.batch_norms:
            check_whole(self.recipe, team.world_size)
            # Another number of images would be another network.
            self.micro_batches.images = self.recipe.mix_batch
        self.format = models.memory_format(job.model)
        self.lessons: Lessons | None = None
        if self.distillation is not None and self.distillation.method != "label":
            self.lessons = Lessons(job, inputs, data, team, self.device)

        made = self._compiled() if compiled.is_wanted(self._images_in_all(), self.device) else None
        self.forward = team.forward(self.network, made)
        self.compiled: CompiledSteps = "no" if made is None else "yes"
        compiled.note(self.compiled)
        self.optimizer = optim.optimizer(self.network, self.recipe)
        self.scaler = torch.amp.GradScaler("cuda") if self.recipe.precision == "fp16" else None
        self.ema = ModelEmaV3(self.network, decay=self.recipe.ema) if self.recipe.ema > 0 else None
        self.validation = Validation(data.test, self.size, self.device)
        self.images = 0
        self.waiting = 0.0
        """Seconds in which a step waited for its images; since it was resumed."""
        self.loss_sum = 0.0
        self._losses: list[Tensor] = []
        """Of the steps that nobody has looked at, on the device."""
        self.curve: list[Point] = []

    def step(self, epoch: int, step: int) -> None:
        """One optimiser step, which a GPU may still be computing afterwards: `losses` waits for it."""
        begun = time.monotonic()
        if self.prefetcher is None:
            batch = self.batches.batch(epoch, step)
        else:
            batch = self.batches.finished(self.prefetcher(epoch * self.steps + step), self.device)
        self.waiting += time.monotonic() - begun
        images = batch.images.to(self.device, non_blocking=True, memory_format=self.format)
        targets = batch.targets.to(self.device, non_blocking=True)
        self._losses.append(self._gradients(images, targets, epoch, step))
        if self.scaler is None:
            self._clip()
            self.optimizer.step()
        else:
            if self.recipe.clip_norm > 0:
                self.scaler.unscale_(self.optimizer)
                self._clip()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.network)
        self.images += len(images) * self.team.world_size

    def losses(self) -> list[float]:
        """Return the loss of each step since the last call, over all processes, and add them to the epoch's.

        What comes after a loss that is not finite is nothing to keep: the weights follow it.
        """
        found = self.team.means(torch.stack(self._losses)) if self._losses else []
        self._losses.clear()
        for loss_of_step in found:
            self.loss_sum += loss_of_step
        return found

    def finite(self) -> bool:
        """Whether the weights are. Of this process: what BatchNorm has seen differs between them (`BatchNorms`)."""
        tensors = (tensor for tensor in self.network.state_dict().values() if tensor.is_floating_point())
        # One question to the device.
        return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all())

    def end_epoch(self, epoch: int) -> None:
        """Adds the epoch's line to the curve: rate, mean loss over the steps, images seen so far, validation."""
        assert not self._losses, "looked at"
        mean = self.loss_sum / self.steps
        lr = optim.rate(self.recipe, epoch)
        top1 = self.validation.top1(self.network) if self.validation else None
        self.curve.append(Point(epoch, lr, mean, self.images, top1))
        self.loss_sum = 0.0

    def snapshot(self, position: int) -> Snapshot:
        assert not self._losses, "looked at"
        parts = {"model": self.network.state_dict(), "optimizer": optimizer_tensors(self.optimizer)}
        if self.ema is not None:
            parts["ema"] = self.ema.module.state_dict()
        state = {
            "images": self.images,
            "loss_sum": self.loss_sum,
            "curve": [point.as_json() for point in self.curve],
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "compiled": self.compiled,
        }
        tensors = {f"{part}/{name}": value for part, named in parts.items() for name, value in named.items()}
        return Snapshot(position, tensors, state)

    def restore(self, snapshot: Snapshot) -> None:
        state = stored_as(_State, snapshot.state)
        restore_network(self.network, within(snapshot.tensors, "model"))
        restore_optimizer(self.optimizer, within(snapshot.tensors, "optimizer"))
        if self.ema is not None:
            restore_network(self.ema.module, within(snapshot.tensors, "ema"))
        if self.scaler is not None:
            self.scaler.load_state_dict(dict(state.scaler or {}))
        self._losses.clear()
        self.compiled = compiled.both(state.compiled, self.compiled) if snapshot.position else self.compiled
        compiled.note(self.compiled)
        self.images, self.loss_sum = state.images, state.loss_sum
        self.curve = list(state.curve)

    def close(self) -> None:
        """End the thread and the processes that prepare batches, and what is shared with other processes."""
        self.batches.close()
        if self.prefetcher is not None:
            self.prefetcher.close()

    def _crops(self, position: int) -> Crops:
        return self.batches.crops(*divmod(position, self.steps))

    def _images_in_all(self) -> int:
        return self.recipe.epochs * self.steps * self.recipe.batch

    def _compiled(self) -> torch.nn.Module | None:
        """The network's heads, compiled for as many images as fit; None where not all processes can."""
        buffers = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        while True:
            try:
                made = compiled.compiled(Heads(self.network), self._try)
                break
            except torch.cuda.OutOfMemoryError:
                if self.team.world_size > 1 or self.micro_batches.images == 1 or self.batch_norms:
                    raise
            self.micro_batches.halve()
        for name, buffer in self.network.named_buffers():
            buffer.copy_(buffers[name])
        return None if self.team.any(made is None, self.device) else made

    def _try(self, forward: Forward) -> None:
        """Compute a step of blank images and forget its gradients. The optimiser makes none of it."""
        count = self.micro_batches.images
        images = torch.zeros(count, 3, self.size, self.size, device=self.device)
        self.drop_paths.use(onto(self.drop_paths.draw(0, 0, count), self.device))
        with models.autocast(self.recipe.precision, self.device), self.batch_norms.tracking(self.team.first):
            logits = forward(images.contiguous(memory_format=self.format))
        torch.stack([part.float().mean() for part in logits.values()]).sum().backward()  # type: ignore[no-untyped-call]
        self.network.zero_grad(set_to_none=True)

    def _gradients(self, images: Tensor, targets: Tensor, epoch: int, step: int) -> Tensor:
        """Leaves the gradients of the mean loss of ``images``, which is returned, in the parameters."""
        while True:
            try:
                return self._accumulate(images, targets, epoch, step)
            except torch.cuda.OutOfMemoryError:
                # Several processes would have to go back together; groups of BatchNorm are what they are.
                if self.team.world_size > 1 or self.micro_batches.images == 1 or self.batch_norms:
                    raise
            self.optimizer.zero_grad(set_to_none=True)
            self.micro_batches.halve()

    def _accumulate(self, images: Tensor, targets: Tensor, epoch: int, step: int) -> Tensor:
        # Dropout draws from torch's own generator: keyed, so that a restart changes nothing.
        torch.default_generator.manual_seed(seed := torch_seed(self.seed, "dropout", epoch, step) + self.team.rank)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        positions = self.batches.positions(step)
        factors = onto(self.drop_paths.draw(epoch, positions.start, positions.stop), self.device)
        total = torch.zeros((), device=self.device)
        for part in self.micro_batches.parts(len(images)):
            last, first = part.stop == len(images), self.team.first and part.start == 0
            with nullcontext() if last else self.team.apart(self.forward):
                self.drop_paths.use(factors[:, part])
                with models.autocast(self.recipe.precision, self.device), self.batch_norms.tracking(first):
                    teacher = None if self.lessons is None else self.lessons(images[part], epoch, positions[part])
                    value = loss(self.forward(images[part]), targets[part], teacher, self.distillation)
                    value = value * (len(images[part]) / len(images))
                scaled = value if self.scaler is None else self.scaler.scale(value)
                scaled.backward()  # type: ignore[no-untyped-call]
            total += value.detach()
        return total

    def _clip(self) -> None:
        if self.recipe.clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)


class Validation:
    """Up to `VALIDATION_IMAGES` images of ``split``, evenly spaced; false where it has none.

    For the curve alone: no weights are ever chosen by it, and it is no number of a table.
    """

    def __init__(self, split: Split, size: int, device: torch.device) -> None:
        some = spread(len(split), VALIDATION_IMAGES)
        views = evaluation_batches(split, size, PAPER, VALIDATION_IMAGES, chosen=some)
        self.images, self.labels = (part.to(device) for part in next(views, (torch.empty(0), torch.empty(0))))
        self._micro_batches = MicroBatches(VALIDATION_IMAGES)

    def __bool__(self) -> bool:
        return len(self.images) > 0

    @torch.no_grad()
    def top1(self, network: torch.nn.Module) -> float:
        """Top-1 [%] of the heads of ``network`` together. Its mode is as before afterwards."""
        mode = network.training
        network.eval()
        decided = self._micro_batches.each(lambda images: models.joint(network, images).argmax(dim=1), self.images)
        network.train(mode)
        return 100.0 * float((torch.cat(decided) == self.labels).float().mean())
