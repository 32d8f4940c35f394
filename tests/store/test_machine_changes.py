"""What changed between the machines of two results, and where it is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filled_results import example

from replicate.nightly.changes import _causes, new_devices
from replicate.nightly.snapshot import JobRecord, job_record
from replicate.store.machine import Machine
from replicate.store.provenance import Provenance, differences
from replicate.store.result import commit_result
from replicate.store.store import Store

SOFTWARE = {"cuda": "12.4", "cudnn": "90100"}
FLAGS = {"processes": 1, "matmul": "highest", "tf32": False, "autocast": "fp16", "deterministic": False}
V100 = Machine.of(
    {"device": "Tesla V100-SXM2-32GB", "kind": "cuda", "memory_mb": 34_000, "driver": "450.80", "host": "n1"}
    | {"attention": ["math"], **SOFTWARE, **FLAGS}
)
H100 = replace(V100, device="NVIDIA H100", memory_mb=85_000, driver="550.54", host="n2", attention=("flash", "math"))
ON_CPU = replace(V100, augmentation="cpu")
EPYC, XEON = Machine("EPYC", "cpu", host="n1", tf32=False), Machine("Xeon", "cpu", host="n2", tf32=False)
CODE = {"code_digest": "a", "packages": {}, "python": "3.11"}


def made(machine: Machine | None, processor: str = "EPYC") -> dict[str, Any]:
    return CODE | {"processor": processor} | ({"machine": machine.recorded()} if machine else {})


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        (
            made(V100),
            made(H100),
            [
                "device Tesla V100-SXM2-32GB → NVIDIA H100",
                "memory of the device 34,000 → 85,000",
                "driver 450.80 → 550.54",
                "attention kernels math → flash, math",
            ],
        ),
        (made(V100), made(V100), []),
        (made(V100), made(replace(V100, host="n7")), []),
        (made(V100), made(replace(V100, tf32=True, processes=8)), ["processes 1 → 8", "TF32 off → on"]),
        (made(ON_CPU), made(replace(V100, augmentation="cuda")), ["augmentation on cpu → cuda"]),
        (made(V100), made(replace(V100, augmentation="cuda")), []),
        (made(EPYC), made(XEON, "Xeon"), ["processor EPYC → Xeon"]),
        (made(EPYC), made(H100), ["device EPYC → NVIDIA H100"]),
        (made(None), made(H100), ["device unknown → NVIDIA H100"]),
        (made(None), made(EPYC), []),
    ],
)
def test_another_machine_is_said(was: dict[str, Any], now: dict[str, Any], said: list[str]) -> None:
    assert differences(was, now, machine=True)[: len(said) or None] == said
    assert differences(was, now) == [], "a night computes nothing anew because a node is another one"


def test_what_is_recorded_is_read_and_more_is_passed_over() -> None:
    assert Machine.of(H100.recorded() | {"colour": "green"}) == H100
    assert Provenance.of({}).machine == Machine()
    assert Machine().hardware == Machine().precision == "unknown"


def test_a_night_keeps_it_and_says_what_changed(tmp_path: Path) -> None:
    job = example("measure")
    records: list[JobRecord] = []
    for machine in (V100, H100):
        store = Store(tmp_path / machine.host)
        folder = store.prepare(job)
        (folder / "measure.json").write_text(machine.device)
        commit_result(folder, job.key, ["measure.json"], {}, {}, made(machine))
        records.append(JobRecord.model_validate_json(job_record(job, "done", store).model_dump_json()))
    was, now = ({job.key: record} for record in records)
    (cause,) = _causes([job.key], [job.key], was, now)
    assert cause.what[0] == "device Tesla V100-SXM2-32GB → NVIDIA H100"
    assert new_devices(was, now) == ["NVIDIA H100 (1 job)"]
    assert new_devices(was, was) == new_devices({}, now) == []
