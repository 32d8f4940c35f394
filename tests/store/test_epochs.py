"""A training that is watched while it runs: its lines, `status`, the site and ``logs --follow``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from filled_results import example

from replicate.backends.backend import JobStates
from replicate.cli import cluster_commands
from replicate.plan.graph import Graph
from replicate.site.book import JobFacts
from replicate.store import epochs, lease
from replicate.store.epochs import EpochLine
from replicate.store.files import write_json
from replicate.store.store import Store

FIRST = EpochLine(1, 4, 2.5, 1e-3, 31.25, 1000, 12.0, 1.5, 800.0, 512.0, 0)
SECOND = replace(FIRST, epoch=2, loss=2.25, images=2000, speed=500.0)


def test_lines_are_read_back_and_what_is_no_line_is_passed_over(tmp_path: Path) -> None:
    assert epochs.read(tmp_path) == []
    for line in (FIRST, SECOND):
        epochs.append(tmp_path, line)
    for damage in ('{"epoch": 3, "lo', "[]", "null", '{"epoch": 3}', "\x00\xff", '{"loss": NaN}'):
        with (tmp_path / epochs.EPOCHS).open("a") as file:
            file.write(damage + "\n")
    for part in (
        {"loss": float("nan")},
        {"top1": "high"},
        {"speed": None},
        {"epoch": 0},
        {"images": 1.5},
        {"gpus": []},
    ):
        epochs.append(tmp_path, replace(SECOND, **{"epoch": 3, **part}))
    assert epochs.read(tmp_path) == [FIRST, SECOND]
    epochs.begin(tmp_path, 1)
    assert epochs.read(tmp_path) == [FIRST]
    epochs.begin(tmp_path, 0)
    assert epochs.read(tmp_path) == []


def test_a_training_that_cannot_write_its_lines_goes_on(tmp_path: Path) -> None:
    (tmp_path / epochs.EPOCHS).mkdir()
    epochs.append(tmp_path, FIRST)
    epochs.begin(tmp_path, 1)
    assert epochs.read(tmp_path) == []


def test_what_is_left_follows_from_the_speed_of_the_last_epoch() -> None:
    assert SECOND.left == 2 * 1000 / 500
    assert SECOND.short == "top-1 31.2 %, 500 images/s, about 4 s left"
    many = replace(SECOND, top1=None, gpus=8, epochs=3602)
    assert many.short == "500 images/s, about 2 h left (16.0 GPU-hours)"


def test_status_and_site_show_a_running_training(tmp_path: Path) -> None:
    store, job, graph = Store(tmp_path), replace(example("train"), inputs={}), Graph()
    graph.add(job)
    folder = store.prepare(job)
    epochs.append(folder, FIRST)
    write_json(folder / "progress.json", {"epoch": 2, "epochs": 4, "step": 1, "steps": 2, "loss": 2.0})
    assert lease.acquire(folder)
    try:
        said = JobStates(graph, store).line(job.key)
    finally:
        lease.release(folder)
    assert said == "running, 38%, epoch 2/4, loss 2.000, top-1 31.2 %, 800 images/s, about 4 s left"
    facts = JobFacts(job, 0, "running", None, "", (), 1, "run", store.epochs(job.key))
    (point,) = facts.curve()
    assert (point.epoch, point.loss, point.validation) == (1, 2.5, 31.25)


def test_logs_are_followed_until_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("shown before\n")
    turns = 0

    def running() -> set[Path]:
        nonlocal turns
        turns += 1
        with one.open("a") as file:
            file.write(f"epoch {turns}\n")
        if turns == 2:
            other.write_text("begun\x1b[31m later\n")
        return {one, other} if turns < 3 else set()

    monkeypatch.setattr(cluster_commands, "ASKED_SECONDS", 0.0)
    monkeypatch.setattr(cluster_commands, "FOLLOWED_SECONDS", 0.0)
    cluster_commands._follow({one}, running)
    lines = f"--- {one}\nepoch 1\nepoch 2\n--- {other}\nbegun�[31m later\n--- {one}\nepoch 3\n"
    assert capsys.readouterr().out == lines
