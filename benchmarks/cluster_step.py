"""Seconds, calls of sbatch and file operations of a step that submits 1,001 jobs, and of looking at them.

    python benchmarks/cluster_step.py [SEEDS] [--rounds N] [--beside CHECKOUT] [--smallest]

One network, trained and evaluated with 500 seeds, on one data set. Slurm's programs are stand-ins that answer at once,
so what is measured is ours. With --beside, another checkout's package does the same in turn with this one. File
operations (opens, stats, listings, renames, ... below the results folder) are counted by strace, where there is one.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from command_line import environment

SEEDS, ROUNDS = 500, 7
COMMANDS = ("step", "status, queued", "status, stored")

PROGRAMS = {
    "sbatch": """\
echo call >> "$STATE/calls"
for word; do [ "$word" = --test-only ] && exit 0; script=$word; done
echo call >> "$STATE/sbatch"
number=$(wc -l < "$STATE/sbatch")
value() { sed -n "s/^#SBATCH --$1=//p" "$script" | tr -d "\\"'"; }
array=$(value array)
name=$(value job-name) comment=$(value comment)
for part in $(echo "${array%\\%*}" | tr , ' '); do
  for index in $(seq "${part%-*}" "${part#*-}"); do
    echo "${number}_$index|$number|PENDING|Priority|N/A||$name|$comment"
  done
done >> "$STATE/queue"
echo "Submitted batch job $number"
""",
    # Commit 155bfae asks for less of each job.
    "squeue": """\
[ -e "$STATE/queue" ] || exit 0
case "$*" in
  *%j*) awk -F'|' -v OFS='|' '{print $1, $2, $3, $4, $5, $6, "0:00", "normal", "lab", $7, $8}' "$STATE/queue" ;;
  *) cut -d'|' -f1-6,8 "$STATE/queue" ;;
esac
""",
    "scontrol": 'echo "MaxArraySize = 1001"; echo "MaxJobCount = 10000"\n',
    "sacctmgr": "exit 0\n",
    "sacct": "exit 0\n",
    "scancel": "exit 0\n",
    "srun": "exit 0\n",
}

SPECS = """\
import sys
from pathlib import Path
try:
    from cluster.small_table import write_specs
except ImportError:
    from cluster.small import write_specs
write_specs(Path(sys.argv[1]))
"""
RESULTS = """\
import json, sys
from pathlib import Path
import numpy as np
from replicate.store.result import commit_result
made = {"commit": "unknown", "dirty": None, "python": "3.11", "packages": {}, "processor": "", "system": ""}
made |= {"threads": 1}
cost = {"wall_seconds": 1.0, "cpu_seconds": 1.0, "peak_mb": 100.0}
heads = {name: np.zeros((200, 5), np.int16) for name in ("class", "distillation", "softmax-sum", "logit-mean")}
root = Path(sys.argv[1])
maps = [json.loads(path.read_text()) for path in root.glob(".slurm/*/map.json")]
for key in {key for each in maps for keys in each["tasks"].values() for key in keys}:
    folder = root / key
    folder.mkdir(exist_ok=True)
    name = "decisions.npz" if key.startswith("predict") else "model.safetensors"
    if name == "decisions.npz":
        np.savez(folder / name, labels=np.zeros(200, np.int16), **heads)
    else:
        (folder / name).write_bytes(b"0" * 1000)
    summary = {"images": 200, "train": 960, "test": 200, "classes": 10}
    commit_result(folder, key, [name], summary, cost, made)
"""


@dataclass
class Measured:
    seconds: list[float] = field(default_factory=list)
    operations: int | None = None
    calls: int | None = None


class World:
    """A checkout, with a profile, a results folder and stand-ins for Slurm of its own."""

    def __init__(self, checkout: Path, folder: Path, seeds: int) -> None:
        self.checkout, self.folder, self.seeds = checkout, folder, seeds
        self.results = folder / "results"
        programs = folder / "bin"
        programs.mkdir(parents=True)
        for name, body in PROGRAMS.items():
            (programs / name).write_text(f"#!/bin/sh\n{body}")
            (programs / name).chmod(0o755)
        self.state = folder / "state"
        self.state.mkdir()
        paths = f"[paths]\nshared = '{folder / 'shared'}'\n"
        (folder / "lab.toml").write_text(
            f"name = 'lab'\npython = '{sys.executable}'\nshared_is_local = true\n{paths}[sbatch]\ntime = 60\n"
        )
        self.environ = environment(
            PYTHONPATH=f"{checkout}:{checkout / 'tests'}",
            PATH=f"{programs}:/usr/bin:/bin",
            STATE=str(self.state),
        )
        self._python("-c", SPECS, str(folder / "tables"))

    def begin(self) -> None:
        """Nothing is stored, nothing is queued."""
        shutil.rmtree(self.results, ignore_errors=True)
        for path in self.state.iterdir():
            path.unlink()

    def store_all(self) -> None:
        self._python("-c", RESULTS, str(self.results))
        for path in self.state.iterdir():
            path.unlink()

    def call(self, command: str, *before: str) -> float:
        """Seconds of one call; ``before``: the words of a program that watches it."""
        word = "table" if command == "step" else "status"
        where = ["--results", self.results, "--tables", self.folder / "tables", "--cluster", self.folder / "lab.toml"]
        about = ["--id", "small", "--scale", "tiny", "--seeds", ",".join(map(str, range(self.seeds)))]
        out = ["--out", self.folder / "out"] if word == "table" else []
        started = time.perf_counter()
        done = subprocess.run(
            [*before, sys.executable, "-m", "replicate", word, *about, *map(str, [*where, *out])],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
        )
        if done.returncode not in (0, 3):
            raise SystemExit(f"{self.checkout}: {done.stderr}")
        return time.perf_counter() - started

    def operations(self, command: str) -> int | None:
        """File operations below the results folder."""
        if not shutil.which("strace"):
            return None
        log = self.folder / "strace"
        self.call(command, "strace", "-f", "-qq", "-e", "trace=%file,getdents64", "-y", "-o", str(log))
        below = re.compile(rf"{re.escape(str(self.results))}[/>\"]|AT_FDCWD, \"{re.escape(str(self.results))}\"")
        return sum(bool(below.search(line)) for line in log.read_text(errors="replace").splitlines())

    def _python(self, *words: str) -> None:
        subprocess.run([sys.executable, *words], cwd=self.folder, env=self.environ, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", nargs="?", type=int, default=SEEDS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--beside", type=Path, help="another checkout, measured in turn with this one")
    parser.add_argument("--smallest", action="store_true", help="3 seeds, one round")
    call = parser.parse_args()
    seeds, rounds = (3, 1) if call.smallest else (call.seeds, call.rounds)
    print("| what | checkout | best | median | sbatch | file operations | a job |\n|---|---|---|---|---|---|---|")
    for line in rows([ROOT, *([call.beside.resolve()] if call.beside else [])], seeds, rounds):
        print(line)


def rows(checkouts: list[Path], seeds: int, rounds: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        worlds = [World(path, Path(folder) / str(number), seeds) for number, path in enumerate(checkouts)]
        found = {(command, world.checkout): Measured() for command in COMMANDS for world in worlds}
        for number in range(rounds + 1):
            for world in worlds:
                world.begin()
            for command in COMMANDS:
                for world in worlds:
                    if command == "status, stored":
                        world.store_all()
                    measured = found[command, world.checkout]
                    if number < rounds:
                        measured.seconds.append(world.call(command))
                    else:
                        measured.operations = world.operations(command)
                    if command == "step":
                        measured.calls = len((world.state / "calls").read_text().splitlines())
        for (command, checkout), measured in found.items():
            jobs = 2 * seeds + 1
            operations = measured.operations
            counted = f"{operations:,} | {operations / jobs:.2f}" if operations is not None else "unknown | unknown"
            times = f"{min(measured.seconds):.2f} s | {statistics.median(measured.seconds):.2f} s"
            calls = measured.calls if measured.calls is not None else 0
            yield f"| {command} | {checkout.name} | {times} | {calls} | {counted} |"


if __name__ == "__main__":
    main()
