"""Seconds that commands take which run nothing: best and median of several calls, and the fewest processor seconds.

    python benchmarks/startup.py [CALLS] [--smallest]

Prints one Markdown row a command, as it is typed. Targets: --help 0.3 s, the second call of `table` 0.6 s. The results
folder is filled with made-up decisions, so nothing is trained here. Without compiled modules (PYTHONDONTWRITEBYTECODE)
everything takes 0.4 s longer.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from command_line import TABLE, environment
from filled_results import fill, plan_of

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calls", nargs="?", type=int, default=7)
    parser.add_argument("--smallest", action="store_true", help="one call of the first and the last command")
    call = parser.parse_args()
    print("| `python -m replicate …` | best | median | processor |\n|---|---|---|---|")
    for words, times in measured(1 if call.smallest else call.calls, call.smallest):
        print(f"| `{words}` | {' | '.join(times)} |", flush=True)


def quick(smallest: bool) -> dict[str, str]:
    return {f"`{words}`": times[0] for words, times in measured(1 if smallest else 3, smallest)}


def measured(calls: int, smallest: bool) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Of each command: best and median wall time, and the fewest processor seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder / "results")
        for job in plan_of().graph:
            fill(store, job)
        for arguments in (COMMANDS[0], COMMANDS[-1]) if smallest else COMMANDS:
            taken = [seconds(arguments, folder) for _ in range(calls)]
            walls = [wall for wall, _ in taken]
            used = min(used for _, used in taken)
            yield (
                " ".join(arguments),
                (f"{min(walls):.2f} s", f"{statistics.median(walls):.2f} s", f"{used:.2f} s"),
            )


if __name__ == "__main__":
    main()
