"""Throughput of a network: images a second of inference, in fp32, with the conditions it was measured under.

Nothing is trained or loaded: the weights are random, which costs the same. Images a second of different
devices are never compared (deit#38, deit#189); ratios to a reference measured beside it are.
"""

from __future__ import annotations

import gc
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from replicate.engine import models
from replicate.engine.keyed_random import generator, torch_seed
from replicate.engine.run import Progress, Report, Stop
from replicate.errors import JobError
from replicate.jobs.measure import Measure
from replicate.jobs.network import Untrained
from replicate.metrics.stated import TIMES, Ratio
from replicate.specs.recipe import Attention
from replicate.store.files import write_json
from replicate.store.provenance import processor_name

STEADY_PERCENT = 2.0
"""Half-width of the ratio's interval, in per cent of it, above which a measurement is unsteady."""
RESAMPLES = 2000
WARM_UP = 3
"""Batches before the first window of a network: allocation, kernels chosen, caches filled."""
SHORTEST = 8
"""Windows below which the quantiles of a bootstrapped median mean nothing."""


@dataclass(frozen=True, slots=True)
class Window:
    """Inference for a while: ``wall`` and ``cpu`` (of the process, all its threads) in seconds."""

    images: int
    wall: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.images / self.wall


class Subject:
    """A network that is measured, in evaluation mode on the device, with one batch of noise as its input."""

    def __init__(self, network: Untrained, batch: int, device: torch.device, attention: Attention) -> None:
        self.device = device
        self.format = torch.channels_last if network.model.channels_last else torch.contiguous_format
        built = models.build(network.model, network.size, network.classes, attention=attention)
        self.network = built.eval().to(device)
        self.images = noise(batch, network.size).to(device, memory_format=self.format)

    def run(self) -> None:
        with torch.inference_mode():
            self.network(self.images)
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def warm_up(self) -> None:
        for _ in range(WARM_UP):
            self.run()

    def window(self, seconds: float) -> Window:
        """Whole batches until ``seconds`` have passed, at least one."""
        wall, cpu, batches = time.perf_counter(), time.process_time(), 0
        while True:
            self.run()
            batches += 1
            passed = time.perf_counter() - wall
            if passed >= seconds:
                return Window(batches * len(self.images), passed, time.process_time() - cpu)


def noise(batch: int, size: int) -> Tensor:
    """Normal numbers [batch, 3, size, size]: denormal or constant inputs can take another time."""
    drawn = torch.Generator().manual_seed(torch_seed(0, "measure", 0, 0))
    return torch.randn((batch, 3, size, size), generator=drawn)


def bootstrap(ratios: Sequence[float]) -> Ratio:
    """Median of ``ratios`` and the 2.5 and 97.5 per cent quantiles of resampled medians.

    The resampling is keyed: equal ratios give an equal interval. Errors: `JobError` for fewer than 8.
    """
    if len(ratios) < SHORTEST:
        raise JobError(f"measure: {len(ratios)} windows are too few for an interval, at least {SHORTEST} are needed")
    values: NDArray[np.float64] = np.asarray(ratios, np.float64)
    chosen = generator(0, "bootstrap", 0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(np.median(values[chosen], axis=1), (0.025, 0.975))
    return ratio(float(np.median(values)), float(low), float(high))


def ratio(median: float, low: float, high: float) -> Ratio:
    width = 100 * (high - low) / 2 / median
    return Ratio(median, low, high, width, width <= STEADY_PERCENT)


def paper_protocol(
    job: Measure, batch: int, device: torch.device, progress: Progress
) -> tuple[dict[str, object], nn.Module]:
    """Mean of ``runs`` batches, each timed alone (Tables 1 and 5)."""
    runs = job.protocol.runs
    # To build and warm up a network takes as long as several runs of it.
    progress({"run": 0, "of": runs})
    subject = Subject(job.network, batch, device, job.protocol.attention)
    subject.warm_up()
    windows: list[Window] = []
    for run in range(runs):
        windows.append(subject.window(0.0))
        progress({"run": run + 1, "of": runs})
        print(f"run {run + 1} of {runs}: {windows[-1].rate:,.1f} images/s in batches of {batch}", flush=True)
    mean = sum(window.wall for window in windows) / runs
    timed = {"network": [asdict(window) for window in windows]}
    return {"images_per_second": batch / mean, "ratio": None, "windows": timed}, subject.network


def paired_protocol(
    job: Measure, batch: int, device: torch.device, progress: Progress
) -> tuple[dict[str, object], nn.Module]:
    """Windows of the network and of a fixed reference in turn, so that what disturbs one disturbs the other.

    ``ratio`` is of wall times on a GPU. On a CPU it is of the process's CPU times, which leave out what other
    processes took of the cores (at a load of 7 on 2 cores the interval was a third as wide); ``ratio_wall`` is
    beside it. The order in a pair alternates, so that a drift cancels.
    """
    how = job.protocol
    if how.reference is None:
        raise JobError("measure: the protocol 'paired' has no reference network; name one in the scale's [measure]")
    progress({"window": 0, "of": how.windows})
    subject, reference = (Subject(each, batch, device, how.attention) for each in (job.network, how.reference))
    subject.warm_up()
    reference.warm_up()
    taken: dict[str, list[Window]] = {"network": [], "reference": []}
    for number in range(how.windows):
        order = [("network", subject), ("reference", reference)]
        for name, each in order if number % 2 == 0 else order[::-1]:
            taken[name].append(each.window(how.window_seconds))
        progress({"window": number + 1, "of": how.windows})
        both = ", ".join(f"{name} {windows[-1].rate:,.1f}" for name, windows in taken.items())
        print(f"window {number + 1} of {how.windows}: images/s of {both}", flush=True)
    pairs = list(zip(taken["network"], taken["reference"], strict=True))
    wall = bootstrap([own.rate / other.rate for own, other in pairs])
    cpu = bootstrap([own.images / own.cpu / (other.images / other.cpu) for own, other in pairs])
    result = {
        "images_per_second": float(np.median([window.rate for window in taken["network"]])),
        "ratio": asdict(wall if device.type == "cuda" else cpu),
        "ratio_wall": asdict(wall),
    }
    windows = {name: [asdict(window) for window in those] for name, those in taken.items()}
    return result | {"windows": windows}, subject.network


Timing = Callable[[Measure, int, torch.device, Progress], tuple[dict[str, object], nn.Module]]
PROTOCOLS: dict[str, Timing] = {"paper": paper_protocol, "paired": paired_protocol}


def run(job: Measure, inputs: Mapping[str, Path], folder: Path, report: Report, stop: Stop) -> dict[str, object]:
    """Run a measure job: ``measure.json``, with the time of every window and the conditions.

    Returns ``images_per_second``, ``ratio`` (None under the protocol ``paper``), ``batch``, the exact number
    of ``parameters``, the ``architecture``, the ``attention`` (None of a network without one) and the ``device``.
    All but what was timed is a function of the job. Errors: `JobError` where no batch fits or windows are too few.
    """
    device = models.best_device()
    with exact_fp32():
        batch, tried, result, network = largest_fitting(job, device, Progress(report))
        seen = conditions(device) | {"size": job.size, "batches_tried": tried}
    facts = {
        "batch": batch,
        "parameters": models.parameter_count(network),
        "architecture": models.architecture(network),
        "attention": models.attention_of(network),
    }
    write_json(folder / TIMES, {"protocol": job.protocol.name, "conditions": seen} | result | facts)
    summary = {name: result[name] for name in ("images_per_second", "ratio")}
    return summary | facts | {"device": seen["device"]}


def largest_fitting(
    job: Measure, device: torch.device, progress: Progress
) -> tuple[int, list[dict[str, object]], dict[str, object], nn.Module]:
    """The largest batch that fits ("largest possible batch size"), what was tried, the result and the network.

    On a CPU every batch fits. Errors: `JobError` where none fits.
    """
    protocol = PROTOCOLS[job.protocol.name]
    sizes = sorted(job.protocol.batches, reverse=True)
    tried: list[dict[str, object]] = []
    for batch in sizes:
        try:
            result, network = protocol(job, batch, device, progress)
        except torch.OutOfMemoryError:
            tried.append({"batch": batch, "fits": False})
        else:
            return batch, [*tried, {"batch": batch, "fits": True}], result, network
        # Out here, where the exception no longer holds the frames that hold the tensors.
        gc.collect()
        torch.cuda.empty_cache()
    raise JobError(f"measure: no batch of {sizes} fits on {device}")


@contextmanager
def exact_fp32() -> Iterator[None]:
    """fp32 products in fp32 (the paper's V100 has no TF32) and cuDNN's kernels chosen by trial (main.py)."""
    matmul = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)


CLOCKS = ("clocks.sm", "clocks.mem", "clocks.max.sm", "power.draw", "power.limit", "temperature.gpu")
"""What nvidia-smi is asked for, in MHz, W and degrees Celsius."""


def conditions(device: torch.device) -> dict[str, object]:
    """Device, precision flags, threads, versions, and a GPU's clocks as they are now (None without)."""
    gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if gpu else processor_name(),
        "device_kind": device.type,
        "precision": "fp32",
        "tf32": bool(torch.backends.cudnn.allow_tf32 or torch.get_float32_matmul_precision() != "highest"),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_benchmark": bool(torch.backends.cudnn.benchmark),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "cuda": torch.version.cuda if gpu else None,
        "clocks": _clocks(torch.cuda.get_device_properties(device).uuid) if gpu else None,
    }


def _clocks(uuid: object) -> dict[str, str] | None:
    """None where there is no nvidia-smi, or it does not answer: a measurement does not fail for it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, f"--id=GPU-{uuid}", f"--query-gpu={','.join(CLOCKS)}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(zip(CLOCKS, (part.strip() for part in answer.strip().split(",")), strict=False))
