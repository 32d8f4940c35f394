"""How steady the miniature is: undistilled students of several seeds, under changes of tables/scales/mini.toml.

    OMP_NUM_THREADS=1 python benchmarks/steadiness.py [--seeds 0,1,2,3] [--runs RUNS] [--store FOLDER]
        [--workers 2] [--smallest] [CHANGES ...]

CHANGES are TOML lines, such as "recipes.deit.mix_prob = 0.5" (several, separated by ';', are one candidate). Without
any, the scale as it is. Trained on other images than the tables' (another data seed, so another test set), and only
without distillation: no claim about distillation has a part in the choice of a miniature.

--runs: not Ti, S and B, but these of tables/runs.toml, such as deit-b-224/none/cifar10,regnety-16gf/cars (Table 7).
--store: what FOLDER holds already is not trained again, and it keeps what is new.
"""

from __future__ import annotations

import argparse
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from replicate.backends.local import LocalRun
from replicate.jobs.expand import Expander
from replicate.jobs.job import Job
from replicate.plan.graph import Graph
from replicate.specs.load import load
from replicate.specs.scale import Scale
from replicate.store.result import Result
from replicate.store.store import Store

RUNS = {"Ti": "deit-ti-224/none", "S": "deit-s-224/none", "B": "deit-b-224/none"}
OTHER_SEED = 77
SMALLEST = "data.imagenet.train = 64; data.imagenet.test = 50; recipes.deit.epochs = 2; recipes.deit.warmup_epochs = 1"


class Silent:
    """Hears of failures only."""

    def started(self, job: Job) -> None: ...
    def progressed(self, job: Job, progress: Mapping[str, Any]) -> None: ...
    def finished(self, job: Job, seconds: float, processors: int = 1) -> None: ...
    def failed(self, job: Job, reason: str) -> None:
        print(f"failed: {job.key}: {reason}", flush=True)

    def said(self, message: str) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2,3")
    parser.add_argument("--runs", default="")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--smallest", action="store_true", help="two seeds of Ti, on 64 images in two epochs")
    parser.add_argument("changes", nargs="*", default=[""])
    call = parser.parse_args()
    seeds = [int(seed) for seed in call.seeds.split(",")]
    runs, changes = RUNS, call.changes
    if call.smallest:
        seeds, runs, changes = [0, 1], {"Ti": RUNS["Ti"]}, [SMALLEST]
    if call.runs:
        runs = {name: name for name in call.runs.split(",")}
    names = ["change", *(f"{name}: {what}" for name in runs for what in ("top-1", "mean", "sd", "CPU s"))]
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(call.store or Path(folder))
        for change in changes:
            shown = candidate(change, runs, seeds, store, call.workers)
            print(f"| {change or 'as it is'} | {' | '.join(shown)} |", flush=True)


def candidate(change: str, runs: Mapping[str, str], seeds: list[int], store: Store, workers: int) -> list[str]:
    """For each network: its accuracies, their mean and standard deviation, and the mean cost of a training."""
    known = load(Path(__file__).resolve().parents[1] / "tables", "mini")
    others = (f"data.{name}.seed = {OTHER_SEED}" for name, data in known.scale.data.items() if hasattr(data, "seed"))
    specs = replace(known, scale=changed(known.scale, ";".join([*others, change])))
    graph = Graph()
    expander = Expander(specs, graph.add)
    jobs = {
        name: [(expander.network(run, seed), expander.job("predict", run, seed)) for seed in seeds]
        for name, run in runs.items()
    }
    LocalRun(graph, store, {}, workers, Silent()).run()
    shown = []
    for pairs in jobs.values():
        top1 = [accuracy(store, decisions) for _, decisions in pairs]
        cost = mean(needed(store, network.key).cost["cpu_seconds"] for network, _ in pairs)
        shown += [
            " ".join(f"{each:.1f}" for each in top1),
            f"{mean(top1):.1f}",
            f"{stdev(top1):.1f}" if len(top1) > 1 else "–",
            f"{cost:.1f}",
        ]
    return shown


def accuracy(store: Store, job: Job) -> float:
    """Top-1 of the class head [%]."""
    summary = needed(store, job.key).summary
    return 100 * summary["correct"]["class"] / summary["images"]


def needed(store: Store, key: str) -> Result:
    result = store.result(key)
    if result is None:
        raise SystemExit(f"{key}: {store.trouble(key)}")
    return result


def changed(scale: Scale, lines: str) -> Scale:
    body = scale.model_dump()
    for line in filter(None, map(str.strip, lines.split(";"))):
        merge(body, tomllib.loads(line))
    return Scale.model_validate(body)


def merge(body: dict[str, Any], change: Mapping[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(body.get(key), dict):
            merge(body[key], value)
        else:
            body[key] = tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    main()
