"""A metric from outside: one entry makes it plannable, readable, printable, explainable and comparable by night.

This is all that a package which adds one has to write: see `top3` below, and ``metric = "top3"`` in the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command_line import TABLE, copied_tables
from filled_results import fill

from replicate import metrics
from replicate.errors import SpecError
from replicate.judge.finish import Finisher
from replicate.metrics import metric as registry
from replicate.nightly.snapshot import _allowed
from replicate.plan.cells import Plan, plan_tables
from replicate.render import format_json, format_md
from replicate.specs.cell import CellRef
from replicate.specs.load import load
from replicate.store.store import Store


@pytest.fixture
def top3() -> Iterator[metrics.Metric]:
    """The entry, as a package outside writes it at its top."""
    yield metrics.register(
        metrics.from_decisions(
            "top3",
            "Share of the test images whose label is among the first three choices.",
            lambda reading: reading.decisions.among(reading.head, 3),
        )
    )
    del registry._METRICS["top3"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tables of which Table 3 reads the new metric."""
    folder = copied_tables(tmp_path)
    path = folder / f"{TABLE}.toml"
    path.write_text(path.read_text().replace('metric    = "top1"', 'metric    = "top3"'))
    return folder


@pytest.fixture
def plan(top3: metrics.Metric, folder: Path) -> Plan:
    return plan_tables(load(folder, "mini"), [TABLE], (0,))


@pytest.fixture
def store(plan: Plan, tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    for job in plan.graph:
        fill(store, job)
    return Store(store.root)


def test_a_table_prints_it(plan: Plan, store: Store) -> None:
    table = Finisher(plan, store).finish(TABLE)
    ref = CellRef(TABLE, "token_both", "b_384")
    cell = table.cells[ref]
    (job,) = plan.cell(ref).jobs
    with np.load(store.root / job.key / "decisions.npz") as decisions:
        head = decisions["softmax-sum"]
        correct = sum(label in choices[:3] for label, choices in zip(decisions["labels"], head, strict=True))
    assert [(seed.correct, seed.images) for seed in cell.seeds] == [(correct, 200)]
    assert (cell.state, cell.shown, cell.origin) == ("done", f"{correct / 2:.1f}", "trained here")
    assert cell.error is not None
    assert cell.shown in format_md.render(table, "compare")
    assert '"metric": "top3"' in format_json.render(table)


def test_it_needs_the_jobs_of_any_metric_read_from_decisions(plan: Plan, tmp_path: Path) -> None:
    assert {job.kind for job in plan.graph} == {"data", "train", "predict"}


def test_a_night_allows_it_to_move_by_the_tolerance_of_the_table(plan: Plan, store: Store) -> None:
    ref = CellRef(TABLE, "token_both", "b_384")
    value = Finisher(plan, store).finish(TABLE).cells[ref].value
    assert _allowed(value, plan.cell(ref), 0.3) == 0.3


def test_a_table_whose_metric_nothing_reads_is_refused(folder: Path) -> None:
    with pytest.raises(SpecError) as error:
        load(folder, "mini")
    fault = str(error.value)
    assert "table.metric: there is no metric 'top3'" in fault
    assert "did you mean 'top1'?" in fault or "did you mean 'top5'?" in fault


def entry(**change: object) -> metrics.Metric:
    facts: dict[str, object] = {"name": "mine", "doc": "A number.", "read": lambda reading: None, "job": "measure"}
    return metrics.Metric(**(facts | {"origin": "counted here"} | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"name": "top1"}, "metric 'top1': another metric has this name"),
        ({"name": "Top-3"}, "metric 'Top-3': a name has small letters"),
        ({"doc": " "}, "metric 'mine': 'doc' is empty"),
        ({"job": "", "second": "reference"}, "needs a first one"),
        ({"headed": True}, "needs 'trained'"),
        ({"second": "labels"}, "set 'on'"),
        ({"origin": ""}, "'origin' is wanted of what needs no trained network"),
    ],
)
def test_an_entry_that_contradicts_itself_is_refused(change: dict[str, object], fault: str) -> None:
    before = metrics.names()
    with pytest.raises(ValueError, match=r"^metric '") as error:
        metrics.register(entry(**change))
    assert fault in str(error.value)
    assert metrics.names() == before
