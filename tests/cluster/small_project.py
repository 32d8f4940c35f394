"""A small table on the testbed, as its user sees it: the command line, and the files it leaves."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from command_line import ROOT, environment

from cluster.ordinary import Ordinary
from cluster.small_table import TABLE, write_specs
from cluster.testbed import Testbed, wait_for

EPOCHS = 320
"""About ten seconds of training on a free core: longer than a controller takes to be killed and come back."""


class Night:
    """``results`` of its own on the testbed's shared folder; ``profile`` is a copy that a test may change."""

    __test__ = False

    def __init__(
        self,
        testbed: Testbed,
        name: str,
        rows: tuple[str, ...] = ("none",),
        epochs: int = EPOCHS,
        user: Ordinary | None = None,
        counted: bool = False,
    ) -> None:
        self.testbed, self.user = testbed, user
        # Of its own at each try: a test that is tried again must not meet what the first try left.
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=(user or testbed).shared))
        self.results = self.folder / "results"
        self.tables = write_specs(self.folder / "tables", rows, epochs, counted)
        self.profile = self.folder / "testbed.toml"
        # How often a checkpoint is written is a test's own: a job gets it from whoever submits.
        passed = 'pass_environment = ["REPLICATE_CHECKPOINT_SECONDS"]\n'
        self.profile.write_text(passed + (user or testbed).profile.read_text())
        self.root = user.checkout if user else ROOT
        self.environ = {"REPLICATE_CHECKPOINT_SECONDS": "0.5"} | (user.environ if user else {})
        if user:
            user.own(self.folder)

    def change(self, pattern: str, new: str) -> None:
        """Replace a line of the profile."""
        text, count = re.subn(pattern, new, self.profile.read_text(), flags=re.M)
        assert count, pattern
        self.profile.write_text(text)

    def start(self, command: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        where = ["--tables", self.tables, "--results", self.results, "--scale", "tiny", "--cluster", self.profile]
        out = ["--out", self.folder / "out"]
        python = [*self.user.prefix, str(self.user.python)] if self.user else [sys.executable]
        return subprocess.Popen(
            [*python, "-m", "replicate", command, *arguments, *map(str, [*where, *out])],
            cwd=self.root,
            env=environment(**{**self.environ, "PYTHONPATH": str(self.root), **environ}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, command: str, *arguments: str, code: int | None = None, **environ: str) -> str:
        """Standard output; ``code`` is what it must exit with."""
        process = self.start(command, *arguments, **environ)
        out, err = process.communicate(timeout=300)
        assert code is None or process.returncode == code, f"exit {process.returncode}, not {code}:\n{out}\n{err}"
        return out + err

    def step(self, code: int | None = 3, **environ: str) -> str:
        return self.call("table", "--id", TABLE, code=code, **environ)

    def finish(self) -> str:
        """The one more call that has to bring the table to its end."""
        return self.call("table", "--id", TABLE, "--wait", code=0)

    def jobs(self) -> dict[str, dict[str, Any]]:
        answer = json.loads(self.call("status", "--id", TABLE, "--json"))
        return {job["key"]: job for job in answer["jobs"]}

    def key(self, prefix: str) -> str:
        (key,) = [key for key in self.jobs() if key.startswith(prefix)]
        return key

    def progress(self, key: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.results / key / "progress.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    def train(self, prefix: str = "train-deit-ti-224-none", epoch: int = 10, seconds: float = 60) -> tuple[str, str]:
        """Submit, and wait until a training is past ``epoch``: its key and Slurm's number."""
        self.step()
        key = self.key(prefix)
        wait_for(lambda: self.progress(key).get("epoch", 0) >= epoch, seconds, f"{key}: {self.why(key)}")
        return key, self.number(key)

    def number(self, key: str) -> str:
        number = self.jobs()[key]["job"]
        assert number, key
        return str(number)

    def why(self, key: str) -> str:
        return self.call("why", key)

    def attempts(self, key: str) -> list[dict[str, Any]]:
        folder = self.results / key / "attempts"
        found = sorted(folder.iterdir(), key=lambda path: int(path.name)) if folder.is_dir() else []
        # One that has just begun has not said yet where it runs.
        return [json.loads((path / "env.json").read_text()) for path in found if (path / "env.json").exists()]

    def child(self, key: str) -> int:
        """Process id of the process that trains, from its claim."""
        return int(json.loads((self.results / key / "claim" / "owner.json").read_text())["pid"])

    def files(self) -> dict[str, str]:
        """Checksums of all artefacts: what a table is made of."""
        return files_of(self.results)

    def seed_with(self, source: Path, *prefixes: str) -> None:
        """Copy finished results, which this test need not compute again."""
        self.results.mkdir(exist_ok=True)
        for prefix in prefixes:
            for path in source.glob(f"{prefix}*"):
                shutil.copytree(path, self.results / path.name)
        if self.user:
            self.user.own(self.results)

    def resumed(self, key: str, after: int) -> None:
        """Wait for the next life of a training and see that it goes on where its checkpoint was."""
        seen: list[int] = []

        def going_on() -> bool:
            if len(self.attempts(key)) > 1 and (epoch := self.progress(key).get("epoch")):
                seen.append(epoch)
            return bool(seen) or (self.results / key / "result.json").exists()

        wait_for(going_on, 120, f"{key} does not go on: {self.why(key)}")
        assert not seen or seen[0] >= after, f"went on from epoch {seen[0]}, had finished {after}"


def files_of(results: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in results.glob("*/result.json"):
        for name, digest in json.loads(path.read_text())["files"].items():
            found[f"{path.parent.name}/{name}"] = digest
    return found


def stop_process(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def told_to_end(pid: int) -> bool:
    """Whether SIGTERM waits for a stopped process, or has ended it already (Slurm may wake what is stopped)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    pending = re.findall(r"^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)", status, re.M)
    return any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in pending)


def eventually(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """As `wait_for`, for questions that start a process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(1.0)
