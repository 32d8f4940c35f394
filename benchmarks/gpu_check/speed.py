"""Checks of how fast it is. They have no bound: another machine has other numbers."""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO

from benchmarks.gpu_check.check import Setting, check
from benchmarks.gpu_check.materials import NAME, ROOT, RUN, Laboratory, expander

RUNS = 10
"""Batches that are timed; the paper's protocol times 30, which all four networks would need too long for."""
INPUT_EPOCHS = 8


@check(seconds=90)
def input_with_all_cores(setting: Setting) -> str:
    """A training whose network costs next to nothing, so that it waits for its images."""
    laboratory = Laboratory(setting.folder, setting.smallest)
    least = replace(
        laboratory.network("Ti"),
        args={"patch_size": laboratory.size // 2, "embed_dim": 24, "depth": 1, "num_heads": 1},
    )
    job = replace(laboratory.training("input", 2 if setting.smallest else INPUT_EPOCHS), model=least)
    lines = (laboratory.run(job) / "epochs.jsonl").read_text().splitlines()[1:]
    speeds = sorted(json.loads(line)["speed"] for line in lines)
    waiting = sum(json.loads(line)["waiting"] for line in lines) / sum(json.loads(line)["seconds"] for line in lines)
    cores = len(os.sched_getaffinity(0))
    return f"{speeds[len(speeds) // 2]:.0f} images/s with {cores} cores, {waiting:.0%} of the time spent waiting"


def _benchmark(script: str, *words: str) -> str:
    """The rows of the table that a script of benchmarks/ prints, each without its spaces."""
    printed, arguments = StringIO(), sys.argv
    # The script tells where it lies by its name, and its own folder is not on the path here.
    sys.argv = [str(ROOT / "benchmarks" / script), *words]
    try:
        with redirect_stdout(printed):
            runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        sys.argv = arguments
    rows = [line for line in printed.getvalue().splitlines() if line.startswith("| ")][1:]
    return "; ".join(", ".join(cell.strip() for cell in line.strip("| ").split("|")) for line in rows)


@check(seconds=120)
def a_step_beside_the_released_engines(setting: Setting) -> str:
    words = ["--smallest"] if setting.smallest else ["5"]
    return _benchmark("training_step.py", *words, *(["--precision", "fp32", "bf16"] if setting.gpu else []))


@check(seconds=60)
def input_beside_timms(setting: Setting) -> str:
    """Of one core, with everything on the processor."""
    words = ["--smallest"] if setting.smallest else ["3"]
    return _benchmark("input.py", *words, "--folder", str(setting.images / NAME / "train"))


def _throughput(name: str) -> Callable[[Setting], str]:
    def run(setting: Setting) -> str:
        from replicate.engine.run import execute

        laboratory = Laboratory(setting.folder, setting.smallest)
        job = expander().job("measure", RUN[name])
        protocol = replace(job.protocol, runs=RUNS)
        if not setting.gpu:
            job, protocol = replace(job, model=laboratory.network(name)), replace(protocol, batches=(2,), runs=2)
        if setting.smallest:
            job = replace(job, size=laboratory.size)
        found = execute(replace(job, protocol=protocol), {}, setting.folder, lambda fields: None, lambda: False)
        attention = f", {found['attention']} attention" if found["attention"] else ""
        return f"{found['images_per_second']:.0f} images/s in fp32, batches of {found['batch']}{attention}"

    run.__name__ = f"throughput_{name}"
    return run


for _name in RUN:
    # A processor measures the smallest alone, which shows that the protocol runs.
    check(seconds=60, needs_gpu=_name != "Ti")(_throughput(_name))
