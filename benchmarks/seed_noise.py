"""How much accuracies move between seeds at mini scale: `seed_sd` and `head_sd` of tables/scales/mini.toml.

    python -m replicate table --id distillation_ablation --seeds 0,1,2,3,4
    python benchmarks/seed_noise.py [SEEDS] [--smallest]

Root mean squares over Table 3 of sample standard deviations between seeds: of each accuracy, and of the difference of
each two accuracies that are read from the decisions of one network. SEEDS: 0,1,2 unless others are named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from itertools import combinations
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from filled_results import fill, plan_of

from replicate.store.store import Store
from replicate.text import exact, half_up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", nargs="?", default="0,1,2")
    parser.add_argument("--smallest", action="store_true", help="two seeds of made-up decisions")
    call = parser.parse_args()
    if not call.smallest:
        show(call.seeds, ROOT / "results")
        return
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for job in plan_of(seeds=(0, 1)).graph:
            fill(store, job)
        show("0,1", store.root)


def show(seeds: str, results: Path) -> None:
    names = ["row", "column", *(f"seed {seed}" for seed in seeds.split(",")), "sd"]
    command = [sys.executable, "-m", "replicate", "table", "--id", "distillation_ablation", "--no-run", "--json"]
    with tempfile.TemporaryDirectory() as out:
        command += ["--seeds", seeds, "--results", str(results), "--format", "json", "--out", out]
        # Its exit code says whether all seeds are there.
        done = subprocess.run(command, stdout=subprocess.PIPE)
    table = json.loads(done.stdout)
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    cells = [cell for cell in table["cells"] if cell["spread"] is not None]
    if not cells:
        raise SystemExit("no number of these seeds is stored: run the first command above")
    for cell in cells:
        shown = " | ".join(half_up(exact(value), 1) for value in values(cell))
        print(f"| {cell['row']} | {cell['column']} | {shown} | {cell['spread']:.1f} |")
    print(f"\naccuracies: {rms([cell['spread'] for cell in cells]):.2f} points, of {len(cells)}")
    apart = [
        stdev(a - b for a, b in zip(values(one), values(other), strict=True))
        for one, other in combinations(cells, 2)
        if one["jobs"] == other["jobs"]
    ]
    print(f"differences inside a network: {rms(apart):.2f} points, of {len(apart)}")


def values(cell: dict[str, object]) -> list[float]:
    return [seed["value"] for seed in cell["seeds"]]  # type: ignore[index,attr-defined]


def rms(deviations: list[float]) -> float:
    return sqrt(mean(each**2 for each in deviations))


if __name__ == "__main__":
    main()
