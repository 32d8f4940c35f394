"""One job in this process: what counts as its artefact, and how what went wrong is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from replicate.launch.worker import failure_kind, perform
from replicate.plan import job as jobs
from replicate.plan.job import Job
from replicate.store.store import Store

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

JOB = Job("measure-x-0123456789ab", "measure", {"kind": "measure"}, {})


class OutOfMemoryError(RuntimeError):
    """As torch has it, under its name."""

    __module__ = "torch"


def engine(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    from replicate.engine.run import KINDS

    def execute(payload: Any, inputs: Any, folder: Path, report: Any, stop: Any) -> dict[str, Any]:
        if error is not None:
            raise error
        (folder / "measure.json").write_text("{}")
        return {"images": 1}

    monkeypatch.setitem(KINDS, "measure", execute)


def test_a_damaged_result_is_no_artefact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine(monkeypatch)
    store = Store(tmp_path)
    (store.prepare(JOB) / "result.json").write_text("{")
    assert perform(store, JOB, {}, lambda: False) == "done"
    result = Store(tmp_path).result(JOB.key)
    assert result is not None
    assert list(result.files) == ["measure.json"]


def test_memory_of_the_gpu_has_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine(monkeypatch, OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    store = Store(tmp_path)
    (store.prepare(JOB) / "result.json").write_text("{")
    assert perform(store, JOB, {}, lambda: False) == "failed"
    failure = json.loads((store.folder(JOB.key) / "failure.json").read_text())
    assert (failure["kind"], failure["retry"]) == ("OOM-GPU", False)
    assert "ntasks_per_node, gpus_per_node in [kinds.train]" in failure["message"]
    # The damaged one went when the job began: what is wrong now is the failure.
    assert Store(tmp_path).state(JOB.key) == "failed"
    assert failure_kind(MemoryError())[0] == "out of memory"
    assert failure_kind(RuntimeError())[0] == "error"


def test_what_cannot_be_read_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine(monkeypatch)
    store = Store(tmp_path)
    assert perform(store, JOB, {}, lambda: False) == "done"
    reader = Job("measure-y-0123456789ab", "measure", {"kind": "measure", "inputs": {}}, {"network": JOB.key})
    path = store.folder(JOB.key) / "result.json"
    path.rename(tmp_path / "kept")
    path.mkdir()
    for job in (JOB, reader):
        assert perform(Store(tmp_path), job, {}, lambda: False) == "failed"
        failure = json.loads((store.folder(job.key) / "failure.json").read_text())
        assert (failure["kind"], failure["retry"]) == ("unreadable", True)
        assert failure["message"].startswith(f"{path}: cannot be read, got 'Is a directory'\n")
    path.rmdir()
    (tmp_path / "kept").rename(path)
    assert Store(tmp_path).state(JOB.key) == "done"
    assert perform(Store(tmp_path), reader, {}, lambda: False) == "done"


def test_torch_calls_it_so() -> None:
    import torch

    assert failure_kind(torch.cuda.OutOfMemoryError("CUDA out of memory")) == ("OOM-GPU", False)


def test_a_checkpoint_from_before_a_field_existed_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from replicate.engine.checkpoint import Checkpoints, Snapshot

    monkeypatch.setattr(jobs, "NEUTRAL", {"recipe": {"clip": 0.0}})
    old: dict[str, Any] = {"kind": "train", "recipe": {"lr": 1.0}}
    assert Checkpoints(tmp_path, old).save(Snapshot(7, {"w": torch.ones(2)}, {}))
    found = Checkpoints(tmp_path, {"kind": "train", "recipe": {"lr": 1.0, "clip": 0.0}}).newest()
    assert found is not None
    assert found.position == 7
    assert Checkpoints(tmp_path, {"kind": "train", "recipe": {"lr": 1.0, "clip": 0.5}}).newest() is None
