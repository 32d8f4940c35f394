"""Which of a task's lives count against ``requeue``: those at their time limit, and those that got no further."""

from __future__ import annotations

from pathlib import Path

import pytest
from filled_results import job_like

from replicate.backends.slurm.lives import Lives
from replicate.backends.slurm.node import NodeTask, Signals
from replicate.backends.slurm.submission import SubmissionMap, write_map
from replicate.store.files import write_json
from replicate.store.store import Store


def counted(folder: Path, *heights: float, timed: tuple[int, ...] = ()) -> int:
    """How many count when the last of these lives begins, each at such a height."""
    count = -1
    for restart, height in enumerate(heights):
        lives = Lives(folder, 0, restart)
        count = lives.begin(height)
        if restart in timed:
            lives.ends_in_time()
    return count


@pytest.mark.parametrize(
    ("heights", "timed", "count"),
    [
        ((0.0,), (), 0),
        # Preempted ten times, and further each time.
        ((0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), (), 0),
        # At its time limit each time.
        ((0.0, 0.1, 0.2, 0.3), (0, 1, 2), 3),
        ((0.0, 0.1, 0.2, 0.3), (1,), 1),
        # It dies before it gets anywhere.
        ((0.0, 0.0, 0.0, 0.0), (), 3),
        # It was further before: what is only computed again is no progress.
        ((0.0, 0.5, 0.3, 0.5, 0.6), (), 2),
    ],
)
def test_what_counts(tmp_path: Path, heights: tuple[float, ...], timed: tuple[int, ...], count: int) -> None:
    assert counted(tmp_path, *heights, timed=timed) == count


def test_lives_of_which_nothing_is_known_count(tmp_path: Path) -> None:
    assert Lives(tmp_path, 0, 4).begin(0.5) == 4
    (tmp_path / "lives_1.json").write_text('{"0": {"heigh')
    assert Lives(tmp_path, 1, 2).begin(0.5) == 2
    (tmp_path / "lives_2.json").write_text('{"0": 3, "x": {}}')
    assert Lives(tmp_path, 2, 2).begin(0.5) == 2
    # A full disk, or a folder that is away, is no error here.
    assert Lives(tmp_path / "nowhere", 0, 1).begin(0.5) == 1


def test_elements_are_counted_apart(tmp_path: Path) -> None:
    assert counted(tmp_path, 0.0, 0.0) == 1
    assert Lives(tmp_path, 1, 0).begin(0.0) == 0


def test_a_task_that_is_thrown_out_often_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven preemptions with `requeue = 2`; then three starts that get nowhere."""
    store, job = Store(tmp_path / "results"), job_like("train-a", "train")
    folder = store.prepare(job)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setattr(NodeTask, "_take_device", lambda self: True)
    monkeypatch.setattr(NodeTask, "_job", lambda self, key: job)
    monkeypatch.setattr(type(job), "engine_module", "json")
    started = []
    monkeypatch.setattr(NodeTask, "_perform", lambda self, key: started.append(key) or 0)
    map = SubmissionMap("0123456789ab", "train", {0: ["train-a"]}, store=str(store.root), requeue=2)
    submission = write_map(store.root, map)

    def life(restart: int, epoch: int) -> int:
        monkeypatch.setenv("REPLICATE_RESTART", str(restart))
        write_json(folder / "progress.json", {"epoch": epoch, "epochs": 20, "step": 1, "steps": 1})
        return NodeTask(submission, map, ["train-a"], Signals()).run()

    assert [life(restart, epoch=1 + restart) for restart in range(8)] == [0] * 8
    assert [life(restart, epoch=8) for restart in (8, 9, 10)] == [0, 0, 1]
    assert len(started) == 10
    said = store.trouble("train-a")
    assert said.startswith("restarts used up: 3 of 11 starts came to their time limit or got no further")
