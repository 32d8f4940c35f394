"""Checks of what is computed: against the processor, against fp32, and after what happens to trainings."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_check.check import Mismatch, NotHere, Setting, check, must
from benchmarks.gpu_check.materials import Laboratory

STEPS = 50
OVERFLOW = 10
"""After so many steps the loss scale is made too large for one."""
CLOSE = 0.02
"""Of the first loss: how far the losses of two trainings of `STEPS` steps may lie apart, on average."""
AGREE = 0.98
"""Share of images that two ways to evaluate a network decide alike: near a boundary rounding decides."""
PLAIN = {"mixup": 0.0, "cutmix": 0.0, "auto_augment": "", "color_jitter": 0.0, "erase": 0.0, "drop_path": 0.0}
"""A recipe whose loss falls at once: trainings that are equal only because nothing is learnt would show nothing."""


@check("pointwise operations equal to the last bit; rotations and shears within one level, on fewer than 0.5 %", 60)
def device_kernels_against_the_processors(setting: Setting) -> str:
    import torch

    from replicate.engine import augmentation

    device, draw = torch.device(setting.device), np.random.default_rng(1)
    size = 32 if setting.smallest else 224
    images = draw.integers(0, 256, (4, 3, size, size)).astype(np.uint8)
    images[1] = np.linspace(0, 255, size).astype(np.uint8)
    images[2] = images[2] // 16 * 3
    images[3, 0] = 7
    geometric, worst = {"Rotate", *augmentation.SHIFTS}, 0.0
    for name in augmentation.OPERATIONS:
        for level in (0.0, 2.7, 9.3, 10.0):
            chosen = np.full(len(images), augmentation.OPERATIONS.index(name))
            levels, signs = np.full(len(images), level), np.array([1.0, -1.0, 1.0, -1.0])
            wanted, found = images.copy(), torch.from_numpy(images.copy()).to(device)
            augmentation.apply_layer(wanted, chosen, levels, signs, (124, 116, 104))
            augmentation.apply_layer_on_device(found, chosen, levels, signs, (124, 116, 104))
            error = np.abs(found.cpu().numpy().astype(int) - wanted)
            other = float((error > 0).mean())
            worst = max(worst, other)
            close = error.max() <= 1 and other < 0.005 if name in geometric else other == 0
            must(close, f"{name} at {level:g}: off by up to {error.max()}, on {other:.2%} of values")
    return f"{len(augmentation.OPERATIONS)} operations at 4 strengths; at most {worst:.3%} of values differ, by one"


@check("targets equal; fewer than 0.5 % of values differ by more than a hundredth of a level", 60)
def a_whole_batch_against_the_processors(setting: Setting) -> str:
    import torch

    stream, recipe = _stream(setting, workers=0)
    wanted = stream.batch(1, 0)
    found = stream.finished(stream.crops(1, 0), torch.device(setting.device))
    must(torch.equal(found.targets.cpu(), wanted.targets), "targets differ")
    error = (found.images.cpu() - wanted.images).abs() * 255 * 0.224
    share = float((error > 0.01).float().mean())
    must(share < 0.005, f"{share:.2%} of values differ, by up to {error.max():.1f} levels")
    return f"{recipe.batch} images, {recipe.auto_augment}: {share:.3%} of values differ"


@check("each batch has the bits of the same batch made alone", 60, needs_gpu=True)
def batches_ahead_in_pinned_memory(setting: Setting) -> str:
    """While the GPU is kept busy: what is copied late must still be what was sent."""
    import torch

    from replicate.engine.prefetcher import Prefetcher

    device = torch.device(setting.device)
    stream, recipe = _stream(setting, workers=len(os.sched_getaffinity(0)))
    steps = stream.steps_per_epoch
    count = 6
    ahead = Prefetcher(lambda position: stream.crops(*divmod(position, steps)).pinned(), count)
    busy, kept = torch.randn(4096, 4096, device=device), []
    for position in range(count):
        crops = ahead(position)
        must(crops.images.is_pinned(), "images are not in pinned memory")
        for _ in range(20):
            busy = (busy @ busy).clamp_(-1, 1)
        kept.append(stream.finished(crops, device))
        # Dropped before the copies have happened: whoever pins next may be given this memory.
        del crops
    ahead.close()
    torch.cuda.synchronize()
    for position, batch in enumerate(kept):
        alone = stream.finished(stream.crops(*divmod(position, steps)), device)
        torch.cuda.synchronize()
        must(torch.equal(alone.images, batch.images), f"images of batch {position} differ")
        must(torch.equal(alone.targets, batch.targets), f"targets of batch {position} differ")
    return f"{count} batches of {recipe.batch} images"


def _stream(setting: Setting, workers: int) -> tuple[Any, Any]:
    from replicate.engine.batches import TrainBatches
    from replicate.engine.input_results import data_set

    laboratory = Laboratory(setting.folder, setting.smallest)
    recipe = laboratory.training("t").recipe
    data = data_set({"data": laboratory.data})
    return TrainBatches(data, recipe, laboratory.size, 0, workers=workers), recipe


@check(f"losses of {STEPS} steps within {CLOSE:.0%} of fp32's, on average; an overflow moves no weight", 150, True)
def mixed_precision_fp16(setting: Setting) -> str:
    import torch

    scaler, seen = torch.amp.GradScaler, dict[str, Any](steps=0)

    class Overflowing(scaler):  # type: ignore[misc, valid-type]
        """Scales the loss of one step until its gradients are more than fp16 holds."""

        def step(self, optimizer: Any, *words: Any, **how: Any) -> Any:
            seen["steps"] += 1
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            before = [each.detach().clone() for each in parameters] if seen["steps"] == OVERFLOW + 1 else []
            result = super().step(optimizer, *words, **how)
            if before:
                seen["moved"] = sum(not torch.equal(*pair) for pair in zip(before, parameters, strict=True))
            return result

        def update(self, new_scale: Any = None) -> None:
            forced = {OVERFLOW: 2.0**40, OVERFLOW + 1: 2.0**16}.get(seen["steps"])
            super().update(forced)

    laboratory = Laboratory(setting.folder, setting.smallest)
    wanted = _trained(laboratory, "fp32")
    torch.amp.GradScaler = Overflowing  # type: ignore[misc]
    try:
        found = _trained(laboratory, "fp16")
    finally:
        torch.amp.GradScaler = scaler  # type: ignore[misc]
    must(seen.get("moved") == 0, f"an overflow moved {seen.get('moved', 'an unknown number of')} tensors")
    return _compared(found, wanted)


@check(f"losses of {STEPS} steps within {CLOSE:.0%} of fp32's, on average; they fall", 150)
def mixed_precision_bf16(setting: Setting) -> str:
    laboratory = Laboratory(setting.folder, setting.smallest)
    return _compared(_trained(laboratory, "bf16"), _trained(laboratory, "fp32"))


def _trained(laboratory: Laboratory, precision: str) -> Any:
    from replicate.errors import NotAvailable

    try:
        return laboratory.losses(laboratory.run(_plain(laboratory, precision, precision)))
    except NotAvailable as error:
        raise NotHere(str(error).splitlines()[0]) from error


def _plain(laboratory: Laboratory, key: str, precision: str) -> Any:
    rate, steps = (8e-3, 12) if laboratory.smallest else (1e-3, STEPS)
    # A constant rate, so that a step that is left out does not shift the schedule.
    constant = {"warmup_epochs": 0, "min_lr": rate * laboratory.train_images / 512, "lr": rate}
    return laboratory.training(key, steps, precision=precision, **PLAIN, **constant)


def _compared(found: Any, wanted: Any) -> str:
    apart = np.abs(found - wanted).mean() / wanted[0]
    fallen = 1 - wanted[-5:].mean() / wanted[0]
    said = f"{apart:.2%} apart on average, from {wanted[0]:.3f} to {wanted[-1]:.3f} and {found[-1]:.3f}"
    must(bool(np.isfinite(found).all()), f"losses are not finite: {said}")
    must(fallen > 2 * CLOSE, f"the loss did not fall, so nothing is compared: {said}")
    must(apart < CLOSE, said)
    return said


@check("fewer images at a time, and losses within 1 % of those without a limit", 120, needs_gpu=True)
def memory_that_runs_out_in_training(setting: Setting) -> str:
    """The allocator is given a share of the memory, and really runs out."""
    laboratory = Laboratory(setting.folder, setting.smallest)
    with _halvings() as before:
        wanted = laboratory.losses(laboratory.run(laboratory.training("whole", 3)))
    peak, limit = _limited(0.6)
    with _halvings() as after:
        found = laboratory.losses(laboratory.run(laboratory.training("limited", 3)))
    must(len(after) > len(before), f"a limit of {limit:.1f} of {peak:.1f} GB changed nothing")
    apart = float(np.abs(found / wanted - 1).max())
    said = f"{limit:.1f} of {peak:.1f} GB: {after[-1]}; losses {apart:.3%} apart"
    must(apart < 0.01, said)
    return said


@check(f"fewer images at a time, and at least {AGREE:.0%} of the decisions", 60, needs_gpu=True)
def memory_that_runs_out_in_evaluation(setting: Setting) -> str:
    laboratory = Laboratory(setting.folder, setting.smallest)
    laboratory.run(laboratory.released("network"))
    with _halvings() as before:
        wanted = _decisions(laboratory.run(laboratory.prediction("whole", "network")))
    peak, limit = _limited(0.7)
    with _halvings() as after:
        found = _decisions(laboratory.run(laboratory.prediction("limited", "network")))
    must(len(after) > len(before), f"a limit of {limit:.1f} of {peak:.1f} GB changed nothing")
    return f"{limit:.1f} of {peak:.1f} GB: {after[-1]}; {_alike(found, wanted)}"


@contextmanager
def _halvings() -> Iterator[list[str]]:
    """What is said inside whenever the images at a time are halved."""
    said: list[str] = []
    with _heard("replicate.engine.micro_batch", said):
        yield said


@contextmanager
def _heard(source: str, said: list[str]) -> Iterator[None]:
    """Add to ``said`` what is logged by ``source`` inside."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage().rpartition("memory: ")[2])

    logger, listener = logging.getLogger(source), Listener()
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)


def _limited(share: float) -> tuple[float, float]:
    """Give the allocator ``share`` of what was needed at most until now: that, and the limit, in GB."""
    import torch

    peak, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(share * peak / total)
    return peak / 1e9, share * peak / 1e9


@check("the same losses after kill -9: equal on a CPU, within 1 % on a GPU", 120)
def resumed_after_kill_9(setting: Setting) -> str:
    laboratory = Laboratory(setting.folder, setting.smallest)
    steps = 8 if setting.smallest else 12
    os.environ["REPLICATE_CHECKPOINT_SECONDS"] = "0"
    # Before this process asks for the GPU: what has cannot be forked.
    process = os.fork()
    if process == 0:
        laboratory.run(laboratory.training("killed", steps), "killed")
        os._exit(0)
    folder, end = setting.folder / "killed", time.monotonic() + 60
    while not (kept := sorted(folder.glob("checkpoint-*.safetensors")))[1:] and len(_lines(folder)) < 3:
        must(time.monotonic() < end, "no checkpoint within a minute")
        if os.waitpid(process, os.WNOHANG)[0]:
            raise Mismatch("the training ended before it could be killed; its log says why")
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    kept = sorted(path.name for path in folder.glob("checkpoint-*.safetensors"))
    must(bool(kept) and not (folder / "curve.json").exists(), f"killed too late, or without a checkpoint: {kept}")
    found = laboratory.losses(laboratory.run(laboratory.training("killed", steps)))
    wanted = laboratory.losses(laboratory.run(laboratory.training("killed", steps), "whole"))
    apart = float(np.abs(found / wanted - 1).max())
    said = f"killed at {kept[-1]}, losses {apart:.2e} apart"
    must(apart < 0.01 if setting.gpu else apart == 0, said)
    return said


def _lines(folder: Path) -> list[str]:
    try:
        return (folder / "epochs.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []


@check("gradients of one process that is told of others within 0.1 % of those of one alone", 60)
def one_rank(setting: Setting) -> str:
    """nccl on a GPU, gloo on a CPU: that the back end starts, sums, and that its hooks do not disturb a gradient."""
    import torch
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    from replicate.engine import models, ranks

    device, backend = torch.device(setting.device), "nccl" if setting.gpu else "gloo"
    laboratory = Laboratory(setting.folder, setting.smallest)
    network = models.build(laboratory.network("Ti"), laboratory.size, 10).to(device)
    images = torch.randn(8, 3, laboratory.size, laboratory.size, device=device)
    shared = setting.folder / "rendezvous"
    distributed.init_process_group(backend, init_method=f"file://{shared}", rank=0, world_size=1)
    total = torch.full((3,), 2.0, device=device)
    distributed.all_reduce(total)
    must(total.tolist() == [2.0] * 3, f"a sum over one process is {total.tolist()}")
    found = []
    for forward in (ranks.Ranks().forward(network), DistributedDataParallel(ranks.Heads(network))):
        network.zero_grad()
        forward(images)["class"].square().mean().backward()
        found.append([parameter.grad.detach().clone() for parameter in network.parameters()])
    distributed.destroy_process_group()
    pairs = zip(*found, strict=True)
    apart = max(float((one - two).abs().max() / (one.abs().max() + 1e-12)) for one, two in pairs)
    must(apart < 1e-3, f"{backend}: gradients {apart:.2e} apart")
    return f"{backend}: gradients {apart:.1e} apart"


@check("losses of a student as from its live teacher: equal on a CPU, within 1 % on a GPU", 90)
def stored_answers_of_a_teacher(setting: Setting) -> str:
    from replicate.jobs.answers import answers_for

    laboratory, steps = Laboratory(setting.folder, setting.smallest), 3
    laboratory.run(_plain(laboratory, "teacher", "fp32"))
    student, said = laboratory.student("student", steps), list[str]()
    stored = {role: laboratory.run(job) for role, job in answers_for(student).items()}
    with _heard("replicate.engine.answers", said):
        found = laboratory.losses(laboratory.run(student, "reading", stored))
    wanted = laboratory.losses(laboratory.run(student, "asking"))
    must(not said, f"they were not used: {'; '.join(said)}")
    answers = np.concatenate([np.load(folder / "answers.npy").ravel() for folder in stored.values()])
    must(len(np.unique(answers)) > 1, "the teacher knows one class, so nothing is compared")
    apart = float(np.abs(found / wanted - 1).max())
    must(apart < 0.01 if setting.gpu else apart == 0, f"losses {apart:.2e} apart")
    return f"{answers.size} answers of {len(np.unique(answers))} classes; losses {apart:.1e} apart"


@check(f"the file's tensors, bit by bit; at least {AGREE:.0%} of the processor's decisions", 60)
def a_released_style_file_is_evaluated(setting: Setting) -> str:
    import torch
    from safetensors.torch import load_file

    from replicate.engine import models

    laboratory = Laboratory(setting.folder, setting.smallest)
    job = laboratory.released("network")
    stored = load_file(laboratory.run(job) / "model.safetensors")
    file = torch.load(Path(os.environ["REPLICATE_DATA"]) / "weights" / job.file, weights_only=True)["model"]
    must(stored.keys() == file.keys() and all(torch.equal(stored[name], file[name]) for name in file), "tensors differ")
    found = _decisions(laboratory.run(laboratory.prediction("here", "network")))
    chosen, models.best_device = models.best_device, lambda: torch.device("cpu")
    try:
        wanted = _decisions(laboratory.run(laboratory.prediction("processor", "network")))
    finally:
        models.best_device = chosen
    return _alike(found, wanted)


def _decisions(folder: Path) -> Any:
    with np.load(folder / "decisions.npz") as arrays:
        return arrays["class"][:, 0]


def _alike(found: Any, wanted: Any) -> str:
    share = float((found == wanted).mean())
    must(share >= AGREE, f"{share:.1%} of {len(wanted)} decisions agree")
    return f"{share:.1%} of {len(wanted)} decisions agree"
