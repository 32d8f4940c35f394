"""The tiny table, and what one undisturbed worker makes of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import ROOT
from lab import Lab, Setting, stand_ins
from model_slurm import ModelSlurm, Site
from tiny_project import TinyProject, new_project

from replicate.backends.slurm import backend
from replicate.backends.slurm.backend import Slurm
from replicate.backends.slurm.profile import Profile
from replicate.backends.slurm.snapshot import Snapshot
from replicate.store.store import Store


@pytest.fixture
def project(tmp_path: Path) -> Iterator[TinyProject]:
    with new_project(tmp_path / "project") as made:
        yield made


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, str]]:
    """Decisions and weights of the tiny table, from one worker that nothing happened to."""
    with new_project(tmp_path_factory.mktemp("undisturbed")) as made:
        done = made.table(workers=1)
        assert done.returncode == 0, done.stderr
        return made.decisions(), made.weights()


@pytest.fixture
def set_env(monkeypatch: pytest.MonkeyPatch) -> Setting:
    def change(**settings: str | None) -> None:
        for name, value in settings.items():
            variable = f"STAND_IN_{name}"
            monkeypatch.delenv(variable, raising=False) if value is None else monkeypatch.setenv(variable, value)

    return change


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Patience is short, and no code is copied."""
    monkeypatch.setenv("PATH", f"{stand_ins(tmp_path)}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN", str(tmp_path))
    monkeypatch.setattr(backend, "take", lambda root, shared: Snapshot(tmp_path, {}))
    monkeypatch.setattr(backend, "PATIENCE", 0.3)
    profile = {
        "name": "lab",
        "python": "/usr/bin/python3",
        "paths": {"shared": str(tmp_path)},
        "sbatch": {"time": 60},
        "shared_is_local": True,
        "visible_seconds": 0,
        "poll_seconds": 0.05,
    }
    return Lab(tmp_path, Profile.model_validate(profile))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy of the code is made once for all tests."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def site(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    def make(**changes: object) -> tuple[Slurm, ModelSlurm, Store]:
        programs = tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        # submitit asks whether there is one before it writes a script.
        (programs / "srun").write_text("#!/bin/sh\n")
        (programs / "srun").chmod(0o755)
        monkeypatch.setenv("PATH", str(programs), prepend=":")
        profile = Profile.model_validate(
            {
                "name": "lab",
                "python": "/usr/bin/python3",
                "paths": {"shared": str(shared)},
                "sbatch": {"time": 60},
                "shared_is_local": True,
                **changes,
            }
        )
        slurm = ModelSlurm()
        monkeypatch.setattr(Slurm, "_client", lambda _: slurm)
        return Slurm(profile, ROOT), slurm, Store(tmp_path / "results")

    return make
