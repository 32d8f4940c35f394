"""A real Slurm for tests: slurm/testbed/up and down, and ways to make things go wrong on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
UP = REPOSITORY / "slurm" / "testbed" / "up"
DOWN = REPOSITORY / "slurm" / "testbed" / "down"
NODES = ("n1", "n2", "n3", "n4")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd")


class Testbed:
    """Four nodes on this machine. ``environ`` is what clients need; ``profile`` a profile that fits it."""

    __test__ = False

    def __init__(self, folder: Path, accounting: bool = True) -> None:
        self.folder = folder
        self.options = [] if accounting else ["--no-accounting"]
        self.accounting = accounting
        self.python = Path(sys.executable)

    @property
    def profile(self) -> Path:
        return self.folder / "testbed.toml"

    @property
    def shared(self) -> Path:
        return self.folder / "shared"

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.folder / "etc" / "slurm.conf"), "OMP_NUM_THREADS": "1"}

    def up(self, *options: str) -> None:
        """Boot it, or start what is missing of it."""
        command = [str(UP), str(self.folder), "--python", str(self.python), *self.options, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    def down(self, *options: str) -> None:
        done = subprocess.run([str(DOWN), str(self.folder), *options], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    def run(self, *command: str | Path, check: bool = True, timeout: float = 60) -> str:
        """Standard output of a client such as ``squeue``; AssertionError with its message where it fails."""
        words = [str(word) for word in command]
        done = subprocess.run(words, capture_output=True, text=True, env=self.environ, timeout=timeout)
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    def pid(self, name: str) -> int:
        """Process id of ``slurmctld``, ``slurmdbd``, ``mariadbd``, ``munged`` or a node, from its pid file."""
        return int((self.folder / "run" / f"{name}.pid").read_text())

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End one daemon and wait until it is gone. ``up()`` starts it again."""
        pid = self.pid(name)
        os.kill(pid, how)
        wait_for(lambda: not lives(pid), 20, f"{name} is still there")

    def submit(self, script: str, *options: str) -> str:
        """Job id of ``script`` (shell), submitted with logs in the shared folder."""
        log = self.shared / "%j.log"
        return self.run("sbatch", "--parsable", f"--output={log}", *options, f"--wrap={script}")

    def state(self, job: str) -> str:
        """``PENDING``, ``RUNNING``, ``COMPLETED``...; empty where the controller has forgotten the job."""
        return self.run("squeue", "-h", "--states=all", "-o", "%T", "-j", job, check=False)

    def wait_until(self, job: str, states: Sequence[str], seconds: float = 60) -> None:
        wait_for(lambda: self.state(job) in states, seconds, f"job {job} is {self.state(job)}, not {states}")

    def clear(self, seconds: float = 30) -> None:
        """Cancel every job and wait until all nodes are idle: what a test leaves behind ends with it."""
        self.up()
        for user in {str(os.getuid()), *(word for word in self.options if not word.startswith("-"))}:
            self.run("scancel", f"--user={user}", check=False)
        wait_for(lambda: self.run("squeue", "-h", "-a") == "", seconds, "jobs do not end")


def wait_for(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.1)


def boot(accounting: bool = True) -> Testbed:
    """A fresh testbed in a folder of its own. Skips where Slurm is not installed, unless REPLICATE_REQUIRE_ALL=1."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    programs = PROGRAMS + (ACCOUNTING_PROGRAMS if accounting else ())
    missing = [program for program in programs if not shutil.which(program, path=path)]
    if missing:
        message = f"not installed: {', '.join(missing)} (slurm/testbed/up --install)"
        if os.environ.get("REPLICATE_REQUIRE_ALL") == "1":
            pytest.fail(message)
        pytest.skip(message)
    # Not pytest's folder: that may be in memory, and its path is long for a socket.
    testbed = Testbed(Path(tempfile.mkdtemp(prefix="tb-", dir="/var/tmp")), accounting)
    testbed.up()
    return testbed


def end(testbed: Testbed) -> None:
    """Take it away, with whatever a failed test left running."""
    # Jobs outlive the daemons that a test killed; a repaired testbed can end them.
    with suppress(AssertionError, subprocess.TimeoutExpired):
        testbed.clear()
    testbed.down("--purge")
    shutil.rmtree(testbed.folder, ignore_errors=True)


def lives(pid: int) -> bool:
    """Whether there is such a process and it is not a zombie."""
    # A killed daemon whose parent does not reap it stays as a zombie.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
