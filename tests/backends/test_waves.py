"""How jobs become arrays, and what those wait for."""

from __future__ import annotations

from filled_results import job_like

from replicate.backends.slurm.submission import Task
from replicate.backends.slurm.waves import Array, Unit, arrays_of, dependency, levels, units_of
from replicate.jobs.job import Job
from replicate.plan.graph import Graph


def job(key: str, *inputs: str) -> Job:
    return job_like(key, key.split("-")[0], {str(n): name for n, name in enumerate(inputs)})


def table_3(students: int = 3) -> Graph:
    """A teacher, students that learn from it, their fine-tunings by a second teacher, predictions."""
    graph = Graph()
    for one in (job("data"), job("train-t", "data"), job("train-t384", "data", "train-t")):
        graph.add(one)
    for n in range(students):
        graph.add(job(f"train-s{n}", "data", "train-t"))
        graph.add(job(f"train-f{n}", "data", f"train-s{n}", "train-t384"))
        graph.add(job(f"predict-f{n}", "data", f"train-f{n}"))
    return graph


def test_levels_follow_the_longest_chain() -> None:
    graph = table_3(2)
    waves = levels(graph, graph.jobs, graph.jobs)
    assert [[one.key for one in wave] for wave in waves] == [
        ["data"],
        ["train-t"],
        ["train-t384", "train-s0", "train-s1"],
        ["train-f0", "train-f1"],
        ["predict-f0", "predict-f1"],
    ]


def test_inputs_that_others_imply_are_not_waited_for() -> None:
    graph = table_3(1)
    (unit,) = units_of(graph, [graph.jobs["train-f0"]], graph.jobs, pack=1)
    assert unit.waits == {"train-s0", "train-t384"}
    (unit,) = units_of(graph, [graph.jobs["train-f0"]], ["train-f0", "train-s0"], pack=1)
    assert unit.waits == {"train-s0"}


def test_elements_pair_and_share_what_all_wait_for() -> None:
    graph = table_3(3)
    wave = [graph.jobs[f"train-f{n}"] for n in range(3)]
    placed = {"train-t384": Task("other", 2), **{f"train-s{n}": Task("students", n + 4) for n in range(3)}}
    (array,) = arrays_of("train", units_of(graph, wave, graph.jobs, 1), placed.__getitem__, 1000)
    assert sorted(array.units) == [4, 5, 6]
    assert array.units[5].jobs[0].key == "train-f1"
    ids = {"other": "7", "students": "9"}
    assert dependency(array, placed.__getitem__, ids) == "aftercorr:9,afterok:7_2"


def test_arrays_split_at_the_longest() -> None:
    units = [Unit((job(f"train-{n}"),), frozenset()) for n in range(10)]
    arrays = arrays_of("train", units, {}.__getitem__, 4)
    assert [sorted(array.units) for array in arrays] == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1]]
    assert dependency(arrays[0], {}.__getitem__, {}) == ""


def test_two_that_wait_for_the_same_element_do_not_share_an_index() -> None:
    units = [Unit((job(f"predict-{n}"),), frozenset({f"train-{n // 2}"})) for n in range(4)]
    placed = {"train-0": Task("a", 0), "train-1": Task("a", 1)}
    arrays = arrays_of("predict", units, placed.__getitem__, 100)
    assert [sorted(array.units) for array in arrays] == [[0, 1], [0, 1]]
    assert {one.key for array in arrays for unit in array.units.values() for one in unit.jobs} == {
        f"predict-{n}" for n in range(4)
    }


def test_only_those_that_wait_for_the_same_are_packed() -> None:
    graph = table_3(3)
    graph.add(job("predict-again", "train-f0"))
    wave = [graph.jobs[f"predict-{name}"] for name in ("f0", "f1", "f2", "again")]
    units = units_of(graph, wave, graph.jobs, pack=2)
    assert [[one.key for one in unit.jobs] for unit in units] == [
        ["predict-f0", "predict-again"],
        ["predict-f1"],
        ["predict-f2"],
    ]
    placed = {f"train-f{n}": Task("f", n) for n in range(3)}
    (array,) = arrays_of("predict", units, placed.__getitem__, 100)
    assert dependency(array, placed.__getitem__, {"f": "3"}) == "aftercorr:3"
    ready = units_of(graph, wave, [one.key for one in wave], pack=3)
    assert [len(unit.jobs) for unit in ready] == [3, 1]
    assert len(arrays_of("predict", ready, placed.__getitem__, 100)) == 1


def test_those_that_wait_for_one_element_share_an_array() -> None:
    """Students of one teacher beside the fine-tunings of networks that were trained with it."""
    placed = {"train-t": Task("first", 0), "train-a": Task("first", 1), "train-b": Task("first", 2)}
    waits = ["train-t"] * 10 + ["train-a", "train-b"]
    units = [Unit((job(f"train-{n}"),), frozenset({key})) for n, key in enumerate(waits)]
    arrays = arrays_of("train", units, placed.__getitem__, 100)
    assert [len(array.units) for array in arrays] == [10, 2]
    assert [dependency(array, placed.__getitem__, {"first": "7"}) for array in arrays] == ["afterok:7_0", "aftercorr:7"]
    ended = dependency(arrays[1], placed.__getitem__, {"first": "7", "students": "8"}, ["students"])
    assert ended == "aftercorr:7,afterany:8"


def test_pairs_are_found_beside_other_waits() -> None:
    """Fine-tunings that wait for a student and a second teacher, and one that waits for a student alone."""
    placed = {"train-t384": Task("other", 0), **{f"train-s{n}": Task("students", n) for n in range(4)}}
    both = [Unit((job(f"train-f{n}"),), frozenset({f"train-s{n}", "train-t384"})) for n in range(3)]
    alone = Unit((job("train-f3"),), frozenset({"train-s3"}))
    arrays = arrays_of("train", [*both, alone], placed.__getitem__, 100)
    ids = {"other": "7", "students": "9"}
    assert [dependency(array, placed.__getitem__, ids) for array in arrays] == [
        "aftercorr:9,afterok:7_0",
        "afterok:9_3",
    ]


def test_nothing_is_an_array_of_nothing() -> None:
    assert arrays_of("train", [], {}.__getitem__, 4) == []
    assert Array("train").units == {}


def with_answers() -> Graph:
    """Table 3 with two blocks of answers for its students."""
    graph = table_3(2)
    answers = [job(f"answers-{n}", "data", "train-t") for n in range(2)]
    jobs = {}
    for one in graph:
        jobs |= {block.key: block for block in answers if one.key == "train-s0"} | {one.key: one}
    return Graph(jobs, {f"train-s{n}": ("answers-0", "answers-1") for n in range(2)})


def test_a_student_waits_for_its_inputs_and_until_the_answers_have_ended() -> None:
    graph = with_answers()
    waves = levels(graph, graph.jobs, graph.jobs)
    assert [{one.key for one in wave} for wave in waves][2:4] == [
        {"train-t384", "answers-0", "answers-1"},
        {"train-s0", "train-s1"},
    ]
    placed = {f"answers-{n}": Task("answers", n) for n in range(2)} | {"train-t": Task("teacher", 0)}
    units = units_of(graph, waves[3], graph.jobs, 1)
    (array,) = arrays_of("train", units, placed.__getitem__, 1000)
    ids = {"answers": "7", "teacher": "5", "other": "9"}
    aids = {"answers-0", "answers-1"}
    assert dependency(array, placed.__getitem__, ids, ["other"], aids) == "afterok:5_0,afterany:7_0:7_1:9"


def test_answers_that_failed_for_good_are_not_waited_for() -> None:
    graph = with_answers().without_aids({"answers-0"})
    (unit,) = units_of(graph, [graph.jobs["train-s0"]], graph.jobs, 1)
    assert unit.waits == {"train-t", "answers-1"}
