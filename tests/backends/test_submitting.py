"""What a step submits, against a model of Slurm: how many calls, in which order, and how much runs at once."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import TABLE
from filled_results import job_like, plan_of
from model_slurm import Site

from replicate.backends.slurm.submission import read_job, read_submissions
from replicate.jobs.job import to_json
from replicate.plan.graph import Graph
from replicate.store.store import Store


class Operations:
    """Counts how often this process asks about files or opens them."""

    def __init__(self) -> None:
        self._root, self._count = "", 0

    def note(self, path: object) -> None:
        self._count += bool(self._root) and str(path).startswith(self._root)

    @contextmanager
    def below(self, root: Path) -> Iterator[Callable[[], int]]:
        self._root, self._count = str(root), 0
        try:
            yield lambda: self._count
        finally:
            self._root = ""


@pytest.fixture(scope="module")
def counted() -> Operations:
    """An audit hook cannot be taken away, so there is one."""
    operations = Operations()
    heard = {"open", "os.scandir", "os.listdir", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime"}
    sys.addaudithook(lambda event, words: operations.note(words[0]) if event in heard and words else None)
    return operations


@pytest.fixture
def operations(counted: Operations, monkeypatch: pytest.MonkeyPatch) -> Operations:
    """Python tells audit hooks nothing of stat."""
    ask = os.stat

    def stat(path: object, *words: object, **more: object) -> os.stat_result:
        counted.note(path)
        return ask(path, *words, **more)

    monkeypatch.setattr(os, "stat", stat)
    return counted


def packed(store: Store) -> dict[str, list[list[str]]]:
    """Kind -> the jobs of each task, in the order of arrays and indices."""
    found: dict[str, list[list[str]]] = {}
    for submission in read_submissions(store.root):
        found.setdefault(submission.map.kind, []).extend(list(keys) for _, keys in sorted(submission.tasks.items()))
    return found


def many_seeds(count: int) -> Graph:
    graph = Graph()
    for seed in range(count):
        graph.add(job_like(f"train-s{seed}", "train", seed=seed))
        graph.add(job_like(f"predict-s{seed}", "predict", {"network": f"train-s{seed}"}, seed=seed))
    return graph


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=["one seed", "three seeds"])
@pytest.mark.parametrize("most", [1, 2, 4, 16])
@pytest.mark.parametrize("longest", ["8", "1001"])
def test_max_running_holds_for_the_whole_table(site: Site, seeds: tuple[int, ...], most: int, longest: str) -> None:
    """Table 3 has a wave of students, which wait for one teacher, mixed with fine-tunings, which wait for others."""
    backend, slurm, store = site(max_running=most)
    slurm.config["MaxArraySize"] = longest
    graph = plan_of(seeds=seeds).graph
    step = backend.step(graph, store, [TABLE])
    assert set(step.submitted) == set(graph.jobs)
    if longest == "1001":
        assert len(slurm.submissions) <= 10
    tasks = sum(len(array.indices) for array in slurm.arrays.values())
    for draw in range(5):
        slurm.ended.clear()
        at_once, ended = slurm.simulate(random.Random(draw))
        assert ended == tasks
        assert max(at_once.values()) <= most
    # It is a throttle, not a queue of one: where there is work it is used up.
    assert at_once["train"] == min(most, 13 if len(seeds) == 1 else 39) or most == 16


def test_without_a_throttle_nothing_waits_for_its_turn(site: Site) -> None:
    backend, slurm, store = site()
    backend.step(plan_of(seeds=(0, 1, 2)).graph, store, [TABLE])
    assert len(slurm.submissions) <= 10
    assert not any("afterany" in array.dependency or array.throttle for array in slurm.arrays.values())
    assert slurm.simulate(random.Random(0))[0]["train"] >= 27


def test_what_is_queued_already_counts(site: Site) -> None:
    """A second table is submitted while the first one waits: both share the throttle."""
    backend, slurm, store = site(max_running=4)
    for begin, end in ((0, 3), (3, 12), (12, 14)):
        graph = Graph()
        for number in range(begin, end):
            graph.add(job_like(f"train-{number}", "train"))
        assert len(backend.step(graph, store, ["some"]).submitted) == end - begin
    for draw in range(5):
        slurm.ended.clear()
        assert slurm.simulate(random.Random(draw))[0]["train"] == 4


def test_where_depth_is_limited_arrays_beyond_the_throttle_come_with_the_next_step(site: Site) -> None:
    backend, slurm, store = site(max_running=2, chain=False)
    slurm.config["MaxArraySize"] = "3"
    graph = Graph()
    for number in range(6):
        graph.add(job_like(f"train-{number}", "train"))
    assert len(backend.step(graph, store, ["some"]).submitted) == 4
    assert not any(array.dependency for array in slurm.arrays.values())


def test_the_most_urgent_come_first(site: Site) -> None:
    """What the longest chain waits for, then what most rest on; seeds in the order of numbers, not of letters."""
    backend, _, store = site(pack={})
    graph = Graph()
    for seed in range(12):
        graph.add(job_like(f"train-short-s{seed}", "train", seed=seed, seconds=10.0))
    graph.add(job_like("train-read-by-two", "train", seconds=10.0))
    graph.add(job_like("train-teacher", "train", seconds=5.0))
    graph.add(job_like("train-long", "train", seconds=20.0))
    graph.add(job_like("train-student", "train", {"teacher": "train-teacher"}, seconds=30.0))
    graph.add(job_like("predict-0", "predict", {"network": "train-read-by-two"}))
    graph.add(job_like("predict-1", "predict", {"network": "train-read-by-two"}))
    backend.step(graph, store, ["some"])
    order = [key for task in packed(store)["train"] for key in task]
    assert order[:4] == ["train-teacher", "train-long", "train-read-by-two", "train-short-s0"]
    assert order[3:15] == [f"train-short-s{seed}" for seed in range(12)]


def test_what_is_ready_is_packed_into_one_array(site: Site) -> None:
    backend, slurm, store = site(pack={"predict": 4})
    graph = Graph()
    for seed in range(11):
        graph.add(job_like(f"predict-s{seed}", "predict", seed=seed))
    backend.step(graph, store, ["some"])
    assert packed(store) == {
        "predict": [[f"predict-s{seed}" for seed in range(begin, min(begin + 4, 11))] for begin in (0, 4, 8)]
    }
    assert len(slurm.submissions) == 1


def test_evaluations_of_many_trainings_are_one_array(site: Site) -> None:
    """Each starts when its own training has ended; a pack would wait for the slowest of eight."""
    backend, slurm, store = site()
    graph = many_seeds(500)
    assert len(backend.step(graph, store, ["some"]).submitted) == 1000
    assert len([call for call in slurm.calls if call[0] == "sbatch"]) <= 10
    trainings, evaluations = slurm.arrays.values()
    assert evaluations.dependency == f"aftercorr:{trainings.number}"


def test_a_step_and_a_look_touch_few_files(site: Site, operations: Operations) -> None:
    """On a network file system each costs a millisecond or more of a login node."""
    backend, _, store = site()
    graph = many_seeds(200)
    backend.prepare(store)
    with operations.below(store.root) as count:
        backend.step(graph, store, ["some"])
    assert count() < len(graph) / 2
    fresh = Store(store.root)
    with operations.below(store.root) as count:
        states = backend.look(graph, fresh)
        found = [fresh.result(key) for key in graph.jobs]
    assert count() < len(graph) / 5
    assert {view.state for view in states.views.values()} == {"pending"}
    assert set(found) == {None}


def test_the_jobs_of_a_submission_are_described_in_it(site: Site) -> None:
    backend, _, store = site()
    graph = plan_of().graph
    backend.step(graph, store, [TABLE])
    for submission in read_submissions(store.root):
        for keys in submission.tasks.values():
            for key in keys:
                assert to_json(read_job(submission.folder, key)) == to_json(graph.jobs[key])
    assert not any(store.folder(key).exists() for key in graph.jobs)


def test_what_a_node_could_not_start_can_be_forgiven(site: Site) -> None:
    """Three tries that ended before Python began left no folder of the job."""
    backend, slurm, store = site()
    graph = Graph()
    graph.add(job_like("train-a", "train"))
    for _ in range(3):
        assert backend.step(graph, store, ["some"]).submitted
        slurm.fail_all()
    assert not backend.step(graph, store, ["some"]).submitted
    assert backend.step(graph, store, ["some"], retry=True).submitted
