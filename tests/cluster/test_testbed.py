"""The testbed itself: a real scheduler, on loopback only, that can be killed in parts, repaired and taken away."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from cluster.ordinary import NAME, admit
from cluster.testbed import DOWN, NODES, UP, Testbed, boot, end, lives, wait_for
from replicate.backends.slurm.profile import load_profile


def test_four_nodes_with_gpus_to_schedule(testbed: Testbed) -> None:
    gres = testbed.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %G").splitlines()
    assert gres == ["n1 gpu:small:2", "n2 gpu:small:2", "n3 gpu:large:2", "n4 gpu:large:2"]
    assert testbed.run("srun", "--gpus-per-node=2", "printenv", "CUDA_VISIBLE_DEVICES") == "0,1"


def test_everything_listens_on_loopback(testbed: Testbed) -> None:
    ours = {testbed.pid(name) for name in (*NODES, "slurmctld", "slurmdbd", "mariadbd")}
    inodes = {str(os.stat(fd).st_ino) for pid in ours for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.exists()}
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                listening.append(words[1].partition(":")[0])
    # 0100007F is 127.0.0.1; one address for each of seven daemons.
    assert len(listening) >= 7
    assert set(listening) == {"0100007F"}


def test_its_profile_loads_and_knows_the_cluster(testbed: Testbed) -> None:
    profile = load_profile(testbed.profile)
    assert profile.client_environment({})["SLURM_CONF"] == str(testbed.folder / "etc" / "slurm.conf")
    assert profile.request("train")["account"] == "lab"


def test_accounting_answers(testbed: Testbed) -> None:
    job = testbed.submit("exit 3")
    testbed.wait_until(job, ["FAILED"])
    command = ("sacct", "-X", "-n", "-P", "-j", job, "-o", "State,ExitCode")
    wait_for(lambda: testbed.run(*command) == "FAILED|3:0", 10, "sacct does not know the job")


def test_without_accounting_sacct_does_not_answer(bare_testbed: Testbed) -> None:
    job = bare_testbed.submit("exit 3")
    bare_testbed.wait_until(job, ["FAILED"])
    assert bare_testbed.run("sacct", "-X", "-n", "-P", "-j", job, check=False) == ""
    assert "account" not in load_profile(bare_testbed.profile).request("train")


def test_urgent_jobs_throw_others_back_into_the_queue(testbed: Testbed) -> None:
    try:
        jobs = [testbed.submit("sleep 60", "--exclusive", "--requeue") for _ in NODES]
        for job in jobs:
            testbed.wait_until(job, ["RUNNING"])
        urgent = testbed.submit("sleep 1", "-p", "urgent", "--exclusive")
        testbed.wait_until(urgent, ["COMPLETED", "COMPLETING"], 40)
        assert "PENDING" in [testbed.state(job) for job in jobs]
    finally:
        testbed.clear()


@pytest.mark.parametrize("name", ["slurmctld", "slurmdbd", "n2"])
def test_up_repairs_what_was_killed(testbed: Testbed, name: str) -> None:
    others = {other: testbed.pid(other) for other in (*NODES, "slurmctld", "slurmdbd", "munged") if other != name}
    testbed.kill(name, signal.SIGKILL)
    testbed.up()
    assert {other: testbed.pid(other) for other in others} == others
    assert testbed.run("srun", "hostname")
    # A controller that was killed comes back with the queue it last wrote down, jobs that had ended included.
    testbed.clear()


@pytest.mark.slurm
def test_down_twice_leaves_nothing_and_up_goes_on_where_it_was() -> None:
    other = boot()
    try:
        pids = [other.pid(name) for name in (*NODES, "slurmctld", "slurmdbd", "mariadbd", "munged")]
        job = other.submit("sleep 60")
        other.wait_until(job, ["RUNNING"])
        other.down()
        other.down()
        assert not any(lives(pid) for pid in pids)
        other.up()
        assert int(other.submit("true")) > int(job)
    finally:
        other.down("--purge")
    assert not other.folder.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["/var/tmp/" + "long" * 20], "longer than 70 characters"),
        (["/var/tmp/a b"], "expected a path of"),
        (["/var/tmp/x;touch y"], "expected a path of"),
        (["/dev/shm/testbed"], "in memory"),
        (["--acounting"], "unknown option '--acounting'"),
        (["--python"], "a value is needed"),
        (["--max-array", "1; true"], "expected whole numbers"),
    ],
)
def test_up_refuses(testbed: Testbed, options: list[str], message: str) -> None:
    done = subprocess.run([str(UP), *options], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert message in done.stderr


def test_down_of_nothing(tmp_path: Path) -> None:
    done = subprocess.run([str(DOWN), str(tmp_path)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert "nothing to stop" in done.stdout


@pytest.mark.slurm
def test_an_ordinary_user_submits_and_sees_less_than_root() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can run the jobs of another user")
    booted = boot()
    try:
        user = admit(booted)
        booted.run("scontrol", "update", "PartitionName=main", "Hidden=YES")
        script = ("sbatch", "--parsable", "--account=lab", f"--output={user.shared}/%j.log", "--wrap=id -un; sleep 100")
        job = user.run(*script)
        log = user.shared / f"{job}.log"
        wait_for(lambda: log.exists() and log.read_text().strip() == NAME, 30, f"{job} does not run")
        assert (user.run("squeue", "-h", "-o", "%i"), user.run("squeue", "-a", "-h", "-o", "%i")) == ("", job)
        assert booted.run("squeue", "-h", "-o", "%i") == job
        # A controller that has just started tells the database after a few seconds.
        wait_for(lambda: job in user.run("sacct", "-n", "-X", "-o", "JobID").split(), 60, f"sacct does not know {job}")
        assert user.run("cat", booted.folder / "etc" / "slurmdbd.conf", check=False) == ""
        # Its profile loads, and its files are nobody else's.
        assert load_profile(user.profile).paths.shared == str(user.shared)
        assert user.shared.stat().st_mode & 0o777 == 0o700
        # Repaired without naming the user again, it stays open.
        booted.options.remove("--user")
        booted.options.remove(NAME)
        booted.up()
        assert user.run("squeue", "-a", "-h", "-o", "%i") == job
        booted.down()
        assert not booted.run("pgrep", "-u", NAME, "-f", "sleep 100", check=False)
    finally:
        end(booted)
