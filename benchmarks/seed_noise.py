"""How much a top-1 accuracy moves between seeds at mini scale: the `seed_sd` of tables/scales/mini.toml.

    python -m replicate table --id distillation_ablation --seeds 0,1,2,3,4
    python benchmarks/seed_noise.py 0,1,2,3,4

Root mean square over the cells of Table 3 of the sample standard deviation between seeds.
"""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> None:
    seeds = sys.argv[1]
    names = ["row", "column", *(f"seed {seed}" for seed in seeds.split(",")), "sd"]
    command = [sys.executable, "-m", "replicate", "table", "--id", "distillation_ablation", "--no-run", "--json"]
    table = json.loads(subprocess.run([*command, "--seeds", seeds], capture_output=True, check=True).stdout)
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    squares = []
    for cell in table["cells"]:
        if cell["spread"] is not None:
            squares.append(cell["spread"] ** 2)
            values = " | ".join(f"{seed['value']:.1f}" for seed in cell["seeds"])
            print(f"| {cell['row']} | {cell['column']} | {values} | {cell['spread']:.1f} |")
    print(f"\nroot mean square over {len(squares)} cells: {(sum(squares) / len(squares)) ** 0.5:.2f} points")


if __name__ == "__main__":
    main()
