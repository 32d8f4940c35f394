"""Which GPU a job gets, and what is refused where there is none; nvidia-smi is a script that prints what it would."""

from __future__ import annotations

import multiprocessing
import os
import re
from pathlib import Path
from typing import Any

import click
import pytest
from command_line import ROOT
from filled_results import job_like
from tiny_project import JOBS, new_project

from replicate.actions.paper import open_paper
from replicate.backends import devices, local, worker
from replicate.backends.devices import at_once, for_jobs, has_gpu
from replicate.backends.doctor import here, probe
from replicate.backends.local import Local, LocalRun
from replicate.cli.progress import Estimate, Lines
from replicate.cli.workspace import Gpus
from replicate.errors import UserError
from replicate.jobs.train import Train
from replicate.plan.cells import plan_tables
from replicate.plan.graph import Graph
from replicate.specs.load import load
from replicate.specs.scale import Scale
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
@pytest.mark.parametrize(
    ("gpus", "hidden", "scale", "message"),
    [
        (("9",), None, PAPER, "GPU 9 is not on this machine: --gpus 9\n  its GPUs: 0, 1, 2, 3"),
        (("0", "8", "9"), None, PAPER, "GPU 8, 9 are not on this machine: --gpus 0,8,9\n  its GPUs: 0, 1, 2, 3"),
        (
            ("0",),
            "2,3",
            PAPER,
            "GPU 0 is hidden by CUDA_VISIBLE_DEVICES=2, 3: --gpus 0\n  name some of that list, or unset it",
        ),
        (("7",), "2,3", PAPER, "GPU 7 is not on this machine: --gpus 7\n  its GPUs: 2, 3"),
        (
            ("0",),
            "-1",
            PAPER,
            "no GPU on this machine: --gpus 0\n"
            "  CUDA_VISIBLE_DEVICES hides all; without --gpus, jobs compute on the CPU",
        ),
        (
            ("0",),
            None,
            MINI,
            "scale 'mini' computes on the CPU: --gpus 0\n  leave --gpus out, or use another scale",
        ),
    ],
)
def test_gpus_that_are_asked_for_and_not_there(
    gpus: tuple[str, ...],
    hidden: str | None,
    scale: Scale,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert refusal(Local(scale, gpus=gpus), tmp_path) == message


def refusal(backend: Local, folder: Path) -> str:
    """Why a run of one measurement ends before anything starts."""
    job = job_like("measure-x", "measure")
    with pytest.raises(UserError) as error:
        backend.run(Graph({job.key: job}), Store(folder), ["x"])
    assert not list(folder.glob("measure-*"))
    return str(error.value)


def test_gpus_of_a_machine_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    told = refusal(Local(PAPER, gpus=("0",)), tmp_path)
    assert told == (
        "no GPU on this machine: --gpus 0\n  the driver lists none; without --gpus, jobs compute on the CPU"
    )


@pytest.mark.usefixtures("four_gpus")
def test_ranks_that_trainings_cannot_have(tmp_path: Path) -> None:
    """All of them at once, before anything starts."""
    pytest.importorskip("torch")
    graph = plan_tables(load(ROOT / "tables", "mini"), ["distillation_ablation"], (0,)).graph
    batches = {job.recipe.batch for job in graph if isinstance(job, Train)}
    trainings = sum(isinstance(job, Train) for job in graph)
    for ranks in (3, 256):
        assert all(batch % ranks for batch in batches)
        with pytest.raises(UserError) as error:
            Local(MINI, ranks=ranks).run(graph, Store(tmp_path), ["x"])
        lines = str(error.value).splitlines()
        assert lines[0] == f"{trainings} trainings cannot be shared by {ranks} ranks (--ranks)"
        assert any(f"recipe.batch does not split over {ranks} processes: got " in line for line in lines)
    with pytest.raises(UserError, match="trainings cannot be shared by 2 ranks") as error:
        Local(MINI, ranks=2).run(graph, Store(tmp_path), ["x"])
    assert "BatchNorm takes its statistics from so many images" in str(error.value)
    assert not list(tmp_path.glob("train-*"))


@pytest.mark.usefixtures("four_gpus")
def test_more_ranks_than_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "find_spec", lambda name: name)
    told = refusal(Local(PAPER, gpus=("1", "2"), ranks=4), tmp_path)
    assert told == "ranks are more than the GPUs: --ranks 4, GPUs 1, 2\n  each rank needs its own"


@pytest.mark.usefixtures("four_gpus")
def test_gpus_that_are_asked_for() -> None:
    assert for_jobs(PAPER, ("1", "3")) == ("1", "3")
    assert at_once(PAPER, None, ("1", "3")) == 2
    assert has_gpu(PAPER, ("1",))


@pytest.mark.parametrize(
    ("text", "names"), [("0,1", ("0", "1")), (" 2 , 0", ("2", "0")), ("GPU-5ad2-b", ("GPU-5ad2-b",))]
)
def test_lists_of_gpus(text: str, names: tuple[str, ...]) -> None:
    assert Gpus().convert(text, None, None) == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b", "GPUs, got 'a,b'; expected their numbers with commas between, such as 0,1"),
        ("", "GPUs, got ''; expected"),
        ("0,", "GPUs, got '0,'; expected"),
        ("-1", "GPUs, got '-1'; expected"),
        ("0;1", "GPUs, got '0;1'; expected"),
        ("0,1,0", "GPUs, got '0,1,0'; each must stand once"),
    ],
)
def test_what_is_no_list_of_gpus(text: str, words: str) -> None:
    with pytest.raises(click.BadParameter) as error:
        Gpus().convert(text, None, None)
    assert str(error.value).startswith(words)


@pytest.mark.parametrize(("option", "asked"), [("--gpus", {"gpus": (0, 1)}), ("--ranks", {"ranks": 2})])
def test_a_cluster_has_its_own_words_for_it(option: str, asked: dict[str, Any], tmp_path: Path) -> None:
    profile = tmp_path / "lab.toml"
    lines = ["name = 'lab'", "python = '/usr/bin/python3'", "shared_is_local = true"]
    profile.write_text("\n".join([*lines, "[paths]", f"shared = '{tmp_path}'", "[sbatch]", "time = 60"]))
    with pytest.raises(UserError) as error:
        open_paper(ROOT / "tables", cluster=str(profile), **asked)
    assert str(error.value).startswith(f"{option} is for this machine, and the cluster 'lab' was chosen\n")
    assert open_paper(ROOT / "tables", cluster="local", **asked).profile is None


def test_the_doctor_of_this_machine_names_its_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '0, GPU-a, NVIDIA A100, 81920 MiB\\n1, GPU-b, NVIDIA T4, 15360 MiB\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    graph = plan_tables(load(ROOT / "tables", "paper"), ["distillation_ablation"], (0,)).graph
    told = [(finding.level, finding.subject, finding.text) for finding in here.examine(PAPER, list(graph), (), False)]
    assert told == [
        ("ok", "GPU", "GPU 0, NVIDIA A100, 81920 MiB"),
        ("ok", "GPU", "GPU 1, NVIDIA T4, 15360 MiB"),
        ("ok", "GPUs of jobs", "GPUs 0, 1: one a job, and several a training where some would idle"),
        ("ok", "sharing", "18 trainings can spread over 2 GPUs of 2"),
    ]
    assert for_jobs(PAPER, ("GPU-b",)) == ("GPU-b",)
    broken = probe.Torch("2.11", "12.8", gpu_error="the driver is too old")
    monkeypatch.setattr(here.probe, "torch_here", lambda gpu: broken if gpu else probe.Torch("2.11"))
    (torch,) = [finding for finding in here.examine(PAPER, list(graph)) if finding.subject == "torch"]
    assert str(torch).startswith("fail")
    assert "torch 2.11 (CUDA 12.8) computes on no GPU: the driver is too old" in str(torch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    (missing,) = [finding for finding in here.examine(PAPER, list(graph), (), False) if finding.level == "fail"]
    assert missing.text == "none, and 18 trainings of scale 'paper' cannot run on a CPU"
    assert {finding.level for finding in here.examine(MINI, list(graph)[:1])} == {"ok"}


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


class Started:
    """A context whose processes never run; what each was told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def Pipe(self, duplex: bool) -> tuple[Any, Any]:
        return multiprocessing.Pipe(duplex)

    def Process(self, args: tuple[Any, ...], **_: Any) -> Started:
        self.told.append({"threads": args[2].threads})
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
            run._start(jobs[name], context, (None,))
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
