"""The same bytes with any number of workers and callers, and nothing computed twice."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tiny_project import JOBS, TinyProject, ended

pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_gives_the_same_bytes(project: TinyProject, undisturbed: Any, workers: int) -> None:
    caller = project.start("table", "--id", "tiny", "--workers", str(workers))
    most = 0
    while caller.poll() is None:
        most = max(most, len(project.claims()))
        time.sleep(0.02)
    assert 1 <= most <= workers
    done = ended(caller)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{JOBS} jobs to run; loading torch (once)\n")
    assert (project.decisions(), project.weights()) == undisturbed
    assert len(project.decisions()) == 4
    assert project.claims() == []
    again = project.table()
    assert (again.returncode, again.stderr) == (0, "")
    assert "jobs to run" not in again.stdout
