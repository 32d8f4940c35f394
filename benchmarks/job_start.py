"""How long a job takes to start and to be seen finished: a warm forked worker against submitit's local executor.

python benchmarks/job_start.py
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time

import submitit

PRELOAD = "replicate.engine.run"
JOBS = 20


def answer(connection) -> None:  # type: ignore[no-untyped-def]
    """What a worker does before the first line of a job: be there, with torch and timm imported."""
    import timm
    import torch

    connection.send((torch.__version__, timm.__version__))


def imports() -> str:
    import timm
    import torch

    return torch.__version__ + timm.__version__


def main() -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOAD])
    started = time.monotonic()
    one_job(context)
    first = time.monotonic() - started
    times = []
    for _ in range(JOBS):
        started = time.monotonic()
        one_job(context)
        times.append(time.monotonic() - started)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        submitit.LocalExecutor(folder).submit(imports).result()
        other = time.monotonic() - started
    print("| start of a job | seconds |\n|---|---|")
    print(f"| the first, with the imports of torch and timm | {first:.1f} |")
    print(f"| every other (median of {JOBS}) | {sorted(times)[JOBS // 2]:.3f} |")
    print(f"| the same through submitit's local executor | {other:.1f} |")


def one_job(context) -> None:  # type: ignore[no-untyped-def]
    here, there = context.Pipe()
    process = context.Process(target=answer, args=(there,))
    process.start()
    here.recv()
    process.join()


if __name__ == "__main__":
    main()
