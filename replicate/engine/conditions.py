"""The conditions of a measurement: without them images a second mean nothing."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import timm
import torch

CLOCKS = ("clocks.sm", "clocks.mem", "clocks.max.sm", "power.draw", "power.limit", "temperature.gpu")
"""What nvidia-smi is asked for, in MHz, W and degrees Celsius."""


def conditions(device: torch.device) -> dict[str, Any]:
    """Device, precision flags, threads, versions, and a GPU's clocks as they are now (None without)."""
    gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if gpu else processor_name(Path("/proc/cpuinfo")),
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


def processor_name(cpuinfo: Path) -> str:
    """The processor as Linux names it, elsewhere as Python does."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


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
