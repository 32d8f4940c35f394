"""One job in this process: what counts as its artefact, and how what went wrong is called."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, environment
from filled_results import example, job_like
from tiny_project import wait_for

from replicate.backends.worker import Outcome, failure_kind, perform
from replicate.jobs.key import canonical
from replicate.jobs.train import Train
from replicate.store.store import Store

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

JOB = job_like("measure-x-0123456789ab", "measure")


class OutOfMemoryError(RuntimeError):
    """As torch has it, under its name."""

    __module__ = "torch"


def engine(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    from replicate.engine import measure

    def run(job: Any, inputs: Any, folder: Path, report: Any, stop: Any) -> dict[str, Any]:
        if error is not None:
            raise error
        (folder / "measure.json").write_text("{}")
        return {"images": 1}

    monkeypatch.setattr(measure, "run", run)


def test_a_damaged_result_is_no_artefact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine(monkeypatch)
    store = Store(tmp_path)
    (store.prepare(JOB) / "result.json").write_text("{")
    assert perform(store, JOB, {}, lambda: False) == Outcome.DONE
    result = Store(tmp_path).result(JOB.key)
    assert result is not None
    assert list(result.files) == ["measure.json"]


def test_changes_that_are_in_no_commit_lie_beside_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine(monkeypatch)
    store = Store(tmp_path)
    assert perform(store, JOB, {}, lambda: False, b"+x = 2\n") == Outcome.DONE
    folder = store.folder(JOB.key)
    assert (folder / "code.diff").read_bytes() == b"+x = 2\n"
    result = Store(tmp_path).result(JOB.key)
    assert result is not None
    assert list(result.files) == ["measure.json"], "it is no artefact: other code can make the same result"
    (folder / "result.json").unlink()
    assert perform(Store(tmp_path), JOB, {}, lambda: False) == Outcome.DONE
    assert not (folder / "code.diff").exists(), "made by committed code"


def test_memory_of_the_gpu_has_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine(monkeypatch, OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    store = Store(tmp_path)
    (store.prepare(JOB) / "result.json").write_text("{")
    assert perform(store, JOB, {}, lambda: False) == Outcome.FAILED
    failure = json.loads((store.folder(JOB.key) / "failure.json").read_text())
    assert (failure["kind"], failure["retry"]) == ("OOM-GPU", False)
    assert "ntasks_per_node, gpus_per_node in [kinds.train]" in failure["message"]
    # The damaged one went when the job began: what is wrong now is the failure.
    assert Store(tmp_path).state(JOB.key) == "failed"
    assert failure_kind(MemoryError())[0] == "out of memory"
    assert failure_kind(RuntimeError())[0] == "error"


CALLER = """
import multiprocessing, sys, time
from pathlib import Path
from filled_results import example, job_like
from replicate.engine import measure, train
from replicate.engine.train import Stopped
from replicate.backends import worker
from replicate.jobs.job import Job

def run(job, inputs, folder, report, stop):
    (folder / "began").touch()
    time.sleep(float(sys.argv[2]))
    if stop():
        time.sleep(float(sys.argv[3]))
        (folder / "checkpoint-1").touch()
        raise Stopped
    return {}

worker.ORPHAN_SECONDS = float(sys.argv[4])
measure.run = train.run = run
job = job_like(sys.argv[5], sys.argv[5].split("-")[0])
child = multiprocessing.get_context("fork").Process(target=worker.main, args=(sys.argv[1], job, {}))
child.start()
child.join()
"""


@pytest.mark.parametrize(
    ("key", "step", "checkpoint", "patience", "kept"),
    [
        # The step alone is longer than an orphan once had.
        ("train-x-0123456789ab", 7.0, 0.5, 600.0, True),
        # Once it is at its checkpoint, there is no limit; a step that hangs has one.
        ("train-x-0123456789ab", 0.5, 4.0, 2.0, True),
        ("train-x-0123456789ab", 60.0, 0.0, 1.0, False),
        ("measure-x-0123456789ab", 60.0, 0.0, 600.0, False),
    ],
)
def test_a_worker_whose_caller_is_killed_ends_its_step_and_its_checkpoint(
    tmp_path: Path, key: str, step: float, checkpoint: float, patience: float, kept: bool
) -> None:
    folder = tmp_path / key
    command = [sys.executable, "-c", CALLER, str(tmp_path), str(step), str(checkpoint), str(patience), key]
    caller = subprocess.Popen(command, cwd=ROOT, env=environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}"))
    wait_for(lambda: (folder / "began").exists(), caller)
    pid = json.loads((folder / "claim" / "owner.json").read_text())["pid"]
    caller.kill()
    caller.wait()
    wait_for(lambda: not running(pid))
    assert (folder / "checkpoint-1").exists() == kept
    assert (folder / "claim").exists() != kept


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_cannot_be_read_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine(monkeypatch)
    store = Store(tmp_path)
    assert perform(store, JOB, {}, lambda: False) == Outcome.DONE
    reader = job_like("measure-y-0123456789ab", "measure", {"network": JOB.key})
    path = store.folder(JOB.key) / "result.json"
    path.rename(tmp_path / "kept")
    path.mkdir()
    for job in (JOB, reader):
        assert perform(Store(tmp_path), job, {}, lambda: False) == Outcome.FAILED
        failure = json.loads((store.folder(job.key) / "failure.json").read_text())
        assert (failure["kind"], failure["retry"]) == ("unreadable", True)
        assert failure["message"].startswith(f"{path}: cannot be read: Is a directory\n")
    path.rmdir()
    (tmp_path / "kept").rename(path)
    assert Store(tmp_path).state(JOB.key) == "done"
    assert perform(Store(tmp_path), reader, {}, lambda: False) == Outcome.DONE


def test_torch_calls_it_so() -> None:
    import torch

    assert failure_kind(torch.cuda.OutOfMemoryError("CUDA out of memory")) == ("OOM-GPU", False)


def test_a_checkpoint_from_before_a_field_existed_is_resumed(tmp_path: Path) -> None:
    import torch

    from replicate.engine.checkpoint import Checkpoints, Snapshot

    job = example("train")
    assert isinstance(job, Train)
    payload = {name: value for name, value in job.payload.items() if name != "init_weights"}
    later = ("clip_norm", "attention")
    payload["recipe"] = {name: value for name, value in payload["recipe"].items() if name not in later}
    checkpoints = Checkpoints(tmp_path, job)
    # As it was written then.
    checkpoints.payload = sha256(canonical(payload)).hexdigest()
    assert checkpoints.save(Snapshot(7, {"w": torch.ones(2)}, {}))
    found = Checkpoints(tmp_path, job).newest()
    assert found is not None
    assert found.position == 7
    other = replace(job, recipe=job.recipe.model_copy(update={"clip_norm": 0.5}))
    assert Checkpoints(tmp_path, other).newest() is None
