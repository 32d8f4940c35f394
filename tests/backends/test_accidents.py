"""Ctrl-C, kill -9, a second caller, a training that diverges, a disk that fills up: nothing is lost or done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tiny_project import JOBS, TinyProject, ended, new_project, processes_of, wait_for

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

EPOCHS = 15
"""Enough that a training can be interrupted in the middle."""


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[TinyProject]:
    with new_project(tmp_path / "slow", epochs=EPOCHS) as made:
        yield made


def training(project: TinyProject) -> Path | None:
    """The folder of a student in the middle of its training, with a checkpoint."""
    for path in project.results.glob("train-deit-*/checkpoint-*.safetensors"):
        if (path.parent / "claim").exists():
            return path.parent
    return None


def loads_torch(project: TinyProject) -> bool:
    """Is a process of ``project`` in the middle of importing torch?"""
    for pid in processes_of(project):
        with suppress(OSError):
            if "libtorch" in Path(f"/proc/{pid}/maps").read_text():
                return True
    return False


def worker_of(folder: Path) -> int:
    return int(json.loads((folder / "claim" / "owner.json").read_text())["pid"])


def test_two_callers_on_one_folder(project: TinyProject, undisturbed: Any) -> None:
    callers = [project.start("table", "--id", "tiny", "--workers", "2") for _ in range(2)]
    done = [ended(caller) for caller in callers]
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert (project.decisions(), project.weights()) == undisturbed
    assert project.claims() == []
    # Every attempt at a job opens its log with a line.
    attempts = {log.parent.name: log.read_text().count("--- ") for log in project.results.glob("*/log.txt")}
    assert attempts == dict.fromkeys(attempts, 1)
    assert len(attempts) == JOBS


def test_ctrl_c_while_a_result_is_redone(slow: TinyProject) -> None:
    assert slow.table().returncode == 0
    key = slow.key("train-deit-ti-224-none-s0")
    before = (slow.results / key / "result.json").read_bytes()
    caller = slow.start("run", key, "--again", "--workers", "1")
    wait_for(lambda: list(slow.results.glob(f".again/tiny/{key}/checkpoint-*.safetensors")), caller)
    os.killpg(caller.pid, signal.SIGINT)
    assert ended(caller).returncode == 130
    assert (slow.results / key / "result.json").read_bytes() == before
    done = ended(slow.start("run", key, "--again", "--workers", "1"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"\n{key}: identical, byte for byte\n")
    (aside,) = slow.results.glob(".aside/*/*/result.json")
    assert aside.read_bytes() == before
    assert not list(slow.results.glob(f".again/tiny/{key}"))


def test_ctrl_c_stops_all_and_the_next_call_goes_on(slow: TinyProject) -> None:
    caller = slow.start("table", "--id", "tiny", "--workers", "2")
    folder = wait_for(lambda: training(slow), caller)
    os.killpg(caller.pid, signal.SIGINT)
    stopped = ended(caller)
    assert stopped.returncode == 130
    assert stopped.stderr.lstrip() == "stopped; what is finished is kept, and the same command goes on from there\n"
    wait_for(lambda: not processes_of(slow))
    assert slow.claims() == []
    (checkpoint, *_) = sorted(folder.glob("checkpoint-*"), reverse=True)
    assert int(checkpoint.stem.rpartition("-")[2]) > 0
    seen = slow.json_of("status", "--id", "tiny")
    assert {job["state"] for job in seen["jobs"]} <= {"done", "absent"}
    done = slow.table()
    assert done.returncode == 0, done.stderr
    assert not list(slow.results.glob("*/checkpoint-*"))


def interrupted(project: TinyProject, seconds: float = 0.0) -> tuple[subprocess.Popen[str], Path]:
    """Ctrl-C in the middle of a training whose step takes long: its process stands still. Its checkpoint is to come."""
    caller = project.start("table", "--id", "tiny", "--workers", "1", REPLICATE_CHECKPOINT_SECONDS="3600")

    def begun() -> Path | None:
        for path in project.results.glob("train-deit-*/progress.json"):
            if (path.parent / "claim").exists():
                return path.parent
        return None

    folder = wait_for(begun, caller)
    os.kill(worker_of(folder), signal.SIGSTOP)
    os.killpg(caller.pid, signal.SIGINT)
    time.sleep(seconds)
    assert caller.poll() is None
    assert not list(folder.glob("checkpoint-*"))
    return caller, folder


def test_ctrl_c_waits_for_a_checkpoint_and_says_so_once(slow: TinyProject) -> None:
    # Longer than it had before it was killed.
    caller, folder = interrupted(slow, 11)
    os.kill(worker_of(folder), signal.SIGCONT)
    stopped = ended(caller)
    assert stopped.returncode == 130
    assert stopped.stdout.count("waiting for 1 job to write a checkpoint; Ctrl-C again to kill it\n") == 1
    assert len(list(folder.glob("checkpoint-*"))) == 1
    assert slow.claims() == []
    wait_for(lambda: not processes_of(slow))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_kills(slow: TinyProject, number: signal.Signals) -> None:
    caller, folder = interrupted(slow, 1.5)
    caller.send_signal(number)
    stopped = ended(caller)
    assert stopped.returncode == 130
    assert "waiting for" not in stopped.stdout
    assert stopped.stderr.lstrip() == "stopped; what is finished is kept, and the same command goes on from there\n"
    assert not list(folder.glob("checkpoint-*"))
    wait_for(lambda: not processes_of(slow))


def test_a_signal_that_comes_twice_at_once_is_one(slow: TinyProject) -> None:
    """As `timeout` sends it."""
    caller, folder = interrupted(slow)
    caller.terminate()
    time.sleep(1)
    os.kill(worker_of(folder), signal.SIGCONT)
    assert ended(caller).returncode == 130
    assert len(list(folder.glob("checkpoint-*"))) == 1


def test_ctrl_c_while_torch_is_loaded_prints_no_traceback(project: TinyProject) -> None:
    caller = project.start("table", "--id", "tiny", PYTHONUNBUFFERED="1")
    assert caller.stdout is not None
    assert caller.stdout.readline() == "10 jobs to run; loading torch (once)\n"
    wait_for(lambda: loads_torch(project), caller)
    os.killpg(caller.pid, signal.SIGINT)
    stopped = ended(caller)
    assert stopped.returncode == 130
    assert stopped.stderr.lstrip() == "stopped; what is finished is kept, and the same command goes on from there\n"
    wait_for(lambda: not processes_of(project))


def test_sigterm_does_as_ctrl_c(slow: TinyProject) -> None:
    caller = slow.start("table", "--id", "tiny")
    wait_for(lambda: training(slow), caller)
    caller.terminate()
    assert ended(caller).returncode == 130
    wait_for(lambda: not processes_of(slow))
    assert slow.claims() == []


def test_a_killed_caller_leaves_no_worker_and_no_claim(slow: TinyProject) -> None:
    """Killed and interrupted trainings go on from their checkpoints to the bytes of an undisturbed one."""
    caller = slow.start("table", "--id", "tiny", "--workers", "2")
    folder = wait_for(lambda: training(slow), caller)
    caller.kill()
    caller.wait()
    wait_for(lambda: not processes_of(slow))
    assert slow.claims() == []
    # It stopped with a checkpoint; it did not go on to its end.
    assert list(folder.glob("checkpoint-*"))
    assert not (folder / "result.json").exists()
    caller = slow.start("table", "--id", "tiny", "--workers", "1")
    folder = wait_for(lambda: training(slow), caller)
    os.kill(worker_of(folder), signal.SIGKILL)
    done = ended(caller)
    assert done.returncode == 0, done.stderr
    lost = f"{folder.name} was lost (its process was killed by signal 9); it goes on from its last checkpoint"
    assert lost in done.stdout
    first = slow.decisions(), slow.weights()
    for path in slow.results.iterdir():
        path.rename(slow.folder / f"old-{path.name}")
    assert slow.table().returncode == 0
    assert (slow.decisions(), slow.weights()) == first


def test_a_training_that_diverges(tmp_path: Path) -> None:
    change = {"deit-s-224/none": {"change": {"lr": 1e30, "warmup_lr": 1e30}}}
    with new_project(tmp_path / "wild", change) as project:
        _diverge(project)


def _diverge(project: TinyProject) -> None:
    done = project.table()
    assert done.returncode == 1
    key = project.key("train-deit-s-224-none")
    failed = [line for line in done.stderr.splitlines() if line.startswith(f"failed: {key}: diverged: train: ")]
    assert len(failed) == 1
    assert " in epoch " in failed[0]
    assert ", step " in failed[0]
    assert "  last good checkpoint: " in done.stderr
    assert f"  log: {project.results}/{key}/log.txt" in done.stderr
    assert "Traceback" not in done.stderr
    states = {(cell["row"], cell["column"]): cell["state"] for cell in project.json()["cells"]}
    assert states == {
        ("none", "ti_224"): "done",
        ("none", "s_224"): "failed",
        ("token", "ti_224"): "done",
        ("token", "s_224"): "done",
    }
    before = (project.results / key / "log.txt").read_text()
    again = project.table()
    assert again.returncode == 1
    assert (project.results / key / "log.txt").read_text() == before
    assert f"failed: {key}: diverged: " in again.stderr
    assert project.table("--no-run").returncode == 1
    retried = project.table("--retry")
    assert retried.returncode == 1
    assert len((project.results / key / "log.txt").read_text()) > len(before)


def test_a_result_edited_between_two_calls(project: TinyProject, undisturbed: Any) -> None:
    assert project.table().returncode == 0
    damaged = {
        "predict-deit-ti-224-none": "decisions.npz",
        "train-regnety": "model.safetensors",
        "predict-deit-s-224-token": "result.json",
    }
    for prefix, name in damaged.items():
        path = project.results / project.key(prefix) / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    looked = project.table("--no-run")
    assert looked.returncode == 3
    done = project.table()
    assert done.returncode == 0, done.stderr
    for prefix, name in damaged.items():
        said = f"{project.key(prefix)}/{name}: cut short or edited (its checksum does not fit)"
        assert f"damaged: {said}\n" in looked.stderr
        assert f"{said}; computing it again\n" in done.stdout
    assert "[3/3] " in done.stdout
    assert (project.decisions(), project.weights()) == undisturbed
    assert len(list((project.results / ".aside").iterdir())) == 3


@pytest.mark.parametrize(("prefix", "name"), [("train-regnety", "result.json"), ("predict-deit-ti", "decisions.npz")])
def test_a_result_that_cannot_be_read_between_two_calls(project: TinyProject, prefix: str, name: str) -> None:
    """A folder in its place stands for whatever a file system may answer."""
    assert project.table().returncode == 0
    path = next(project.results.glob(f"{prefix}*/{name}"))
    before = {log: log.read_text() for log in project.results.glob("*/log.txt")}
    kept = path.rename(project.folder / "kept")
    path.mkdir()
    for arguments in ((), ("--no-run",)):
        done = project.table(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"error: {path}: cannot be read: Is a directory\n")
        assert "Traceback" not in done.stderr
    path.rmdir()
    kept.rename(path)
    assert project.table().returncode == 0
    assert not (project.results / ".aside").exists()
    assert {log: log.read_text() for log in project.results.glob("*/log.txt")} == before


def test_json_stays_pure_while_jobs_run(project: TinyProject) -> None:
    done = project.table("--json")
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout) == project.json()


@pytest.mark.parametrize("megabytes", [1, 4])
def test_a_disk_that_fills_up(slow: TinyProject, disk: Callable[..., Path], megabytes: int) -> None:
    """With 1 MB it fills up in the first job, the images; with 4 MB among checkpoints and weights."""
    place = disk(f"size={megabytes}m")
    slow.results.symlink_to(place)
    done = slow.table()
    assert done.returncode == 1
    assert f"disk full: {slow.results} has no room; make some and call again, nothing is lost" in done.stderr
    assert "Traceback" not in done.stderr
    assert slow.claims() == []
    kept = {path.parent.name: path.read_bytes() for path in place.glob("*/result.json")}
    assert (len(kept) > 0) == (megabytes > 1)
    subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
    again = slow.table()
    assert again.returncode == 0, again.stderr
    assert f"{10 - len(kept)} jobs to run" in again.stdout
    for key, body in kept.items():
        assert (place / key / "result.json").read_bytes() == body
