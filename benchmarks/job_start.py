"""How long a job takes to start and to be seen finished: a warm forked worker against submitit's local executor.

python benchmarks/job_start.py [--smallest]
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time

import submitit

PRELOAD = "replicate.engine.run"
JOBS = 20
IMPORTS = "__import__('torch').__version__ + __import__('timm').__version__"


def answer(connection) -> None:  # type: ignore[no-untyped-def]
    """What a worker does before the first line of a job: be there, with torch and timm imported."""
    import timm
    import torch

    connection.send((torch.__version__, timm.__version__))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smallest", action="store_true", help="one job in place of 20")
    print("| start of a job | seconds |\n|---|---|")
    for name, value in measured(parser.parse_args().smallest).items():
        print(f"| {name} | {value} |")


def quick(smallest: bool) -> dict[str, str]:
    return {name: f"{seconds} s" for name, seconds in measured(smallest).items()}


def measured(smallest: bool) -> dict[str, str]:
    """Seconds by kind of start."""
    jobs = 1 if smallest else JOBS
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOAD])
    started = time.monotonic()
    one_job(context)
    first = time.monotonic() - started
    times = []
    for _ in range(jobs):
        started = time.monotonic()
        one_job(context)
        times.append(time.monotonic() - started)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        # No function of this file, which the other process would have to find.
        submitit.LocalExecutor(folder).submit(eval, IMPORTS).result()
        other = time.monotonic() - started
    return {
        "the first, with the imports of torch and timm": f"{first:.1f}",
        f"every other (median of {jobs})": f"{sorted(times)[jobs // 2]:.3f}",
        "the same through submitit's local executor": f"{other:.1f}",
    }


def one_job(context) -> None:  # type: ignore[no-untyped-def]
    here, there = context.Pipe()
    process = context.Process(target=answer, args=(there,))
    process.start()
    here.recv()
    process.join()


if __name__ == "__main__":
    main()
