"""Processes and GPUs of a request, compared before anything is queued; and the GPU that each process takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from replicate.backends.slurm.gpus import Idle, Shape, device_of, misfits, names_type, one_process
from replicate.backends.slurm.profile import Profile
from replicate.errors import Fault, UserError
from replicate.jobs.job import Job
from replicate.plan.cells import plan_tables
from replicate.specs.load import load

ROOT = Path(__file__).resolve().parents[2]


def profile_of(sbatch: Mapping[str, Any] = {}, **kinds: Mapping[str, Any]) -> Profile:
    return Profile.model_validate(
        {
            "name": "lab",
            "python": "/opt/python",
            "paths": {"shared": "/shared"},
            "sbatch": {"time": 60, **sbatch},
            "kinds": kinds,
        }
    )


@pytest.mark.parametrize(
    ("request_", "processes", "gpus"),
    [
        ({}, 1, None),
        ({"gpus_per_node": 0}, 1, 0),
        ({"gpus_per_node": "a100:4", "ntasks_per_node": 4}, 4, 4),
        ({"gpus_per_node": "a100:2,v100:2", "nodes": 2, "ntasks_per_node": 4}, 8, 8),
        ({"gpus_per_task": "a100:1", "nodes": 2, "ntasks_per_node": 4}, 8, 8),
        ({"gpus_per_task": 2, "extra": {"ntasks": 3}}, 3, 6),
        ({"gres": "gpu:4"}, 1, 4),
        ({"gres": "lustre:1,gpu:a100:4", "nodes": 2}, 2, 8),
        ({"gres": "gpu"}, 1, 1),
        ({"gres": "lustre:1"}, 1, None),
        ({"extra": {"gpus": "a100:4"}}, 1, 4),
        ({"extra": {"gpus": 4, "ntasks-per-gpu": 1}}, 4, 4),
        ({"extra": {"tres-per-task": "cpu:8,gres/gpu:a100:2"}, "ntasks_per_node": 2}, 2, 4),
        ({"extra": {"ntasks": 8}, "nodes": 2, "gpus_per_node": 4}, 8, 8),
    ],
)
def test_shapes(request_: Mapping[str, Any], processes: int, gpus: int | None) -> None:
    shape = Shape.of(profile_of(train=request_).request("train"))
    assert (shape.processes, shape.gpus) == (processes, gpus)


@pytest.mark.parametrize(
    ("request_", "typed"),
    [
        ({"gpus_per_node": 4}, False),
        ({"gpus_per_node": "a100:4"}, True),
        ({"gpus_per_task": "a100:1"}, True),
        ({"extra": {"gpus": "a100:1"}}, True),
        ({"gres": "gpu:4"}, False),
        ({"gres": "gpu"}, False),
        ({"gres": "lustre:1,gpu:a100:1"}, True),
    ],
)
def test_the_type_of_gpu(request_: Mapping[str, Any], typed: bool) -> None:
    assert names_type(profile_of(measure=request_).request("measure")) == typed


@pytest.fixture(scope="module")
def jobs() -> dict[str, list[Job]]:
    """Of Table 3, by scale: no CPU trains at the paper's."""
    found = {}
    for scale in ("mini", "paper"):
        specs = load(ROOT / "tables", scale)
        found[scale] = list(plan_tables(specs, ["distillation_ablation"], (0,)).graph)
    return found


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"gpus_per_node": 8}, "1 process, 8 GPUs: 7 would idle"),
        ({"gres": "gpu:a100:4"}, "1 process, 4 GPUs: 3 would idle"),
        ({"gpus_per_node": "a100:8", "ntasks_per_node": 4}, "4 processes, 8 GPUs: 4 would idle"),
        ({"gpus_per_node": 1, "ntasks_per_node": 2}, "2 processes, 1 GPU: each process needs a GPU of its own"),
        ({"gpus_per_node": 0, "ntasks_per_node": 2}, "2 processes, 0 GPUs: "),
        ({"gpus_per_node": 0}, "1 process, 0 GPUs: "),
        ({"extra": {"gpus": 2}}, "1 process, 2 GPUs: 1 would idle"),
    ],
)
def test_trainings_that_would_fail_or_waste_a_node(
    jobs: dict[str, list[Job]], train: Mapping[str, Any], words: str
) -> None:
    (fault,) = misfits(jobs["paper"], profile_of(train=train))
    assert isinstance(fault, Fault)
    assert str(fault).startswith(f"slurm/lab.toml: train jobs: {words}")
    assert "[kinds.train]" in str(fault)


def test_what_fits_is_not_spoken_of(jobs: dict[str, list[Job]]) -> None:
    for train in ({}, {"gpus_per_node": 1}, {"gpus_per_node": "a100:4", "ntasks_per_node": 4}, {"gpus_per_task": 1}):
        assert list(misfits(jobs["paper"], profile_of(train=train))) == []
    # Trainings of the small scale run on CPUs, and need no GPU of their own.
    assert list(misfits(jobs["mini"], profile_of(train={"gpus_per_node": 1, "ntasks_per_node": 2}))) == []


def test_a_kind_of_one_process_uses_one_gpu(jobs: dict[str, list[Job]]) -> None:
    wasteful = profile_of({"gpus_per_node": 4, "ntasks_per_node": 4, "nodes": 2})
    (found,) = misfits([job for job in jobs["paper"] if job.kind == "predict"], wasteful)
    assert isinstance(found, Idle)
    assert str(found) == (
        "predict jobs: 1 process, 4 GPUs: a job of this kind uses one\n  write gpus_per_node = 1 in [kinds.predict]"
    )
    assert (wasteful.processes("predict"), wasteful.processes("train")) == (1, 8)
    by_gpu = profile_of({"extra": {"gpus": 4, "ntasks-per-gpu": 1}})
    assert (by_gpu.processes("predict"), by_gpu.processes("train")) == (1, 4)


def test_one_process_of_a_request() -> None:
    def cut(**train: Any) -> dict[str, Any]:
        return one_process(profile_of(train=train).request("train"))

    one = {"time": 60, "nodes": 1, "ntasks_per_node": 1}
    assert cut(gpus_per_node="a100:8", ntasks_per_node=8, nodes=2) == {**one, "gpus_per_node": "a100:1"}
    assert cut(gres="gpu:a100:4,lustre:1", exclusive=True) == {**one, "gres": "gpu:a100:1,lustre:1"}
    assert cut(gpus_per_task="a100:2", cpus_per_gpu=4) == {**one, "gpus_per_node": "a100:1"}
    assert cut(extra={"gpus": 8, "ntasks": 8}) == {**one, "gpus": "1"}
    assert cut(extra={"ntasks": 8}) == one
    assert cut(gpus_per_node=0) == {**one, "gpus_per_node": "0"}


FOUR = ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("environ", "present", "size", "devices"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, FOUR, 4, ["0", "1", "2", "3"]),
        # More GPUs than processes: both would compute on the first.
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, FOUR, 2, ["0", "1"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, FOUR, 2, ["GPU-a", "GPU-b"]),
        # A site that keeps no account of GPUs.
        ({}, FOUR, 2, ["0", "1"]),
        # gpus_per_task: each sees its own, and calls it 0.
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_GPUS_PER_TASK": "1"}, ("0",), 2, [None, None]),
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_GPUS_ON_NODE": "2"}, FOUR, 2, [None, None]),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, FOUR, 1, [None]),
        # GPUs that Slurm only counts, on a machine without any.
        ({"CUDA_VISIBLE_DEVICES": "0"}, (), 2, [None, None]),
        ({}, (), 2, [None, None]),
    ],
)
def test_the_gpu_of_each_process(
    environ: Mapping[str, str], present: tuple[str, ...], size: int, devices: list[str | None]
) -> None:
    assert [device_of(environ, rank, size, present) for rank in range(size)] == devices


@pytest.mark.parametrize("environ", [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "0,1"}, {}])
def test_fewer_gpus_than_processes_on_a_node(environ: Mapping[str, str]) -> None:
    present = ("0", "1")
    count = 1 if environ.get("CUDA_VISIBLE_DEVICES") == "0" else 2
    with pytest.raises(UserError, match=f"3 processes on this node, {count} GPU"):
        device_of(environ, 2, 3, present)
