"""Processor seconds to plan a synthetic table of 100,000 cells, and to read its states from an empty results folder.

    python benchmarks/plan.py [CELLS] [CELLS A NETWORK] [--smallest]

Target: 2 s for the plan. A network is read by 8 cells (4 heads, top-1 and top-5; 1.4 in Table 3), and each means
two jobs, its training and its decisions; all are distilled from one teacher.
"""

from __future__ import annotations

import argparse
import gc
import resource
import tempfile
import time
from pathlib import Path

from replicate.plan.cells import plan_tables
from replicate.specs.load import Specs, load
from replicate.specs.table import ColumnSpec, RowSpec
from replicate.store.store import Store

READINGS = [
    (metric, head) for metric in ("top1", "top5") for head in ("class", "distillation", "softmax-sum", "logit-mean")
]
ROOT = Path(__file__).resolve().parents[1]
CELLS, FEW = 100_000, 80


def synthetic(cells: int, shared: int) -> Specs:
    """A row for each network, of another learning rate each."""
    known = load(ROOT / "tables", "paper")
    spec = known.tables["distillation_ablation"]
    model = known.runs.runs["deit-b-224/token"]
    runs = {"regnety-16gf": known.runs.runs["regnety-16gf"]}
    columns = [
        ColumnSpec(key=f"c{number}", header="c", metric=metric, head=head)
        for number, (metric, head) in enumerate(READINGS[:shared])
    ]
    rows = []
    for number in range(cells // shared):
        rows.append(RowSpec(key=f"r{number}", label="r", run=f"run{number}"))
        runs[f"run{number}"] = model.model_copy(update={"change": {"lr": 1e-4 * (1 + number)}})
    table = spec.table.model_copy(update={"id": "synthetic", "columns": tuple(columns)})
    update = {"table": table, "rows": tuple(rows), "claims": (), "notes": (), "references": ()}
    return Specs(
        known.folder,
        {"synthetic": spec.model_copy(update=update)},
        {"synthetic": known.folder / "synthetic.toml"},
        known.runs.model_copy(update={"runs": runs}),
        known.scale,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="?", type=int, default=CELLS)
    parser.add_argument("shared", nargs="?", type=int, default=8, metavar="cells_a_network")
    parser.add_argument("--smallest", action="store_true", help=f"{FEW} cells")
    call = parser.parse_args()
    print("| | |\n|---|---|")
    for name, value in measured(FEW if call.smallest else call.cells, call.shared).items():
        print(f"| {name} | {value} |")


def quick(smallest: bool) -> dict[str, str]:
    """Only the plan itself, of both kinds of table: memory is that of the process, whatever ran in it before."""
    cells = FEW if smallest else CELLS
    return {f"{cells:,} cells, {shared} a network": measured(cells, shared)["plan"] for shared in (8, 1)}


def measured(cells: int, shared: int) -> dict[str, str]:
    specs = synthetic(cells, shared)
    started = time.process_time()
    plan = plan_tables(specs, ["synthetic"], [0])
    planned = time.process_time()
    gc.freeze()  # As the command line does, once it has a plan.
    urgency = plan.graph.urgency()
    served = plan.served()
    counted = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        states = store.states(plan.graph.jobs)
    looked = time.process_time()
    assert len(urgency) == len(served) == len(states)
    return {
        "cells": f"{cells:,}",
        "jobs": f"{len(plan.graph):,}",
        "plan": f"{planned - started:.2f} s",
        "urgency, cells": f"{counted - planned:.2f} s",
        "states on disk": f"{looked - counted:.2f} s",
        "peak memory": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB",
    }


if __name__ == "__main__":
    main()
