"""Seconds that commands take which run nothing: best and median of several calls, and the fewest processor seconds.

    python benchmarks/startup.py [CALLS]

Prints one Markdown row a command, as it is typed. Targets: --help 0.3 s, the second call of `table` 0.6 s. The results
folder is filled with made-up decisions, so nothing is trained here. Without compiled modules (PYTHONDONTWRITEBYTECODE)
everything takes 0.4 s longer.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from stage import TABLE, environment, fill, plan_of

from replicate.store.store import Store

COMMANDS = (
    ("--help",),
    ("table", "--help"),
    ("list",),
    ("check",),
    ("plan",),
    ("plan", "--id", TABLE),
    ("status", "--id", TABLE),
    ("explain", TABLE, "token_both", "b_384"),
    ("table", "--id", TABLE, "--no-run"),
    ("table", "--id", TABLE),
)
"""The results of Table 3 are there, so the last one is a second call."""


def seconds(arguments: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """Wall and processor time of one call."""
    folders = ("--results", str(folder / "results"), "--out", str(folder / "out"))
    command = [sys.executable, "-m", "replicate", *arguments, *(() if "--help" in arguments else folders)]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL).check_returncode()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, used


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder / "results")
        for job in plan_of().graph:
            fill(store, job)
        print("| `python -m replicate …` | best | median | processor |\n|---|---|---|---|")
        for arguments in COMMANDS:
            taken = [seconds(arguments, folder) for _ in range(calls)]
            walls = [wall for wall, _ in taken]
            used = min(used for _, used in taken)
            times = f"{min(walls):.2f} s | {statistics.median(walls):.2f} s | {used:.2f} s"
            print(f"| `{' '.join(arguments)}` | {times} |", flush=True)


if __name__ == "__main__":
    main()
