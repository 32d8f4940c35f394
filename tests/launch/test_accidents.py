"""Ctrl-C, kill -9, a second caller, a training that diverges, a disk that fills up: nothing is lost or done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from world import World, ended, processes_of, wait_for

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

EPOCHS = 60
"""Enough that a training can be interrupted in the middle: about 2 s."""


@pytest.fixture
def slow(world: World) -> World:
    world.change("epochs        = 2\nwarmup_epochs = 1", f"epochs        = {EPOCHS}\nwarmup_epochs = 1")
    return world


def training(world: World) -> Path | None:
    """The folder of a student in the middle of its training, with a checkpoint."""
    for path in world.results.glob("train-deit-*/checkpoint-*.safetensors"):
        if (path.parent / "claim").exists():
            return path.parent
    return None


def worker_of(folder: Path) -> int:
    return int(json.loads((folder / "claim" / "owner.json").read_text())["pid"])


def resumed(world: World) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in world.results.glob("train-deit-*/curve.json")]


def test_two_callers_on_one_folder(world: World, undisturbed: Any) -> None:
    callers = [world.start("table", "--id", "tiny", "--workers", "2") for _ in range(2)]
    done = [ended(caller) for caller in callers]
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert (world.decisions(), world.weights()) == undisturbed
    # Each training says once that it starts; results are made once.
    for log in world.results.glob("*/log.txt"):
        assert log.read_text().count("\n") <= 1 or "Traceback" not in log.read_text()
    made = {path: json.loads(path.read_text())["cost"]["wall_seconds"] for path in world.results.glob("*/result.json")}
    assert len(made) == 10
    assert world.claims() == []
    lines = [line for one in done for line in one.stdout.splitlines() if line.startswith("[") and "] " in line]
    computed = [line.split()[1] for line in lines if float(line.split()[2]) > 0]
    assert set(computed) <= {path.parent.name for path in made}


def test_ctrl_c_stops_all_and_the_next_call_goes_on(slow: World) -> None:
    caller = slow.start("table", "--id", "tiny", "--workers", "2")
    folder = wait_for(lambda: training(slow), caller)
    os.killpg(caller.pid, signal.SIGINT)
    stopped = ended(caller)
    assert stopped.returncode == 130
    assert stopped.stderr == "stopped; what is finished is kept, and the same command goes on from there\n"
    wait_for(lambda: not processes_of(slow))
    assert slow.claims() == []
    (checkpoint, *_) = sorted(folder.glob("checkpoint-*"), reverse=True)
    assert int(checkpoint.stem.rpartition("-")[2]) > 0
    seen = slow.json_of("status", "--id", "tiny")
    assert {job["state"] for job in seen["jobs"]} <= {"done", "absent"}
    done = slow.table()
    assert done.returncode == 0, done.stderr
    assert not list(slow.results.glob("*/checkpoint-*"))


def test_ctrl_c_while_torch_is_loaded_prints_no_traceback(world: World) -> None:
    caller = world.start("table", "--id", "tiny", PYTHONUNBUFFERED="1")
    assert caller.stdout is not None
    assert caller.stdout.readline() == "10 jobs to run; loading torch (once)\n"
    wait_for(lambda: len(processes_of(world)) >= 2, caller)
    os.killpg(caller.pid, signal.SIGINT)
    stopped = ended(caller)
    assert stopped.returncode == 130
    assert stopped.stderr == "stopped; what is finished is kept, and the same command goes on from there\n"
    wait_for(lambda: not processes_of(world))


def test_sigterm_does_as_ctrl_c(slow: World) -> None:
    caller = slow.start("table", "--id", "tiny")
    wait_for(lambda: training(slow), caller)
    caller.terminate()
    assert ended(caller).returncode == 130
    wait_for(lambda: not processes_of(slow))
    assert slow.claims() == []


def test_a_killed_caller_leaves_no_worker_and_no_claim(slow: World) -> None:
    """Killed and interrupted trainings go on from their checkpoints to the bytes of an undisturbed one."""
    caller = slow.start("table", "--id", "tiny", "--workers", "2")
    wait_for(lambda: training(slow), caller)
    caller.kill()
    caller.wait()
    wait_for(lambda: not processes_of(slow))
    assert slow.claims() == []
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


def test_a_training_that_diverges(world: World) -> None:
    world.change("[recipes.deit]", "[recipes.deit]\nlr = 1e30\nwarmup_lr = 1e30")
    world.change(
        'recipe = "deit"\n\n[runs."deit-ti-224/soft"]', 'recipe = "calm"\n\n[runs."deit-ti-224/soft"]', "runs.toml"
    )
    calm = (world.folder / "tables" / "runs.toml").read_text()
    calm = calm.replace("[recipes.deit]", "[recipes.calm]", 1).partition("[recipes.calm]")[2].partition("[recipes.")[0]
    with (world.folder / "tables" / "runs.toml").open("a") as file:
        file.write(f"\n[recipes.calm]{calm}")
    world.change(
        "[recipes.regnet]",
        '[recipes.calm]\nbatch = 16\nmix_batch = 16\nepochs = 2\nprecision = "fp32"\n\n[recipes.regnet]',
    )
    done = world.table()
    assert done.returncode == 1
    key = world.key("train-deit-s-224-none")
    failed = [line for line in done.stderr.splitlines() if line.startswith(f"failed: {key}: diverged: train: ")]
    assert len(failed) == 1
    assert " in epoch " in failed[0]
    assert ", step " in failed[0]
    assert "  last good checkpoint: " in done.stderr
    assert f"  log: {world.results}/{key}/log.txt" in done.stderr
    assert "Traceback" not in done.stderr
    states = {(cell["row"], cell["column"]): cell["state"] for cell in world.json()["cells"]}
    assert states == {
        ("none", "ti_224"): "done",
        ("none", "s_224"): "failed",
        ("token", "ti_224"): "failed",
        ("token", "s_224"): "failed",
    }
    before = (world.results / key / "log.txt").read_text()
    again = world.table()
    assert again.returncode == 1
    assert (world.results / key / "log.txt").read_text() == before
    assert f"failed: {key}: diverged: " in again.stderr
    assert world.table("--no-run").returncode == 1
    retried = world.table("--retry")
    assert retried.returncode == 1
    assert len((world.results / key / "log.txt").read_text()) > len(before)


def test_a_result_edited_between_two_calls(world: World, undisturbed: Any) -> None:
    assert world.table().returncode == 0
    damaged = {
        "predict-deit-ti-224-none": "decisions.npz",
        "train-regnety": "model.safetensors",
        "predict-deit-s-224-token": "result.json",
    }
    for prefix, name in damaged.items():
        path = world.results / world.key(prefix) / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    looked = world.table("--no-run")
    assert looked.returncode == 3
    done = world.table()
    assert done.returncode == 0, done.stderr
    for prefix, name in damaged.items():
        said = f"{world.key(prefix)}/{name}: cut short or edited (its checksum does not fit)"
        assert f"damaged: {said}\n" in looked.stderr
        assert f"{said}; computing it again\n" in done.stdout
    assert "[3/3] " in done.stdout
    assert (world.decisions(), world.weights()) == undisturbed
    assert len(list((world.results / ".aside").iterdir())) == 3


def test_json_stays_pure_while_jobs_run(world: World) -> None:
    done = world.table("--json")
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout) == world.json()


@pytest.mark.parametrize("megabytes", [1, 4])
def test_a_disk_that_fills_up(slow: World, disk: Callable[..., Path], megabytes: int) -> None:
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
