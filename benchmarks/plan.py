"""Processor seconds to plan a synthetic table of 100,000 cells, and to read its states from an empty results folder.

    python benchmarks/plan.py [CELLS] [CELLS A NETWORK]

Target: 2 s for the plan. A network is read by 8 cells (4 heads, top-1 and top-5; 1.4 in Table 3), and each means
two jobs, its training and its decisions; all are distilled from one teacher.
"""

from __future__ import annotations

import gc
import resource
import sys
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
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    shared = int(sys.argv[2]) if len(sys.argv) > 2 else 8
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
    print(f"{cells:,} cells, {len(plan.graph):,} jobs")
    print(f"plan             {planned - started:6.2f} s")
    print(f"urgency, cells   {counted - planned:6.2f} s")
    print(f"states on disk   {looked - counted:6.2f} s")
    print(f"peak memory      {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:6.0f} MB")


if __name__ == "__main__":
    main()
