"""A table that is computed in seconds, and what a folder of its results says about how that went."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stage import ROOT, environment

HERE = Path(__file__).parent
PATIENCE = 120.0


@dataclass
class World:
    """Specs, results and rendered files in one folder, and commands on them."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def change(self, old: str, new: str, name: str = "scales/tiny.toml") -> None:
        path = self.folder / "tables" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """A command in a process group of its own, which Ctrl-C reaches as a whole."""
        folders = [part for name in ("results", "out", "tables") for part in (f"--{name}", str(self.folder / name))]
        command = [sys.executable, "-m", "replicate", *arguments, "--scale", "tiny", *folders]
        # A checkpoint after each epoch: what is killed must go on from one.
        variables = environment(REPLICATE_CHECKPOINT_SECONDS="0", **env)
        process = subprocess.Popen(
            command, cwd=ROOT, env=variables, stdout=-1, stderr=-1, text=True, start_new_session=True
        )
        self.started.append(process)
        return process

    def table(self, *arguments: str, workers: int = 2, **env: str) -> subprocess.CompletedProcess[str]:
        return ended(self.start("table", "--id", "tiny", "--workers", str(workers), *arguments, **env))

    def json_of(self, *arguments: str) -> Any:
        """What a command that only looks says to programs."""
        return json.loads(ended(self.start(*arguments, "--json")).stdout)

    def json(self) -> Any:
        return json.loads((self.folder / "out" / "tiny" / "tiny.json").read_text())

    def decisions(self) -> dict[str, str]:
        """Checksums of everything that was decided, by job."""
        found = {}
        for path in self.results.glob("predict-*/result.json"):
            found[path.parent.name] = json.loads(path.read_text())["files"]["decisions.npz"]
        return found

    def weights(self) -> dict[str, str]:
        found = {}
        for path in self.results.glob("train-*/result.json"):
            found[path.parent.name] = json.loads(path.read_text())["files"]["model.safetensors"]
        return found

    def key(self, prefix: str) -> str:
        (path,) = self.results.glob(f"{prefix}*")
        return path.name

    def claims(self) -> list[Path]:
        return list(self.results.glob("*/claim"))


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """Until ``condition`` gives something; fails when ``process`` ends before, or patience does."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def processes_of(world: World) -> list[int]:
    """Every process of the sessions that the commands of ``world`` started."""
    sessions = {process.pid for process in world.started}
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) in sessions and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def new_world(folder: Path) -> World:
    scales = folder / "tables" / "scales"
    scales.mkdir(parents=True)
    shutil.copy(ROOT / "tables" / "runs.toml", scales.parent)
    shutil.copy(ROOT / "tables" / "scales" / "mini.toml", scales)
    shutil.copy(HERE / "tiny_scale.toml", scales / "tiny.toml")
    shutil.copy(HERE / "tiny_table.toml", scales.parent / "tiny.toml")
    return World(folder)
