"""One training in several processes of this machine: the bytes, the faults of a rank, and that nothing is left."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import ROOT, environment
from filled_results import job_like
from tiny_project import TinyProject, ended, new_project, processes_of, wait_for

from replicate.backends import local, schedule, team
from replicate.backends.backend import JobStates, Listener
from replicate.backends.local import LocalRun
from replicate.backends.team import Team, _Rank
from replicate.plan.cells import plan_tables
from replicate.plan.graph import Graph
from replicate.specs.load import load
from replicate.store import lease
from replicate.store.provenance import provenance
from replicate.store.store import Place, Store

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

TI, S = "deit-ti-224/none", "deit-s-224/none"


def trainings(project: TinyProject, *runs: str) -> tuple[Graph, list[str]]:
    """The graph of the trainings of ``runs``, which read nothing but images, and their keys."""
    graph = plan_tables(load(project.folder / "tables", "tiny"), ["tiny"], (0,)).graph
    keys = [job.key for job in graph if job.kind == "train" and job.run in runs]
    return graph.needed_for(keys), keys


def digest(folder: Path) -> str:
    return sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def result(project: TinyProject, key: str) -> Any:
    return json.loads((project.results / key / "result.json").read_text())


BY_SLURM = """
import os, sys
from multiprocessing import get_context
from pathlib import Path
from replicate.backends import worker
from replicate.backends.slurm.node import run_rank
from replicate.engine import train
from replicate.jobs.job import from_json
from replicate.store.files import read_json

def rank(root, job, number, count, port):
    # What srun gives the processes of one node.
    os.environ |= {"SLURM_JOB_ID": str(port - 20000), "SLURM_NTASKS": str(count), "SLURM_PROCID": str(number)}
    os.environ |= {"SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_LOCALID": str(number)}
    os.environ |= {"SLURM_NTASKS_PER_NODE": str(count)}
    os.environ |= {"SLURM_JOB_NODELIST": "here", "CUDA_VISIBLE_DEVICES": "", "SUBMITIT_EXECUTOR": "slurm"}
    if number:
        run_rank(root, job)
    else:
        from replicate.backends.slurm.node import export_torch_env
        export_torch_env()
        worker.main(root, job, {})

for count in (2, 4):
    root, key = sys.argv[count // 2], sys.argv[3]
    job = from_json(read_json(Path(root) / key / "job.json"))
    context = get_context("fork")
    processes = [context.Process(target=rank, args=(root, job, at, count, 24000 + count)) for at in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert not any(process.exitcode for process in processes)
"""


class Told(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def said(self, message: str) -> None:
        self.lines.append(message)


def computed(results: Path, graph: Graph, told: Told, places: int = 2, **settings: Any) -> None:
    run = LocalRun(graph, Store(results), provenance(ROOT), places, told, **settings)
    assert run.run().failed == {}


def test_ranks_make_the_bytes_that_the_processes_of_a_slurm_job_make(project: TinyProject) -> None:
    graph, (key,) = trainings(project, TI)
    roots = {ranks: project.folder / f"slurm-{ranks}" for ranks in (2, 4)}
    made = {}
    for ranks, root in roots.items():
        computed(project.results, graph, Told(), devices=("",), ranks=ranks)
        assert result(project, key)["provenance"]["processes"] == ranks
        made[ranks] = digest(project.results / key), result(project, key)["summary"]
        shutil.copytree(project.results, root)
        shutil.rmtree(project.results / key)
        for path in (root / key).iterdir():
            if path.name != "job.json":
                path.unlink()
    command = [sys.executable, "-c", BY_SLURM, *map(str, roots.values()), key]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, timeout=200)
    for ranks, root in roots.items():
        summary = json.loads((root / key / "result.json").read_text())["summary"]
        assert (digest(root / key), summary) == made[ranks]
    # One and another number of ranks: the same images, floats added in another order.
    computed(project.results, graph, Told(), devices=("",))
    alone = result(project, key)["summary"]
    for _, summary in made.values():
        assert summary["images"] == alone["images"]
        assert summary["loss"] == pytest.approx(alone["loss"], rel=1e-3)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[TinyProject]:
    with new_project(tmp_path / "slow", epochs=400) as made:
        yield made


def in_training(project: TinyProject, key: str, not_these: tuple[int, ...] = ()) -> tuple[int, int] | None:
    """The processes of both ranks, where there is a checkpoint and the first one is none of ``not_these``."""
    folder = project.results / key
    if not list(folder.glob("checkpoint-*.safetensors")) or not (folder / "claim" / "owner.json").exists():
        return None
    try:
        first = int(json.loads((folder / "claim" / "owner.json").read_text())["pid"])
        # The fork server is the parent of both.
        server = parent(first)
        others = [pid for pid in processes_of(project) if pid != first and parent(pid) == server]
    except (OSError, ValueError):
        return None
    return (first, others[0]) if first not in not_these and len(others) == 1 else None


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def reached(project: TinyProject, key: str) -> int:
    return max(int(path.stem.rpartition("-")[2]) for path in (project.results / key).glob("checkpoint-*.safetensors"))


def test_a_rank_that_is_killed_or_hangs_is_named_and_the_training_goes_on(slow: TinyProject) -> None:
    (key,) = trainings(slow, TI)[1]
    caller = slow.start("run", key, "--ranks", "2", REPLICATE_RANK_SECONDS="8")
    first, other = wait_for(lambda: in_training(slow, key), caller)
    os.kill(other, signal.SIGKILL)
    at = reached(slow, key)
    again, other = wait_for(lambda: in_training(slow, key, (first,)), caller)
    assert reached(slow, key) >= at
    shown = ended(slow.start("status", "--id", "tiny")).stdout
    assert f"{key}  running in 2 ranks, " in re.sub(" +", " ", shown).replace(f"{key} running", f"{key}  running")
    # It neither ends nor computes.
    os.kill(other, signal.SIGSTOP)
    wait_for(lambda: in_training(slow, key, (first, again)), caller)
    os.killpg(caller.pid, signal.SIGINT)
    stopped = ended(caller)
    assert stopped.returncode == 130
    lines = stopped.stdout.splitlines()
    assert f"{key} was lost (rank 1 of 2 was killed by signal 9); it goes on from its last checkpoint" in lines
    silent = "rank 1 of 2 gave no sign of life for 8 s (REPLICATE_RANK_SECONDS) and was ended"
    assert f"{key} was lost ({silent}); it goes on from its last checkpoint" in lines
    assert stopped.stderr.lstrip() == "stopped; what is finished is kept, and the same command goes on from there\n"
    wait_for(lambda: not processes_of(slow))
    assert slow.claims() == []
    at = reached(slow, key)
    # The next call goes on from there. Killed itself, it leaves nothing that runs, and a checkpoint.
    caller = slow.start("run", key, "--ranks", "2")
    wait_for(lambda: in_training(slow, key) and reached(slow, key) > at, caller)
    caller.kill()
    caller.wait()
    wait_for(lambda: not processes_of(slow))
    assert slow.claims() == []
    assert reached(slow, key) > at
    lines = (slow.results / key / "log.txt").read_text().splitlines()
    assert len([line for line in lines if line.startswith("--- ") and line.endswith(", rank 0 of 2")]) == 4


def test_a_training_alone_spreads_over_two_gpus_and_two_take_one_each_until_one_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPUs are names alone here: torch finds none by them, and the ranks meet through gloo."""
    monkeypatch.setattr(local, "_SETTLED", 0.3)
    monkeypatch.setattr(schedule, "WORTH", 0.0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    changes: dict[str, dict[str, Any]] = {TI: {"change": {"mix_batch": 8}}}
    changes[S] = {"change": {"mix_batch": 8, "epochs": 60}}
    with new_project(tmp_path / "gpus", changes) as project:
        graph, (ti, s) = trainings(project, TI, S)
        told = Told()
        computed(project.results, graph.needed_for([ti]), told, devices=("5", "6"))
        assert result(project, ti)["provenance"]["processes"] == 2
        log = (project.results / ti / "log.txt").read_text()
        assert re.findall(r"CUDA_VISIBLE_DEVICES='(\d)', rank 0 of 2", log) == ["5"]
        (project.results / ti).rename(project.folder / "spread")
        computed(project.results, graph, told, devices=("5", "6"))
        assert "processes" not in result(project, ti)["provenance"]
        # The other one was alone in the end, and went on over both.
        told.lines = [line for line in told.lines if " suspicious: " not in line]
        assert told.lines == [f"{s}: GPUs are idle; it writes a checkpoint and goes on over more of them"]
        assert result(project, s)["provenance"]["processes"] == 2
        assert (project.results / s / "log.txt").read_text().count("--- ") == 2


class Ended:
    """A process as `Team` sees it."""

    sentinel = 0

    def __init__(self, code: int | None) -> None:
        self.exitcode = code

    def is_alive(self) -> bool:
        return self.exitcode is None

    def kill(self) -> None:
        self.exitcode = -9 if self.exitcode is None else self.exitcode

    def join(self) -> None:
        return


class Said:
    def __init__(self, *messages: Any) -> None:
        self.messages = [*messages]

    def poll(self) -> bool:
        return bool(self.messages)

    def recv(self) -> Any:
        return self.messages.pop(0)

    def close(self) -> None:
        return


def team_of(codes: tuple[int | None, ...], failures: Mapping[int, tuple[str, str, bool]], devices: str) -> Team:
    ranks = [
        _Rank(Ended(code), Said(*([failures[at]] if at in failures else [])))  # type: ignore[arg-type]
        for at, code in enumerate(codes)
    ]
    return Team(job_like("train-x-0123456789ab", "train"), tuple(devices), time.monotonic(), ranks)


GONE = ("rank lost", "train: another process of this training is gone or does not answer", True)
READ = ("unreadable", "a.jpg: Input/output error", True)


@pytest.mark.parametrize(
    ("codes", "failures", "noted", "lost", "failure"),
    [
        ((None, -9), {}, "", "rank 1 of 2 on GPU 1 was killed by signal 9", None),
        ((1, -9), {}, "rank lost", "rank 1 of 2 on GPU 1 was killed by signal 9", None),
        ((-9, 1), {1: GONE}, "", "rank 0 of 2 on GPU 0 was killed by signal 9", None),
        ((-9, None), {}, "", "rank 0 of 2 on GPU 0 was killed by signal 9", None),
        # Why a rank failed by itself, the first one does not know.
        ((1, 1), {1: READ}, "rank lost", "", ("unreadable", "rank 1 of 2 on GPU 1: a.jpg: Input/output error", True)),
        ((None, 1), {1: READ}, "", "", ("unreadable", "rank 1 of 2 on GPU 1: a.jpg: Input/output error", True)),
        # What all find out, the first one says.
        ((1, 1), {1: ("diverged", "x", False)}, "diverged", "", None),
        # Those that wait give up after ten minutes; the one that is left is the one that hangs.
        ((1, None), {}, "rank lost", "rank 1 of 2 on GPU 1 took no part any more", None),
        ((-6, None), {}, "", "rank 1 of 2 on GPU 1 took no part any more", None),
        ((None, -6), {}, "", "rank 0 of 2 on GPU 0 took no part any more", None),
        ((-6, -6), {}, "", "rank 0 of 2 on GPU 0 was killed by signal 6", None),
        ((None, 1), {}, "", "rank 1 of 2 on GPU 1 ended before the others", None),
        # Done, held by another caller, stopped.
        ((0, 0), {}, "", "", None),
        ((0, None), {}, "", "", None),
        ((75, None), {}, "", "", None),
        ((77, 77), {}, "", "", None),
    ],
)
def test_which_rank_is_named(
    codes: tuple[int | None, ...],
    failures: Mapping[int, tuple[str, str, bool]],
    noted: str,
    lost: str,
    failure: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(team, "GRACE", 0.0)
    (tmp_path / "failure.json").write_text(json.dumps({"kind": noted} if noted else {}))
    found = team_of(codes, failures, "01")
    for _ in range(3):
        found.look()
    assert not found.alive
    found.join()
    assert found.failure(tmp_path) == failure
    if failure is None:
        assert found.lost(tmp_path).startswith(lost)
        assert bool(found.lost(tmp_path)) == bool(lost)


def test_the_first_rank_may_write_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "GRACE", 0.0)
    for code in (0, 77):
        found = team_of((None, code), {}, "01")
        for _ in range(3):
            found.look()
        assert found.alive


def test_silence_is_counted_while_the_watcher_itself_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-Z and an hour all ranks go on, and so does who watches them."""
    monkeypatch.setenv("REPLICATE_RANK_SECONDS", "4")
    now = [0.0]
    monkeypatch.setattr(team, "time", SimpleNamespace(monotonic=lambda: now[0]))
    found = team_of((None, None), {}, "01")
    found._looked, now[0] = 0.0, 3600.0
    found.look()
    assert found.alive
    for _ in range(5):
        now[0] += 1.0
        found.look()
    assert found.trouble == "rank 0 of 2 on GPU 0 gave no sign of life for 4 s (REPLICATE_RANK_SECONDS) and was ended"


def test_a_rank_without_memory_computes_fewer_images_at_a_time(tmp_path: Path) -> None:
    with new_project(tmp_path / "memory") as project:
        graph, (key,) = trainings(project, TI)
        store, told = Store(project.results), Told()
        run = LocalRun(graph, store, {}, 2, told, devices=("0", "1"))
        folder = store.prepare(graph.jobs[key])
        for images in (4, 2, 1):
            message = ("OOM-GPU", "CUDA out of memory", False)
            found = team_of((None, 1), {1: message}, "01")
            found.job = graph.jobs[key]
            found.look()
            found.kill()
            run._settle(found)
            assert (run._waiting.pop(key).key, run._micro[key]) == (key, images)
            assert told.lines[-1] == f"{key}: out of GPU memory; it goes on with {images} images at a time in each rank"
            assert not (folder / "failure.json").exists()
        found = team_of((1, 1), {1: message}, "01")
        found.job = graph.jobs[key]
        found.look()
        run._settle(found)
        assert list(run._outcome.failed) == [key]
        assert "rank 1 of 2 on GPU 1: CUDA out of memory" in run._outcome.failed[key]


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        ({"devices": ["0"], "ranks": 1}, "on GPU 0"),
        ({"devices": ["0", "1"], "ranks": 2}, "on GPUs 0, 1"),
        ({"devices": [], "ranks": 2}, "in 2 ranks"),
        ({}, ""),
        ({"devices": "0", "ranks": "2"}, ""),
        ({"devices": [None, 3], "ranks": -1}, ""),
    ],
)
def test_where_a_running_job_says_it_is(progress: dict[str, object], words: str) -> None:
    assert str(Place.of(progress)) == words


def test_status_and_explain_say_which_gpus_a_running_job_has(project: TinyProject) -> None:
    graph, (key,) = trainings(project, TI)
    store = Store(project.results)
    folder = store.prepare(graph.jobs[key])
    progress = {"epoch": 1, "epochs": 2, "step": 2, "steps": 4, "devices": ["2", "3"], "ranks": 2}
    (folder / "progress.json").write_text(json.dumps(progress))
    assert lease.acquire(folder)
    assert JobStates(graph, store).line(key) == "running on GPUs 2, 3, 25%, epoch 1/2"
    places = ("tiny", "none", "ti_224")
    assert f"{key}  [running on GPUs 2, 3]\n" in ended(project.start("explain", *places)).stdout
    (entry,) = [job for job in project.json_of("explain", *places)["jobs"] if job["key"] == key]
    assert (entry["devices"], entry["ranks"]) == (["2", "3"], 2)
    (entry,) = [job for job in project.json_of("status", "--id", "tiny")["jobs"] if job["key"] == key]
    assert (entry["devices"], entry["ranks"]) == (["2", "3"], 2)


CUDA = """
import sys
from importlib import import_module
import torch

def refused(*_):
    raise AssertionError("asked for a GPU")

for name in ("_cuda_init", "_cuda_getDeviceCount", "_cuda_getDevice"):
    setattr(torch._C, name, refused)
torch.cuda._lazy_init = torch.cuda.is_available = torch.cuda.device_count = refused
from replicate.jobs.job import kinds
for module in ["replicate.engine.run", *(f"replicate.engine.{kind}" for kind in kinds())]:
    import_module(module)
"""


def test_what_the_fork_server_imports_asks_for_no_gpu() -> None:
    """A process that has initialised CUDA cannot be forked."""
    subprocess.run([sys.executable, "-c", CUDA], cwd=ROOT, env=environment(), check=True, timeout=120)
