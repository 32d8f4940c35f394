"""Everything a cluster does to a job, done for real; then one more call, and the same bytes as without.

Each test disturbs a small table on the testbed. ``reference`` is the table computed on this machine, without Slurm.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import ROOT, environment

from cluster.small_project import EPOCHS, Night, eventually, files_of, go_on, stop_process, told_to_end
from cluster.small_table import TABLE, write_specs
from cluster.testbed import Testbed, lives, wait_for

# Another try for a machine too busy to meet a deadline: what is compared, byte for byte, is never loosened.
pytestmark = [pytest.mark.torch, pytest.mark.slurm, pytest.mark.slurm_fault, pytest.mark.flaky(reruns=2)]
quick = pytest.mark.slurm_quick

STUDENT, PREDICT = "train-deit-ti-224-none", "predict-deit-ti-224-none"


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the small table with one row, by local workers."""
    folder = tmp_path_factory.mktemp("reference")
    write_specs(folder / "tables", epochs=EPOCHS)
    where = ["--tables", folder / "tables", "--results", folder / "results", "--out", folder / "out", "--scale", "tiny"]
    command = [sys.executable, "-m", "replicate", "table", "--id", TABLE, *map(str, where)]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True, timeout=300)
    return folder / "results"


@pytest.fixture
def night(testbed: Testbed, request: pytest.FixtureRequest, reference: Path) -> Iterator[Night]:
    """Its data set is there already: one task less."""
    night = Night(testbed, request.node.name)
    night.seed_with(reference, "data-")
    yield night
    testbed.clear()


def same(night: Night, reference: Path) -> None:
    assert night.files() == files_of(reference)


def silence(night: Night, key: str) -> None:
    """Make the last sign of life an hour older, and so the submission."""
    old = time.time() - 3600
    for path in (night.results / key / "progress.json", night.results / key / "claim" / "owner.json"):
        with suppress(FileNotFoundError):
            os.utime(path, (old, old))
    for path in (night.results / ".slurm").glob("*/map.json"):
        os.utime(path, (old, old))


def once(night: Night, *but: str) -> None:
    """Nothing was computed twice: one attempt at each job but those disturbed."""
    counts = {key: len(night.attempts(key)) for key in night.jobs()}
    assert {key: count for key, count in counts.items() if count > 1 and key not in but} == {}


@quick
def test_requeue(night: Night, reference: Path) -> None:
    key, number = night.train()
    epoch = night.progress(key)["epoch"]
    night.testbed.run("scontrol", "requeue", number)
    night.resumed(key, epoch)
    night.finish()
    same(night, reference)
    once(night, key)


@quick
def test_signal_of_preemption(night: Night, reference: Path) -> None:
    """USR2 writes a checkpoint at once and puts the job back; what waited for it still waits for the same number."""
    night.environ["REPLICATE_CHECKPOINT_SECONDS"] = "1000"
    key, number = night.train()
    epoch = night.progress(key)["epoch"]
    night.testbed.run("scancel", "--signal=USR2", number)
    night.resumed(key, epoch)
    assert night.number(key) == number
    night.finish()
    same(night, reference)
    assert [attempt["exit"] for attempt in night.attempts(key)] == [77, 0]
    once(night, key)


def test_time_limit(night: Night, reference: Path) -> None:
    night.environ["REPLICATE_CHECKPOINT_SECONDS"] = "1000"
    night.change(r"^signal_seconds.*", "signal_seconds = 45")
    key, number = night.train()
    epoch = night.progress(key)["epoch"]
    child = night.child(key)
    # Training would be over before the shortest limit there is, so it is held up; its clock runs on.
    stop_process(child)
    night.testbed.run("scontrol", "update", f"JobId={number}", "TimeLimit=1")
    wait_for(lambda: told_to_end(child), 100, "it gets no signal before its time is over")
    go_on(child)
    night.resumed(key, epoch)
    night.finish()
    same(night, reference)
    # The shortened limit stays, so that it may be met again.
    assert [attempt["exit"] for attempt in night.attempts(key)][:1] == [77]


@quick
def test_preemption_by_a_higher_partition(night: Night, reference: Path) -> None:
    key, _ = night.train()
    epoch = night.progress(key)["epoch"]
    urgent = night.testbed.submit("sleep 3", "--partition=urgent", "--nodes=4", "--exclusive", "--time=1")
    night.resumed(key, epoch)
    night.testbed.wait_until(urgent, ["COMPLETED", ""])
    night.finish()
    same(night, reference)
    once(night, key)


@quick
def test_job_killed(night: Night, reference: Path) -> None:
    key, _ = night.train()
    os.kill(night.child(key), signal.SIGKILL)
    eventually(lambda: night.jobs()[key]["state"] == "failed", 30, "it does not fail")
    assert night.jobs()[key]["class"] == "killed"
    night.finish()
    same(night, reference)
    once(night, key)


def test_watcher_killed(night: Night, reference: Path) -> None:
    """The process that would have said how the job died is killed itself."""
    key, _ = night.train()
    child = night.child(key)
    watcher = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(watcher, signal.SIGKILL)
    wait_for(lambda: not lives(child), 30, "the job outlives its watcher")
    night.finish()
    same(night, reference)
    once(night, key)


@quick
def test_out_of_memory(night: Night, reference: Path) -> None:
    night.change(r"^\[kinds.train\]", '[kinds.train]\nmem = "120M"')
    night.step()
    key = night.key(STUDENT)
    eventually(lambda: night.jobs()[key]["state"] == "failed", 60, "it is not killed for its memory")
    assert night.jobs()[key]["class"] == "OOM"
    # Not by itself: it would die again.
    told = night.call("table", "--id", TABLE, "--wait", code=1)
    assert "raise mem in [kinds.train]" in told
    assert "asked 120M" in told
    assert night.jobs()[night.key(PREDICT)]["state"] == "blocked"
    night.change(r'^mem = "120M"', 'mem = "1800M"')
    assert key in night.call("retry", "--id", TABLE, "--class", "OOM", code=3)
    night.finish()
    same(night, reference)


def test_node_lost(night: Night, reference: Path) -> None:
    """Its slurmd is killed, its processes live on: the job starts elsewhere, and only one of the two may write."""
    key, _ = night.train(epoch=60)
    node, child = night.attempts(key)[-1]["node"], night.child(key)
    stop_process(child)
    night.testbed.kill(node)
    wait_for(lambda: len(night.attempts(key)) == 2, 90, "it is not started again")
    go_on(child)
    # What came after its last checkpoint, half a second or some 20 epochs, is lost.
    night.resumed(key, 20)
    wait_for(lambda: not lives(child), 30, "the first life goes on")
    assert night.attempts(key)[-1]["node"] != node
    night.testbed.up()
    night.finish()
    same(night, reference)
    once(night, key)


@quick
def test_controller_restarted(night: Night, reference: Path) -> None:
    key, number = night.train()
    night.testbed.kill("slurmctld")
    process = night.start("table", "--id", TABLE)
    time.sleep(3)
    night.testbed.up()
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, 3), err
    assert "submitted" not in out
    night.finish()
    same(night, reference)
    once(night)
    assert night.attempts(key)[0]["job"] == str(number).partition("_")[0] or number


def test_accounting_daemon_stopped(night: Night, reference: Path) -> None:
    key, _ = night.train()
    night.testbed.kill("slurmdbd", signal.SIGTERM)
    try:
        os.kill(night.child(key), signal.SIGKILL)
        eventually(lambda: night.jobs()[key]["state"] == "failed", 60, "it does not fail")
        night.finish()
    finally:
        night.testbed.up()
    same(night, reference)
    once(night, key)


@quick
def test_without_accounting(bare_testbed: Testbed, request: pytest.FixtureRequest, reference: Path) -> None:
    """sacct never answers: a job that died unseen and was forgotten by squeue is found by its silence."""
    night = Night(bare_testbed, request.node.name)
    night.seed_with(reference, "data-")
    key, number = night.train()
    child = night.child(key)
    watcher = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(watcher, signal.SIGKILL)
    eventually(lambda: bare_testbed.state(number) == "", 90, "squeue does not forget it")
    # A minute is the shortest patience a profile can have; the file is made older instead.
    silence(night, key)
    assert night.jobs()[key]["state"] == "lost"
    night.finish()
    same(night, reference)
    once(night, key)
    bare_testbed.clear()


def test_numbers_used_again(night: Night, reference: Path) -> None:
    """The controller forgets everything and counts from 1 again."""
    key, number = night.train()
    testbed, child = night.testbed, night.child(key)
    testbed.run("scontrol", "hold", night.number(night.key(PREDICT)))
    testbed.kill("slurmctld")
    for path in (testbed.folder / "state").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    testbed.up()
    # Somebody else's jobs get the numbers that ours had.
    for _ in range(3):
        testbed.submit("sleep 1", "--array=0-1")
    wait_for(lambda: not lives(child), 60, "the orphan is not ended")
    silence(night, key)
    # What accounting makes of it differs: still running, or cancelled.
    assert night.jobs()[key]["state"] in ("lost", "absent")
    night.finish()
    same(night, reference)
    once(night, key)
    assert number


def test_dependency_on_a_purged_job(night: Night, reference: Path) -> None:
    """Slurm takes a dependency on a job it has forgotten for fulfilled; the job sees that its input is not there."""
    night.change(r"^visible_seconds.*", "visible_seconds = 1")
    key, _ = night.train()
    predict = night.key(PREDICT)
    stop_process(night.child(key))
    night.testbed.run("scontrol", "update", f"JobId={night.number(predict)}", "Dependency=afterok:999999")
    eventually(lambda: night.jobs()[predict]["state"] == "failed", 60, "it ran without its input")
    assert night.attempts(predict) == []
    go_on(night.child(key))
    night.finish()
    same(night, reference)
    once(night)


@quick
def test_upstream_failed(night: Night, reference: Path) -> None:
    """What waits for a failed job leaves the queue, and comes back with it."""
    key, _ = night.train()
    predict = night.key(PREDICT)
    number = night.number(predict)
    os.kill(night.child(key), signal.SIGKILL)
    night.testbed.wait_until(number, ["CANCELLED", ""])
    assert night.jobs()[predict]["state"] in ("absent", "blocked")
    night.finish()
    same(night, reference)
    once(night, key)


SBATCH = """#!/bin/sh
case "$*" in *--test-only*) exec {sbatch} "$@";; esac
{before}
{sbatch} "$@" >{log}
kill -KILL $PPID
"""


@quick
@pytest.mark.parametrize("moment", ["before sbatch", "before its answer"])
def test_submitter_killed(night: Night, reference: Path, moment: str) -> None:
    """The map is on disk in both cases; in one the job exists too, and is not submitted again."""
    tools = night.folder / "bin"
    tools.mkdir()
    sbatch = shutil.which("sbatch")
    text = SBATCH.format(
        sbatch=sbatch,
        log=night.folder / "sbatch.out",
        before="kill -KILL $PPID; exit 1" if moment == "before sbatch" else "",
    )
    (tools / "sbatch").write_text(text)
    (tools / "sbatch").chmod(0o755)
    night.step(code=-signal.SIGKILL, PATH=f"{tools}:{os.environ['PATH']}")
    maps = list((night.results / ".slurm").glob("*/map.json"))
    assert len(maps) == 1
    assert not maps[0].with_name("job.json").exists()
    reached = night.jobs()[night.key(STUDENT)]["state"]
    assert reached in (("absent",) if moment == "before sbatch" else ("pending", "running"))
    night.finish()
    same(night, reference)
    once(night)


@quick
def test_two_submitters(night: Night, reference: Path) -> None:
    both = [night.start("table", "--id", TABLE) for _ in range(2)]
    told = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [3, 3]
    submitted = [line for text in told for line in text.splitlines() if line.startswith("submitted")]
    assert len(submitted) == 2, told
    night.finish()
    same(night, reference)
    once(night)


def _fill(file: io.RawIOBase) -> None:
    with suppress(OSError):
        while file.write(b"\0" * 4096):
            pass


def test_shared_folder_full(night: Night, reference: Path, disk: Callable[..., Path]) -> None:
    night.results = disk("size=12m,mode=0700") / "results"
    night.seed_with(reference, "data-")
    key, _ = night.train()
    stop_process(child := night.child(key))
    filler = night.results.parent / "filler"
    with filler.open("wb", buffering=0) as file:
        _fill(file)
        go_on(child)
        # What the job itself gives up (an older checkpoint) is taken, too.
        end = time.monotonic() + 60
        while lives(child) and time.monotonic() < end:
            _fill(file)
            time.sleep(0.01)
    assert not lives(child), "it goes on without room for its result"
    assert "the disk is full" in night.step(code=2)
    filler.unlink()
    night.finish()
    same(night, reference)


def test_results_seen_late(night: Night, reference: Path) -> None:
    """A result that another machine wrote is not visible yet: a job waits for it, and so does the submitter."""
    night.seed_with(reference, "train-")
    key = night.key(STUDENT)
    result, hidden = night.results / key / "result.json", night.folder / "hidden"
    night.step()
    predict = night.key(PREDICT)
    result.rename(hidden)
    eventually(lambda: night.jobs()[predict]["state"] == "running", 60, "it does not start")
    time.sleep(5)
    hidden.rename(result)

    result = night.results / predict / "result.json"
    eventually(lambda: night.testbed.run("squeue", "-h") == "", 60, "the queue does not empty")
    result.rename(hidden)
    process = night.start("table", "--id", TABLE)
    time.sleep(4)
    hidden.rename(result)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "submitted" not in out
    same(night, reference)
    once(night)


FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed")
def test_clock_of_a_node_off(night: Night, reference: Path) -> None:
    """An hour behind: neither its claims nor its signs of life may look old, nor new ones from the future."""
    line = f'"export LD_PRELOAD={FAKETIME[0]}", "export FAKETIME=-3600", "export FAKETIME_DONT_FAKE_MONOTONIC=1"'
    night.change(r"^setup.*", f"setup = [{line}]")
    key, number = night.train()
    assert night.jobs()[key]["state"] == "running"
    night.testbed.run("scontrol", "requeue", number)
    night.finish()
    same(night, reference)
    once(night, key)


@quick
def test_code_edited_after_submission(night: Night, reference: Path) -> None:
    """Jobs run the code as it was submitted, and its commit and changes are in the record of every number."""
    root = night.folder / "repository"
    for part in ("replicate", "tables"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(root)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "as it was"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    (root / "replicate" / "engine" / "new.py").write_text("# not committed\n")
    night.root = root
    night.testbed.run("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        night.step()
        for name in ("train", "predict", "run"):
            (root / "replicate" / "engine" / f"{name}.py").write_text("raise SystemExit('edited')\n")
    finally:
        night.testbed.run("scontrol", "update", "PartitionName=main", "State=UP")
    night.finish()
    same(night, reference)
    made = json.loads((night.results / night.key(PREDICT) / "result.json").read_text())["provenance"]
    assert made["commit"] == commit
    assert made["dirty"] is True
