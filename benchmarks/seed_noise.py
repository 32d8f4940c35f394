"""How much numbers move between seeds at mini scale: the ``[[noise]]`` of tables/scales/mini.toml.

    python -m replicate table --id distillation_ablation --seeds 0,1,2,3,4,5,6,7,8
    python -m replicate table --id efficiency --seeds 0,1,2,3,4,5,6,7,8 --no-train
    python benchmarks/seed_noise.py 0,1,2,3,4,5,6,7,8 [--smallest]

Of each metric, network, resolution and test set: the standard deviation between seeds, pooled over the networks of that
design (methods of distillation), and the same of the difference between two numbers of one network. SEEDS: 0,1,2 unless
others are named. A network counts once, with the mean variance of its numbers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from filled_results import fill, plan_of

from replicate.judge.finish import Finisher
from replicate.judge.noise import SeedNoise
from replicate.judge.values import Design
from replicate.plan.cells import plan_tables
from replicate.specs.load import load
from replicate.store.store import Store

TABLES = ("distillation_ablation", "efficiency", "decision_agreement")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", nargs="?", default="0,1,2")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--smallest", action="store_true", help="two seeds of made-up decisions")
    call = parser.parse_args()
    if not call.smallest:
        show(tuple(map(int, call.seeds.split(","))), Store(call.results))
        return
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for job in plan_of(seeds=(0, 1)).graph:
            fill(store, job)
        show((0, 1), store)


def show(seeds: tuple[int, ...], store: Store) -> None:
    plan = plan_tables(load(ROOT / "tables", "mini"), TABLES, seeds)
    finisher = Finisher(plan, store)
    values = {
        (value.design, tuple(value.networks.values()), ref.row, ref.column): value
        for table in TABLES
        for ref, value in finisher.values(table).items()
        if value.hits and len(value.values) == len(seeds)
    }
    if not values:
        raise SystemExit("no number of these seeds is stored: run the first command above")
    print("| of | metric | network | size | test set | sd | networks | trainings |\n|---|---|---|---|---|---|---|---|")
    rows = []
    for of, design, error, networks in SeedNoise((), values.values()).shown():
        assert isinstance(design, Design)
        digits = 2 if design.metric == "disagreement" else 1
        sd = f"{error.standard:.{digits + 1}f}"
        trainings = round(error.freedom) + networks
        rows.append((of, design.metric, design.model, design.resolution, design.data, sd, networks, trainings))
    for row in sorted(rows):
        print(f"| {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    main()
