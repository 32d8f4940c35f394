"""What one training image costs at mini scale: the `seconds` of the models in tables/scales/mini.toml.

    python -m replicate all
    python benchmarks/cost.py [--smallest]

CPU-seconds of the stored trainings without a teacher, by model and the paper's resolution: the median over runs of
(CPU-seconds - starting the job) / images, where images are those trained on, and those of the data set in as many
epochs, which is what the scale states: of 960 an epoch trains on 768 (engine/batches.py). Then all stored jobs against
what was planned for them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

from replicate.figures.load import load_with_figures
from replicate.figures.plan import with_figures
from replicate.plan.cells import plan_tables
from replicate.store.store import Store

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from filled_results import fill, plan_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smallest", action="store_true", help="of made-up results of Table 3")
    if not parser.parse_args().smallest:
        show(Store(ROOT / "results"))
        return
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for job in plan_of().graph:
            fill(store, job)
        show(store)


def show(store: Store) -> None:
    specs = load_with_figures(ROOT / "tables", "mini")
    plan = plan_tables(specs, specs.ordered, (0,))
    found: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    planned = taken = 0.0
    for job in with_figures(plan):
        result = store.result(job.key)
        if result is None:
            continue
        planned, taken = planned + job.seconds, taken + result.cost["cpu_seconds"]
        run = specs.runs.runs.get(job.run)
        if job.kind == "train" and run is not None and run.teacher is None:
            recipe = plan.expander.recipe(job.run)
            images = recipe.epochs * specs.scale.data[run.data].train
            seconds = result.cost["cpu_seconds"] - specs.scale.job_seconds
            found[run.model, run.resolution].append((seconds / result.summary["images"], seconds / images))
    print("| model | resolution | runs | ms an image trained on | ms an image of the data set | stated |")
    print("|---|---|---|---|---|---|")
    for (model, resolution), values in sorted(found.items()):
        stated = specs.scale.models[model].seconds.get(str(resolution))
        shown = "–" if stated is None else f"{1000 * stated:.2f}"
        trained, counted = (1000 * median(column) for column in zip(*values, strict=True))
        print(f"| {model} | {resolution} | {len(values)} | {trained:.2f} | {counted:.2f} | {shown} |")
    print(f"\nall stored jobs: {taken:.0f} CPU-seconds, planned {planned:.0f}")


if __name__ == "__main__":
    main()
