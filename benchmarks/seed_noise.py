"""How much accuracies move between seeds at mini scale: `seed_sd` and `head_sd` of tables/scales/mini.toml.

    python -m replicate table --id distillation_ablation --seeds 0,1,2,3,4
    python benchmarks/seed_noise.py 0,1,2,3,4

Root mean squares over Table 3 of sample standard deviations between seeds: of each accuracy, and of the difference of
each two accuracies that are read from the decisions of one network.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import combinations
from math import sqrt
from statistics import mean, stdev


def main() -> None:
    seeds = sys.argv[1]
    names = ["row", "column", *(f"seed {seed}" for seed in seeds.split(",")), "sd"]
    command = [sys.executable, "-m", "replicate", "table", "--id", "distillation_ablation", "--no-run", "--json"]
    table = json.loads(subprocess.run([*command, "--seeds", seeds], capture_output=True, check=True).stdout)
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    cells = [cell for cell in table["cells"] if cell["spread"] is not None]
    for cell in cells:
        shown = " | ".join(f"{value:.1f}" for value in values(cell))
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
