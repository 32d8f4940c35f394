"""A cluster of stand-ins for Slurm's programs (stand_ins/slurm.py), and steps on it in this process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from filled_results import job_like

from replicate.backends.backend import Reporter
from replicate.backends.slurm import backend
from replicate.backends.slurm.backend import Slurm
from replicate.backends.slurm.profile import Profile
from replicate.backends.slurm.submitter import Step
from replicate.plan.graph import Graph
from replicate.store.store import Store

KEY, AFTER = "train-a", "predict-a"
PROGRAMS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo", "sacctmgr", "srun")
Setting = Callable[..., None]
"""``set_env(SQUEUE_RC="1")`` sets STAND_IN_SQUEUE_RC, None removes it."""


def stand_ins(folder: Path) -> Path:
    """Make the programs in ``folder/bin``, which is to stand first in PATH; STAND_IN has to name ``folder``."""
    tools = folder / "bin"
    tools.mkdir()
    text = Path(__file__).with_name("stand_ins").joinpath("slurm.py").read_text()
    # Without the packages of this environment Python starts in a tenth of the time.
    (tools / "slurm.py").write_text(f"#!{sys.executable} -SE\n{text}")
    (tools / "slurm.py").chmod(0o755)
    for name in PROGRAMS:
        (tools / name).symlink_to("slurm.py")
    return tools


@dataclass
class Said(Reporter):
    lines: list[str] = field(default_factory=list)

    def say(self, message: str) -> None:
        self.lines.append(message)


@dataclass
class Lab:
    """A cluster of stand-ins (see stand_ins/slurm.py) with one training and one evaluation to do."""

    folder: Path
    profile: Profile
    said: Said = field(default_factory=Said)

    @property
    def graph(self) -> Graph:
        graph = Graph()
        graph.add(job_like(KEY, "train"))
        graph.add(job_like(AFTER, "predict", {"network": KEY}))
        return graph

    @property
    def store(self) -> Store:
        return Store(self.folder / "results")

    @property
    def slurm(self) -> Slurm:
        return Slurm(self.profile, self.folder, self.said)

    @staticmethod
    def patience(seconds: float) -> None:
        """Until the end of the test."""
        backend.PATIENCE = seconds

    def step(self) -> Step:
        return self.slurm.step(self.graph, self.store, ["tiny"])

    def change(self, **options: object) -> None:
        self.profile = Profile.model_validate(self.profile.model_dump(exclude_unset=True) | options)

    def calls(self, program: str) -> list[str]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [line for line in lines if line.split()[0] == program]

    @property
    def sent(self) -> int:
        """How many arrays sbatch was asked to take."""
        return len([line for line in self.calls("sbatch") if "--test-only" not in line])

    def older(self, seconds: float) -> None:
        """Make every submission older."""
        for path in (self.folder / "results" / ".slurm").glob("*/*"):
            then = path.stat().st_mtime - seconds
            os.utime(path, (then, then))

    def jobs(self) -> list[dict[str, object]]:
        return list(json.loads((self.folder / "jobs.json").read_text()))
