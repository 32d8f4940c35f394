"""What a job was computed on: the one place that asks torch, at the end of the job.

Apart from `replicate.engine.run`, so that whoever reads what is recorded finds it by its name.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from replicate.engine.compiled import steps_of_this_process
from replicate.engine.models import best_device
from replicate.jobs.answers import Answers
from replicate.jobs.job import Job
from replicate.jobs.train import Train
from replicate.store.machine import Machine
from replicate.store.provenance import processor_name

DRIVER = Path("/proc/driver/nvidia/version")


def machine_of(job: Job) -> Machine:
    """Describe the device that this process has computed ``job`` on, and the flags it did it under.

    A GPU counts only where the job has used it: to ask for its name would take memory of it.
    """
    cuda: Any = torch.cuda
    found = _gpu() if cuda.is_available() and cuda.is_initialized() else Machine(processor_name(), "cpu")
    return replace(
        found,
        host=socket.gethostname(),
        processes=int(os.environ.get("WORLD_SIZE", "1")) if job.shared else 1,
        matmul=torch.get_float32_matmul_precision(),
        tf32=bool(torch.backends.cudnn.allow_tf32 or torch.get_float32_matmul_precision() != "highest"),
        autocast=_autocast(job),
        augmentation=best_device().type if isinstance(job, Train | Answers) else None,
        compiled=steps_of_this_process() if isinstance(job, Train) else None,
        deterministic=torch.are_deterministic_algorithms_enabled(),
        attention=_attention_kernels(),
    )


def _autocast(job: Job) -> str | None:
    if not isinstance(job, Train | Answers):
        return None
    precision = job.recipe.precision if isinstance(job, Train) else job.precision
    return None if precision == "fp32" else precision


def _gpu() -> Machine:
    backends: Any = torch.backends
    cudnn = backends.cudnn.version()
    software = Machine(
        kind="cuda", driver=_driver(), cuda=torch.version.cuda, cudnn=None if cudnn is None else str(cudnn)
    )
    try:
        device = torch.cuda.current_device()
        memory = torch.cuda.get_device_properties(device).total_memory
        return replace(software, device=torch.cuda.get_device_name(device), memory_mb=memory // 1_000_000)
    except RuntimeError:
        # The result of days is not lost because a GPU does not say its name.
        return software


def _driver() -> str | None:
    """The version of the NVIDIA driver, which torch does not tell."""
    try:
        found = re.search(r"\b\d+\.\d+(\.\d+)?\b", DRIVER.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        found = None
    if found is not None:
        return found.group()
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.partition("\n")[0].strip() or None


def _attention_kernels() -> tuple[str, ...]:
    """Kernels of scaled_dot_product_attention that are enabled; which one runs depends on shapes and device."""
    backends: Any = torch.backends.cuda
    enabled = {
        "flash": backends.flash_sdp_enabled(),
        "memory-efficient": backends.mem_efficient_sdp_enabled(),
        "cudnn": backends.cudnn_sdp_enabled(),
        "math": backends.math_sdp_enabled(),
    }
    return tuple(name for name, on in enabled.items() if on)
