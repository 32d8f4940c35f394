"""Which GPU a job gets, and what is refused where there is none; nvidia-smi is a script that prints what it would."""

from __future__ import annotations

import multiprocessing
import os
import re
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT
from filled_results import job_like
from tiny_project import JOBS, new_project

from replicate.backends import devices, local, worker
from replicate.backends.devices import at_once, for_jobs, has_gpu, least_used
from replicate.backends.local import LocalRun
from replicate.cli.progress import Estimate, Lines
from replicate.plan.cells import plan_tables
from replicate.plan.graph import Graph
from replicate.specs.load import load
from replicate.store.provenance import provenance
from replicate.store.store import Store

MINI, PAPER = (load(ROOT / "tables", name).scale for name in ("mini", "paper"))


@pytest.fixture
def four_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '0\\n1\\n2\\n3\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("four_gpus")
def test_one_job_a_gpu_unless_more_are_asked_for() -> None:
    assert for_jobs(PAPER) == ("0", "1", "2", "3")
    assert (at_once(PAPER, None), at_once(PAPER, 6)) == (4, 6)


@pytest.mark.usefixtures("four_gpus")
def test_the_mini_scale_hides_them() -> None:
    assert for_jobs(MINI) == ("",)
    assert not has_gpu(MINI)
    assert at_once(MINI, None) == devices.cores()


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(
    ("listed", "given"),
    [("2,3", ("2", "3")), ("GPU-5ad2, 1", ("GPU-5ad2", "1")), ("", ()), ("-1", ()), ("1,-1,2", ("1",))],
)
def test_a_list_of_the_user_is_kept_to(listed: str, given: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert for_jobs(PAPER) == given
    assert has_gpu(PAPER) == bool(given)


@pytest.mark.parametrize("answer", ["echo 'NVIDIA-SMI has failed' >&2; exit 9", "exit 0"])
def test_a_driver_that_does_not_answer_is_no_gpu(answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{answer}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert (for_jobs(PAPER), at_once(PAPER, None)) == ((), devices.cores())


def test_jobs_are_spread_over_the_gpus() -> None:
    used: list[str | None] = []
    for expected in ("0", "1", "0", "1", "0"):
        used.append(least_used(("0", "1"), used))
        assert used[-1] == expected
    assert least_used(("0", "1"), ["1", "0", "1"]) == "0"
    assert least_used((), []) is None


class Started:
    """A context whose processes never run; what each was told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def Process(self, kwargs: dict[str, Any], **_: Any) -> Started:
        self.told.append(kwargs)
        return self

    def start(self) -> None:
        return


@pytest.mark.parametrize(
    ("workers", "cores", "waiting", "running", "threads"),
    [
        (4, 16, 6, 0, 4),
        (4, 16, 6, 3, 4),
        # Fewer are left than there could be at once.
        (4, 16, 0, 1, 8),
        (4, 16, 0, 0, 16),
        (2, 9, 5, 1, 4),
        (8, 4, 9, 7, 1),
        (1, 4, 6, 0, 4),
    ],
)
def test_jobs_at_once_share_the_cores(
    workers: int, cores: int, waiting: int, running: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "cores", lambda: cores)
    names = [f"measure-{n}" for n in range(1 + waiting + running)]
    jobs = {name: job_like(name, "measure") for name in names}
    context = Started()
    with Lines(Estimate(workers, {}), len(jobs), quiet=True) as listener:
        run = LocalRun(Graph(jobs), Store(tmp_path), {}, workers, listener)
        run._waiting |= jobs
        for name in names[: running + 1]:
            run._start(jobs[name], context)
    assert context.told[-1]["threads"] == threads


def given_threads(path: Path) -> None:
    def perform(*_: Any) -> worker.Outcome:
        path.write_text(os.environ["REPLICATE_DECODE_THREADS"])
        return worker.Outcome.DONE

    worker.perform = perform
    worker.main(str(path.parent), job_like("measure-x", "measure"), {}, threads=4)


@pytest.mark.torch
@pytest.mark.parametrize(("asked", "given"), [(None, "4"), ("7", "7")])
def test_a_worker_takes_its_threads_unless_the_user_said_how_many(
    asked: str | None, given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.delenv("REPLICATE_DECODE_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("REPLICATE_DECODE_THREADS", asked)
    process = multiprocessing.get_context("spawn").Process(target=given_threads, args=(tmp_path / "threads",))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    assert (tmp_path / "threads").read_text() == given


@pytest.mark.torch
@pytest.mark.parametrize(("names", "seen"), [(("",), {""}), (("5", "6"), {"5", "6"}), ((), {"9"})])
def test_a_worker_gets_its_gpu_before_torch_looks(
    names: tuple[str, ...], seen: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the log of each job says."""
    pytest.importorskip("torch")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "9")
    with new_project(tmp_path / "project", epochs=1) as project:
        specs = load(project.folder / "tables", "tiny")
        plan = plan_tables(specs, ["tiny"], (0,))
        store = Store(project.results)
        with Lines(Estimate(2, {}), JOBS, quiet=True) as listener:
            outcome = LocalRun(plan.graph, store, provenance(ROOT), 2, listener, devices=names).run()
        assert outcome.failed == {}
        logs = [path.read_text() for path in project.results.glob("*/log.txt")]
    assert len(logs) == JOBS
    assert set(re.findall(r"CUDA_VISIBLE_DEVICES='(.*)'", "".join(logs))) == seen


def test_mixed_precision_without_a_gpu_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with new_project(tmp_path / "project", students={"precision": "fp16"}) as project:
        done = project.table(CUDA_VISIBLE_DEVICES="")
        assert done.returncode == 2
        assert done.stderr.startswith("error: scale 'tiny': no GPU for 4 trainings in fp16\n")
        assert not list(project.results.glob("*"))
