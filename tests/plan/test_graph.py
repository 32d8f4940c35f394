"""Laws of the graph: inputs come before what reads them, parts are closed, urgency falls along every edge."""

from __future__ import annotations

import pytest
from command_line import TABLE
from filled_results import job_like, plan_of
from hypothesis import given, settings
from hypothesis import strategies as st

from replicate.plan.graph import Graph


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    graph = Graph()
    for number in range(draw(st.integers(1, 25))):
        inputs = draw(st.lists(st.sampled_from(list(graph.jobs)), max_size=3, unique=True)) if graph.jobs else []
        seconds = draw(st.floats(0.0, 1e4))
        roles = {f"role{index}": key for index, key in enumerate(inputs)}
        graph.add(job_like(f"job{number}", "train", roles, seconds=seconds))
    return graph


def in_order(graph: Graph) -> bool:
    seen: set[str] = set()
    for job in graph:
        if not set(job.inputs.values()) <= seen:
            return False
        seen.add(job.key)
    return True


@given(graphs(), st.data())
@settings(max_examples=40)
def test_the_part_that_some_jobs_need(graph: Graph, data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.sampled_from(list(graph.jobs)), max_size=4))
    part = graph.needed_for(keys)
    assert in_order(part)
    assert set(keys) <= set(part.jobs)
    # Closed, and nothing more: every other job is read by something in the part.
    read = {key for job in part for key in job.inputs.values()}
    assert read <= set(part.jobs)
    assert set(part.jobs) - set(keys) <= read
    assert part.needed_for(keys).jobs == part.jobs


@given(graphs())
@settings(max_examples=40)
def test_urgency_falls_along_every_edge_by_the_cost_of_the_input(graph: Graph) -> None:
    urgency = graph.urgency()
    for job in graph:
        assert urgency[job.key] >= job.seconds
        for key in job.inputs.values():
            assert urgency[key] >= graph.jobs[key].seconds + urgency[job.key]
    ends = set(graph.jobs) - {key for job in graph for key in job.inputs.values()}
    for key in ends:
        assert urgency[key] == graph.jobs[key].seconds


@given(graphs(), st.data())
@settings(max_examples=40)
def test_a_job_serves_all_whose_part_of_the_graph_it_is_in(graph: Graph, data: st.DataObject) -> None:
    read = st.lists(st.sampled_from(list(graph.jobs)), max_size=3, unique=True).map(tuple)
    readers = data.draw(st.dictionaries(read, st.integers(1, 5), max_size=6))
    parts = {keys: graph.needed_for(keys).jobs for keys in readers}
    for key, served in graph.served(readers).items():
        assert served == sum(times for keys, times in readers.items() if key in parts[keys])


def test_a_job_is_in_it_once() -> None:
    graph = Graph()
    first = graph.add(job_like("a", "data"))
    assert graph.add(job_like("a", "data")) is first
    assert len(graph) == 1


def test_inputs_come_first() -> None:
    graph = Graph()
    with pytest.raises(ValueError, match="b reads a, which is not in the graph"):
        graph.add(job_like("b", "train", {"data": "a"}))


def test_the_plan_of_table_3() -> None:
    plan = plan_of(seeds=(0, 1))
    assert in_order(plan.graph)
    wanted = {key for cell in plan.cells[TABLE] for key in cell.keys}
    assert set(plan.graph.needed_for(wanted).jobs) == set(plan.graph.jobs)
    served = plan.served()
    teacher = next(key for key in served if key.startswith("train-regnety-16gf-224-none"))
    # Every distilled cell at 224 and 384 pixels (20 of 24) and both references rest on the teacher.
    assert served[teacher] == 22
    assert max(served.values()) == 26


def test_the_most_urgent_job_of_table_3_is_the_data_and_then_the_teacher() -> None:
    plan = plan_of()
    urgency = plan.graph.urgency()
    first, second, *_ = sorted(urgency, key=lambda key: -urgency[key])
    assert first.startswith("data-")
    assert second.startswith("train-regnety-16gf-224-none")
