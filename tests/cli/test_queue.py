"""``why``, ``cancel`` and ``retry``, with programs of Slurm's names that know of no job."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ROOT, TABLE, Call

from replicate.figures.load import load_with_figures
from replicate.figures.plan import with_figures
from replicate.plan.cells import plan_tables

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def call(replicate: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("squeue", "sacct", "scancel"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    profile = tmp_path / "lab.toml"
    shared = f'[paths]\nshared = "{tmp_path}"\n[sbatch]\ntime = 60\n'
    profile.write_text(f'name = "lab"\npython = "/usr/bin/python3"\nshared_is_local = true\n{shared}')
    return lambda *arguments: replicate(*arguments, "--cluster", str(profile))


def only_in_a_figure() -> str:
    specs = load_with_figures(ROOT / "tables", "mini")
    plan = plan_tables(specs, specs.ordered, (0,))
    return next(key for key in with_figures(plan).jobs if key not in plan.graph.jobs)


def test_nothing_is_queued(call: Run) -> None:
    assert call("cancel", "--id", TABLE).stdout == "nothing of this is queued\n"
    assert json.loads(call("cancel", "--json").stdout) == {"cancelled": {}}
    assert call("retry").stdout == "nothing of this has failed\n"
    assert json.loads(call("retry", "--json").stdout) == {"again": [], "submitted": {}}


def test_jobs_that_only_a_figure_needs_are_known(call: Run) -> None:
    key = only_in_a_figure()
    for command in ("cancel", "retry", "why"):
        done = call(command, key)
        assert (done.returncode, done.stderr) == (0, ""), command
    assert call("cancel", key[:-1]).stderr.startswith(f"error: unknown job '{key[:-1]}'\n  did you mean '{key}'?")
