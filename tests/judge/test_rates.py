"""Images a second: one unit for all networks, errors of ratios, and what the tables say of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT
from filled_results import fill

from replicate.jobs.job import Job
from replicate.judge.cell import device_beside
from replicate.judge.finish import PERHAPS, UNCOMMITTED, UNSTEADY, Finisher
from replicate.judge.table import Table
from replicate.plan.cells import Plan, plan_tables
from replicate.specs.cell import CellRef
from replicate.specs.load import load
from replicate.store.result import commit_result
from replicate.store.store import Store

VARIANTS = "model_variants"
RATES = {"deit-ti": 5000.0, "deit-s": 100.0, "deit-b": 200.0}
RATIOS = {"deit-ti": 7.0, "deit-s": 3.0, "deit-b": 1.1}


def planned(scale: str, *tables: str) -> Plan:
    return plan_tables(load(ROOT / "tables", scale), tables or (VARIANTS,), (0,))


def measure(
    store: Store,
    job: Job,
    times: list[float] | None = None,
    *,
    dirty: bool | None = False,
    attention: str | None = None,
    device: str = "",
) -> None:
    """As the engine leaves it: each process met another load, so the rates by themselves fit to nothing."""
    model = job.payload["model"]["name"]
    ratio: dict[str, Any] | None = None
    if job.payload.get("protocol", {}).get("name") == "paired":
        middle = RATIOS[model]
        ratio = {"median": middle, "low": middle - 0.196, "high": middle + 0.196}
        ratio |= {"half_width_percent": 19.6 / middle, "steady": model != "deit-s"}
    folder = store.prepare(job)
    windows = {"network": [{"images": 8, "wall": wall, "cpu": wall} for wall in times or []]}
    (folder / "measure.json").write_text(json.dumps({"windows": windows}))
    architecture = {"embed_dim": 1, "heads": 1, "layers": 1, "size": 1}
    summary = {"images_per_second": RATES[model], "ratio": ratio, "parameters": 1, "architecture": architecture}
    # Results from before they were recorded have no such fields.
    summary |= {name: value for name, value in (("attention", attention), ("device", device)) if value}
    made = {"commit": "a" * 40, "dirty": dirty, "python": "", "packages": {}, "processor": "", "system": ""}
    cost = {"wall_seconds": 1.0, "cpu_seconds": 1.0, "peak_mb": 1.0}
    commit_result(folder, job.key, ["measure.json"], summary, cost, made | {"threads": 1})


def finished(
    folder: Path, scale: str = "mini", times: list[float] | None = None, *, dirty: bool | None = False, device: str = ""
) -> Table:
    plan, store = planned(scale), Store(folder)
    for job in plan.graph:
        measure(store, job, times, dirty=dirty, device=device)
    return Finisher(plan, store).finish(VARIANTS)


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("Tesla V100-SXM2-16GB", "measured on Tesla V100-SXM2-16GB, the paper's device; claims compare ratios"),
        ("Tesla V100-PCIE-32GB", "measured on another device than the paper's: Tesla V100-PCIE-32GB"),
        ("NVIDIA H100 80GB HBM3", "measured on another device than the paper's: NVIDIA H100 80GB HBM3"),
        ("", "measured on an unknown device"),
    ],
)
def test_another_device_is_said_of_another_device_alone(device: str, said: str, tmp_path: Path) -> None:
    cell = finished(tmp_path, "paper", device=device).cell("deit_b", "throughput")
    assert (cell.verdict, cell.reason) == ("not compared", said)


def test_a_paper_that_names_no_device_has_none_that_is_another() -> None:
    assert device_beside({"Tesla V100-SXM2-16GB"}, "") == "Tesla V100-SXM2-16GB"


def test_every_rate_is_a_ratio_times_one_rate(tmp_path: Path) -> None:
    table = finished(tmp_path)
    shown = {row.key: table.cell(row.key, "throughput").shown for row in table.rows}
    # 7 x 200, 3 x 200, and the unit itself.
    assert shown == {"deit_ti": "1400", "deit_s": "600", "deit_b": "200"}
    assert table.cell("deit_ti", "throughput").error == pytest.approx(0.1 * 200)
    assert table.cell("deit_b", "throughput").error is None


def test_claims_are_the_ratios_of_what_is_printed(tmp_path: Path) -> None:
    faster, smaller = [claim for claim in finished(tmp_path).claims if claim.relation == "times"]
    assert (faster.margin_shown, faster.error_shown, faster.note) == ("×7.00", "0.20", "")
    assert (smaller.margin_shown, smaller.error_shown, smaller.note) == ("×3.00", "", "unsteady")


def test_all_tables_have_the_same_unit() -> None:
    plan = planned("mini", VARIANTS, "efficiency", "transfer", "resolution")
    rates = [c for cells in plan.cells.values() for c in cells if c.read and c.read.metric == "throughput"]
    (unit,) = {job.key for cell in rates for job in cell.others}
    assert plan.cell(CellRef(VARIANTS, "deit_b", "throughput")).jobs[0].key == unit
    assert all(unit in cell.keys for cell in rates)
    assert len(rates) > 20


def test_without_the_unit_there_is_no_rate(tmp_path: Path) -> None:
    plan, store = planned("mini"), Store(tmp_path)
    for column in ("throughput", "params"):
        measure(store, plan.cell(CellRef(VARIANTS, "deit_ti", column)).jobs[0])
    table = Finisher(plan, store).finish(VARIANTS)
    cell = table.cell("deit_ti", "throughput")
    assert (cell.state, cell.reason) == ("pending", "not run yet: 1 of its 2 jobs")
    assert table.cell("deit_ti", "params").state == "done"


def test_rates_say_what_they_are_and_which_are_unsteady(tmp_path: Path) -> None:
    table = finished(tmp_path)
    unit, unsteady = (note for note in table.notes if "Images/s" in note.text or note.text == UNSTEADY)
    assert (unit.mark, unit.columns) == ("c", ("throughput",))
    assert "the ratio to deit-b-224, measured in the same process" in unit.text
    assert (unsteady.mark, unsteady.cells) == ("d", (CellRef(table.id, "deit_s", "throughput"),))


def test_by_the_papers_protocol_the_error_is_that_of_the_run_times(tmp_path: Path) -> None:
    table = finished(tmp_path, "paper", [0.9, 1.0, 1.1, 1.0])
    cell = table.cell("deit_ti", "throughput")
    assert cell.shown == "5000"
    # Sum of squares 0.02, so the sd is sqrt(0.02 / 3), over sqrt(4): as a share of the mean of 1.
    assert cell.error == pytest.approx(5000 * (0.02 / 3) ** 0.5 / 2)
    assert not any("Images/s: the ratio" in note.text for note in table.notes)
    assert all(claim.error for claim in table.claims)


def test_without_run_times_nothing_is_decided(tmp_path: Path) -> None:
    table = finished(tmp_path, "paper")
    assert table.cell("deit_ti", "throughput").error is None
    assert {claim.verdict for claim in table.claims} == {"undecided"}
    assert {claim.note for claim in table.claims} == {"no times of single runs, no interval"}


def test_run_times_that_cannot_be_read_are_damage(tmp_path: Path) -> None:
    plan, store = planned("paper"), Store(tmp_path)
    for job in plan.graph:
        measure(store, job)
        (store.folder(job.key) / "measure.json").write_text("{")
        result = json.loads((store.folder(job.key) / "result.json").read_text())
        made = {"summary": result["summary"], "cost": result["cost"], "provenance": result["provenance"]}
        commit_result(store.folder(job.key), job.key, ["measure.json"], **made)
    cell = Finisher(plan, store).finish(VARIANTS).cell("deit_ti", "throughput")
    assert cell.state == "pending"
    assert "measure.json: cannot be read" in cell.reason


def test_only_what_stands_somewhere_has_a_letter(tmp_path: Path) -> None:
    table = finished(tmp_path, dirty=True)
    whole = [note for note in table.notes if not (note.rows or note.columns or note.cells)]
    # The other one is the spec's, of the whole table.
    assert [(note.mark, note.text) for note in whole if not note.see] == [("", UNCOMMITTED)]
    assert {note.mark for note in whole} == {""}
    assert [note.mark for note in table.notes if note not in whole] == ["a", "b", "c", "d"]
    assert (table.commits, table.uncommitted) == (("a" * 40,), True)


def test_changes_behind_some_numbers_are_marked_there(tmp_path: Path) -> None:
    plan, store = planned("mini"), Store(tmp_path)
    for job in plan.graph:
        measure(store, job, dirty=job.payload["model"]["name"] == "deit-ti")
    (note,) = (note for note in Finisher(plan, store).finish(VARIANTS).notes if note.text == UNCOMMITTED)
    assert note.mark
    assert {ref.row for ref in note.cells} == {"deit_ti"}


def test_unknown_changes_are_marked_as_such(tmp_path: Path) -> None:
    """Git was asked and did not answer in time."""
    table = finished(tmp_path, dirty=None)
    assert PERHAPS in [note.text for note in table.notes]
    assert UNCOMMITTED not in [note.text for note in table.notes]
    assert table.uncommitted


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_a_rate_says_how_attention_was_computed(tmp_path: Path, scale: str) -> None:
    plan, store = planned(scale), Store(tmp_path)
    for job in plan.graph:
        measure(store, job, [1.0, 1.1], attention=None if "deit-s" in job.key else "explicit")
    table = Finisher(plan, store).finish(VARIANTS)
    assert "measured with explicit attention on an" in table.cell("deit_ti", "throughput").reason
    assert "attention" not in table.cell("deit_s", "throughput").reason
    assert "attention" not in table.cell("deit_ti", "params").reason


def test_origins_tell_counting_and_copying_from_measuring(tmp_path: Path) -> None:
    table = finished(tmp_path)
    assert table.cell("deit_b", "throughput").origin == "measured here"
    assert table.cell("deit_b", "params").origin == "counted here"
    plan = planned("mini", "ingredients", "datasets")
    for job in plan.graph:
        fill(Store(tmp_path), job)
    finisher = Finisher(plan, Store(tmp_path))
    assert {cell.origin for cell in finisher.finish("ingredients").cells.values()} == {"set in the recipe"}
    assert {cell.origin for cell in finisher.finish("datasets").cells.values()} == {"counted here"}
