"""Seconds that commands take which run nothing: best and median of several calls, and processor seconds of the best.

    python benchmarks/startup.py [CALLS]

Targets: --help 0.3 s, the second call of `table` 0.6 s. The results folder is filled with made-up decisions, so
nothing is trained here. Without compiled modules (PYTHONDONTWRITEBYTECODE) everything takes 0.4 s longer.
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

from stage import TABLE, environment, fill, plan_of  # noqa: E402

from replicate.store.store import Store  # noqa: E402

COMMANDS = {
    "--help": ("--help",),
    "table --help": ("table", "--help"),
    "list": ("list",),
    "check": ("check",),
    "plan": ("plan", "--id", TABLE),
    "status": ("status", "--id", TABLE),
    "explain": ("explain", TABLE, "token_both", "b_384"),
    "table --no-run": ("table", "--id", TABLE, "--no-run"),
    "table, the second call": ("table", "--id", TABLE),
}


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
        for label, arguments in COMMANDS.items():
            taken = [seconds(arguments, folder) for _ in range(calls)]
            walls = [wall for wall, _ in taken]
            used = min(used for _, used in taken)
            print(f"{label:<24} {min(walls):5.2f} s  {statistics.median(walls):5.2f} s  {used:5.2f} s", flush=True)


if __name__ == "__main__":
    main()
