"""Epochs that are handed on: to TensorBoard for real, to the others through stand-ins, which may fail or hang."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from command_line import TABLE, Call, missing
from tiny_project import TinyProject, new_project

from replicate.actions import run_missing
from replicate.actions.run_missing import watched
from replicate.backends.slurm.submission import SubmissionMap, read_job, write_map
from replicate.backends.worker import Outcome, perform
from replicate.jobs.job import Job
from replicate.plan.cells import plan_tables
from replicate.plan.graph import Graph
from replicate.specs.load import load
from replicate.specs.watch import TrackerName, Watch
from replicate.store.epochs import EpochLine
from replicate.store.store import Store

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

EPOCHS = 3
LINE = EpochLine(4, 9, 2.5, 1e-3, None, 1000, 12.0, 1.5, 800.0, 512.0, 0)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyProject]:
    with new_project(tmp_path_factory.mktemp("tracked"), epochs=EPOCHS) as made:
        yield made


def train(project: TinyProject, tracker: TrackerName | None) -> tuple[Store, Job]:
    """The student that needs no teacher, trained in this process."""
    graph = plan_tables(load(project.folder / "tables", "tiny"), ["tiny"], (0,)).graph
    (job,) = [job for job in graph if job.key.startswith("train-deit-ti-224-none")]
    store = Store(project.results)
    for each in watched(graph.needed_for([job.key]), stop=False, tracker=tracker):
        store.forget(each.key)
        assert perform(store, each, {}, lambda: False) == Outcome.DONE
    return Store(project.results), job


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **functions: Any) -> list[tuple[Any, ...]]:
    """A module ``name`` that notes how it is called; ``functions`` replace its own."""
    calls: list[tuple[Any, ...]] = []

    def noted(which: str) -> Any:
        return lambda *arguments, **keywords: calls.append((which, *arguments, keywords))

    module = types.SimpleNamespace(**{which: noted(which) for which in ("init", "log", "finish")} | functions)
    monkeypatch.setitem(sys.modules, name, module)
    return calls


def test_tensorboard_shows_what_the_lines_say(project: TinyProject) -> None:
    if find_spec("tensorboard") is None:
        missing("tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    store, job = train(project, "tensorboard")
    lines, result = store.epochs(job.key), store.result(job.key)
    assert len(lines) == EPOCHS
    assert result is not None
    assert not [name for name in result.files if "event" in name], "no part of the result"
    events = EventAccumulator(str(store.folder(job.key) / "tensorboard")).Reload()
    assert {"loss", "rate", "top1", "speed", "waiting", "memory_mb"} <= set(events.Tags()["scalars"])
    for name in ("loss", "top1"):
        shown = [(event.step, event.value) for event in events.Scalars(name)]
        assert shown == [(line.epoch, pytest.approx(getattr(line, name))) for line in lines]


def test_a_tracker_without_a_network_stops_no_training(project: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**_: Any) -> None:
        raise ConnectionError("no route to host")

    calls = stand_in(monkeypatch, "wandb", init=offline)
    for path in project.results.glob("train-*"):
        Store(project.results).set_aside(path.name)
    store, job = train(project, "wandb")
    assert len(store.epochs(job.key)) == EPOCHS
    assert calls == []
    log = (store.folder(job.key) / "log.txt").read_text()
    assert log.count("wandb failed, and gets no more epochs: ConnectionError: no route to host") == 1


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_each_epoch_is_handed_on_once(name: TrackerName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filled_results import example

    from replicate.engine.tracker import Tracker

    calls, job = stand_in(monkeypatch, name), example("train")
    tracker = Tracker(name, job, tmp_path)
    tracker(LINE)
    tracker(replace(LINE, epoch=5, top1=31.25))
    tracker.close()
    (_, opened), *logged, (last, _) = calls
    assert (opened["project"], opened["name"], opened["resume"]) == ("deit-replicate", job.key, "allow")
    assert opened["config"]["recipe"]["lr"] > 0
    said = {"loss": 2.5, "rate": 1e-3, "images": 1000, "seconds": 12.0, "waiting": 1.5, "speed": 800.0}
    said |= {"memory_mb": 512.0, "gpus": 0}
    assert logged == [("log", said, {"step": 4}), ("log", said | {"top1": 31.25}, {"step": 5})]
    assert last == "finish"


def test_a_tracker_that_hangs_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from filled_results import example

    from replicate.engine import tracker

    over = threading.Event()
    stand_in(monkeypatch, "trackio", init=lambda **_: over.wait())
    monkeypatch.setattr(tracker, "LAST_SECONDS", 0.1)
    hung = tracker.Tracker("trackio", example("train"), tmp_path)
    hung(LINE)
    hung.close()
    over.set()
    assert "trackio was not done after 0 s" in capsys.readouterr().out


def test_nothing_is_trained_for_a_tracker_that_is_not_installed(
    replicate: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_missing, "find_spec", lambda name: None)
    for words, code in ((("table", "--id", TABLE), 2), (("nightly",), 3)):
        done = replicate(*words, "--tracker", "wandb", "--results", str(tmp_path / "none"))
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr == "error: the tracker wandb is not installed\n  python -m pip install wandb\n"
    assert not (tmp_path / "none").exists()


def test_a_node_is_told_how_a_training_is_watched(tmp_path: Path) -> None:
    from filled_results import example

    job = replace(example("train"), watch=Watch(band_points=7.0))
    graph = watched(Graph({job.key: job, "data": example("data")}), stop=True, tracker="trackio")
    folder = write_map(tmp_path, SubmissionMap("0" * 12, "train", {0: [job.key]}), graph)
    read = read_job(folder, job.key)
    assert read.watch == Watch(band_points=7.0, stop=True, tracker="trackio")
    assert read_job(folder, example("data").key).watch is None
    assert read.payload == job.payload
