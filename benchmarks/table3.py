"""How long Table 3 takes at mini scale: the whole of it, and a second call. (The start of a job: job_start.py.)

    python benchmarks/table3.py [--workers 2] [--smallest]

Prints one Markdown row a measurement, with the peak memory of all processes together and the size of the results.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = [sys.executable, "-m", "replicate", "table", "--id"]
TABLE_3 = ["distillation_ablation"]
SMALLEST = ["untrained", "--scale", "tiny", "--tables", str(ROOT / "tests" / "fixtures" / "old_store" / "tables")]
"""Three networks of some thousand parameters, each trained and measured or evaluated with torch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", default="2")
    parser.add_argument("--smallest", action="store_true", help="another table, of tiny networks")
    call = parser.parse_args()
    workers = call.workers
    calls = 1 if call.smallest else 5
    what = "A table of tiny networks" if call.smallest else "Table 3 at mini scale"
    with tempfile.TemporaryDirectory() as folder:
        table = SMALLEST if call.smallest else TABLE_3
        command = [*TABLE, *table, "--workers", workers, "--results", f"{folder}/results", "--out", f"{folder}/out"]
        whole, peak = timed(command)
        second = min(timed(command)[0] for _ in range(calls))
        results = sorted(Path(folder, "results").glob("*/result.json"))
        costs = [json.loads(path.read_text())["cost"] for path in results]
        disk = sum(path.stat().st_size for path in Path(folder, "results").rglob("*") if path.is_file())
        print("| what | measured |\n|---|---|")
        print(f"| {what}, {workers} workers, nothing stored before | {whole:.0f} s |")
        print(f"| its {len(costs)} jobs | {sum(cost['cpu_seconds'] for cost in costs):.0f} CPU-seconds |")
        print(f"| the same command again (best of {calls}) | {second:.2f} s |")
        print(f"| peak memory of all processes | {peak / 1e9:.2f} GB |")
        print(f"| stored results | {disk / 1e6:.0f} MB |")


def timed(command: list[str]) -> tuple[float, int]:
    """Wall seconds, and the largest sum of private and shared pages of the whole process tree [bytes]."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, tree_memory(process.pid))
            time.sleep(0.5)

    watcher = threading.Thread(target=watch)
    watcher.start()
    if process.wait() != 0:
        raise SystemExit(f"{command} ended with {process.returncode}")
    seconds = time.monotonic() - started
    watcher.join()
    return seconds, peak


def tree_memory(root: int) -> int:
    """Proportional set size: a page that forked workers share counts once in all."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    total, todo = 0, [root]
    while todo:
        pid = todo.pop()
        todo += children.get(pid, [])
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


if __name__ == "__main__":
    main()
