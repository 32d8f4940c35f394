"""A repository of its own with the tiny table, its results, and nights on them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backends.tiny_project import new_project
from command_line import ROOT, environment

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
PATIENCE = 180.0


class Repository:
    """``code`` is a git repository with a copy of the package: a test may change and commit it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.code = folder / "code"
        self.results = folder / "results"

    @classmethod
    def build(cls, folder: Path, runs: dict[str, dict[str, Any]] | None = None) -> Repository:
        repository = cls(folder)
        repository.code.mkdir(parents=True)
        new_project(repository.code, runs)
        shutil.copytree(ROOT / "replicate", repository.code / "replicate", ignore=shutil.ignore_patterns("__pycache__"))
        (repository.code / "slurm").mkdir()
        shutil.copy(ROOT / "slurm" / "nightly.sh", repository.code / "slurm")
        (repository.code / ".gitignore").write_text("__pycache__/\n")
        subprocess.run([*GIT, "init", "-q", str(repository.code)], check=True)
        repository.commit()
        return repository

    def copy(self, folder: Path) -> Repository:
        shutil.copytree(self.folder, folder, symlinks=True)
        return Repository(folder)

    def commit(self) -> str:
        for words in (["add", "."], ["commit", "-qm", "a change", "--allow-empty"]):
            subprocess.run([*GIT, "-C", str(self.code), *words], check=True)
        head = subprocess.run([*GIT, "-C", str(self.code), "rev-parse", "HEAD"], check=True, capture_output=True)
        return head.stdout.decode().strip()

    def edit(self, file: str, old: str, new: str) -> str:
        """Change a line and commit it; returns the commit."""
        path = self.code / file
        text = path.read_text()
        assert text.count(old) >= 1, (file, old)
        path.write_text(text.replace(old, new))
        return self.commit()

    @property
    def options(self) -> list[str]:
        return ["--scale", "tiny", "--workers", "2", "--results", str(self.results), "--out", str(self.folder / "out")]

    def start(self, command: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
        variables = environment(**{"PYTHONPATH": str(self.code), **env})
        return subprocess.Popen(
            [sys.executable, "-m", "replicate", command, *self.options, *arguments],
            cwd=self.code,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def night(self, *arguments: str, code: int, **env: str) -> dict[str, Any]:
        """Run one; its summary."""
        process = self.start("nightly", *arguments, **env)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, f"exit {process.returncode}, not {code}:\n{out}\n{err}"
        assert out.startswith("# Night of ") or code == 3
        return self.summary() if out.startswith("# Night of ") else {"error": err}

    def look(self, *arguments: str, code: int) -> dict[str, Any]:
        """What ``nightly --no-run`` says, which is recorded nowhere."""
        nights = sorted((self.results / ".nights" / "tiny").iterdir())
        process = self.start("nightly", "--no-run", "--json", *arguments)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, f"exit {process.returncode}, not {code}:\n{out}\n{err}"
        assert sorted((self.results / ".nights" / "tiny").iterdir()) == nights
        found: dict[str, Any] = json.loads(out)
        return found

    @property
    def latest(self) -> Path:
        return self.results / ".nights" / "tiny" / "latest"

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.latest / "summary.json").read_text())
        assert (self.latest / "summary.md").read_text().startswith(f"# Night of {found['when']}: {found['headline']}")
        return found

    def rendered(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.folder / "out" / "tiny").glob("tiny*")}

    def provenance(self, prefix: str) -> dict[str, Any]:
        (path,) = self.results.glob(f"{prefix}*/result.json")
        made: dict[str, Any] = json.loads(path.read_text())["provenance"]
        return made


def cells_of(summary: dict[str, Any], *kinds: str) -> list[str]:
    return [one["place"] for one in summary["changes"]["changes"] if one["kind"] in kinds]


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def kill_session(process: subprocess.Popen[str]) -> None:
    """The command and every worker of it, at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
