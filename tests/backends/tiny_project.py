"""A table that is computed in seconds, and what a folder of its results says about how that went."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from command_line import ROOT, environment

PATIENCE = 120.0
JOBS = 10
"""The images, and a training and its decisions for each of four students and (without decisions) their teacher."""
RUNS = ("regnety-16gf", "deit-ti-224/none", "deit-ti-224/token", "deit-s-224/none", "deit-s-224/token")


@dataclass
class TinyProject:
    """Specs, results and rendered files in one folder, and commands on them."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __enter__(self) -> TinyProject:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in processes_of(self):
            os.kill(pid, signal.SIGKILL)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """A command in a process group of its own, which Ctrl-C reaches as a whole."""
        folders = [part for name in ("results", "out", "tables") for part in (f"--{name}", str(self.folder / name))]
        command = [sys.executable, "-m", "replicate", *arguments, "--scale", "tiny", *folders]
        # A checkpoint after each step: what is killed must go on from one.
        variables = environment(**{"REPLICATE_CHECKPOINT_SECONDS": "0", **env})
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


def processes_of(project: TinyProject) -> list[int]:
    """Every process of the sessions that the commands of ``project`` started."""
    sessions = {process.pid for process in project.started}
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) in sessions and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def new_project(
    folder: Path,
    runs: dict[str, dict[str, Any]] | None = None,
    epochs: int = 2,
    images: dict[str, Any] | None = None,
    students: dict[str, Any] | None = None,
    released: dict[str, str] | None = None,
) -> TinyProject:
    """The tiny table at a scale of its own: the mini scale with next to no images and epochs.

    runs: changes of single runs, such as a recipe that diverges. images: another data set of that scale.
    students: changes of their recipe there. released: published weights by run.
    """
    scales = folder / "tables" / "scales"
    scales.mkdir(parents=True)
    spec = tomllib.loads((ROOT / "tables" / "runs.toml").read_text())
    spec["runs"] = {name: spec["runs"][name] | (runs or {}).get(name, {}) for name in RUNS}
    (scales.parent / "runs.toml").write_text(toml(spec))
    scale = tomllib.loads((ROOT / "tables" / "scales" / "mini.toml").read_text())
    scale |= {"id": "tiny", "title": "tiny scale", "released": released or {}}
    scale["noise"] = [{"sd": 3.0, "trainings": 9, "source": "a guess"}]
    scale["data"]["imagenet"] |= {"train": 64, "test": 100}
    if images is not None:
        scale["data"] = {"imagenet": images}
    for recipe in ("deit", "regnet"):
        scale["recipes"][recipe] |= {"batch": 16, "mix_batch": 16, "epochs": epochs, "warmup_epochs": 1}
    scale["recipes"]["deit-small"] = {"mix_batch": 16}
    scale["recipes"]["deit"] |= students or {}
    scale["recipes"] = {name: values for name, values in scale["recipes"].items() if name in spec["recipes"]}
    (scales / "tiny.toml").write_text(toml(scale))
    shutil.copy(Path(__file__).with_name("tiny_table.toml"), scales.parent / "tiny.toml")
    return TinyProject(folder)


def toml(values: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(name)} = {_inline(value)}\n" for name, value in values.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_inline(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)
