"""A result that can no longer be read while others run fails its job alone, and is not redone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT
from tiny_project import JOBS, new_project

from replicate.backends.local import LocalRun
from replicate.cli.progress import Estimate, Lines
from replicate.errors import Unreadable
from replicate.plan.cells import plan_tables
from replicate.specs.load import load
from replicate.store import store as store_module
from replicate.store.provenance import provenance
from replicate.store.store import Store

pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def test_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = store_module.read_result

    def stumbling(folder: Path, key: str) -> Any:
        # In this process only: the worker has written it and is content.
        if key.startswith("train-deit-ti-224-none") and (folder / "result.json").exists():
            raise Unreadable(f"{folder}/result.json: cannot be read")
        return read(folder, key)

    with new_project(tmp_path / "project") as project:
        plan = plan_tables(load(project.folder / "tables", "tiny"), ["tiny"], (0,))
        (key,) = (key for key in plan.graph.jobs if key.startswith("train-deit-ti-224-none"))
        monkeypatch.setattr(store_module, "read_result", stumbling)
        with Lines(Estimate(2, {}), JOBS, quiet=True) as listener:
            outcome = LocalRun(plan.graph, Store(project.results), provenance(ROOT), 2, listener).run()
        assert outcome.failed == {key: f"{project.results / key}/result.json: cannot be read"}
        assert [one.partition("-s0")[0] for one in outcome.blocked] == ["predict-deit-ti-224-none"]
        assert len(outcome.done) == JOBS - 2
        monkeypatch.undo()
        with Lines(Estimate(2, {}), JOBS, quiet=True) as listener:
            again = LocalRun(plan.graph, Store(project.results), provenance(ROOT), 2, listener).run()
        assert again.done == outcome.blocked
