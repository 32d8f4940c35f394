"""Nodes on which jobs fail within seconds are left out of what is submitted next."""

from __future__ import annotations

import json
import time
from pathlib import Path

from filled_results import job_like
from model_slurm import ModelSlurm, Site, option

from replicate.backends.slurm import bad_nodes as nodes
from replicate.backends.slurm.backend import Slurm
from replicate.plan.graph import Graph
from replicate.store.store import Store

Cluster = tuple[Slurm, ModelSlurm, Store, Graph]


def cluster(site: Site, **changes: object) -> Cluster:
    """Six trainings are submitted: the elements 0 to 5 of the array 100."""
    backend, slurm, store = site(**changes)
    graph = Graph()
    for number in range(6):
        graph.add(job_like(f"train-{number}", "train"))
    assert len(backend.step(graph, store, ["some"]).submitted) == 6
    return backend, slurm, store, graph


def end(slurm: ModelSlurm, node: str, *indices: int, state: str = "FAILED", after: str = "0:04") -> None:
    for index in indices:
        slurm.endings["100", index] = (state, node, after)
        slurm.ended.add(("100", index))


def next_script(slurm: ModelSlurm) -> str:
    return list(slurm.arrays.values())[-1].script


def test_a_node_that_ruins_jobs_is_left_out_for_a_while(site: Site) -> None:
    backend, slurm, store, graph = cluster(site)
    end(slurm, "n3", 0, 1, 2)
    step = backend.step(graph, store, ["some"])
    assert len(step.submitted) == 3
    assert option(next_script(slurm), "exclude") == "n3"
    (note,) = [note for note in step.notes if note.startswith("node n3 is left out until ")]
    assert note.endswith(": 3 different jobs failed there within seconds")
    states = backend.look(graph, store)
    assert states.remarks() == [note]
    path = store.root / ".slurm" / nodes.NODES
    # Slurm forgets it; the note stays, until its time is over.
    slurm.endings.clear()
    assert nodes.bad_nodes(store.root)
    body = json.loads(path.read_text())
    for ending in body["n3"]:
        ending["when"] = time.time() - nodes.AGAIN - 1
    path.write_text(json.dumps(body))
    assert nodes.bad_nodes(store.root) == []


def test_the_nodes_of_the_profile_stay_left_out(site: Site) -> None:
    backend, slurm, store, graph = cluster(site, sbatch={"time": 60, "exclude": "old1"})
    end(slurm, "n3", 0, 1, 2)
    backend.step(graph, store, ["some"])
    assert option(next_script(slurm), "exclude") == "old1,n3"


def test_a_node_that_is_asked_for_is_not_left_out(site: Site) -> None:
    backend, slurm, store, graph = cluster(site, sbatch={"time": 60, "nodelist": "n3"})
    end(slurm, "n3", 0, 1, 2)
    backend.step(graph, store, ["some"])
    assert option(next_script(slurm), "exclude") == ""


def test_the_only_node_is_not_left_out(site: Site) -> None:
    """sbatch --test-only finds no node without it."""
    backend, slurm, store, graph = cluster(site)
    slurm.refused_exclude = "Requested node configuration is not available"
    end(slurm, "n3", 0, 1, 2)
    assert len(backend.step(graph, store, ["some"]).submitted) == 3
    assert option(next_script(slurm), "exclude") == ""


def left_out(store: Store) -> list[str]:
    return [node.name for node in nodes.bad_nodes(store.root)]


def test_what_does_not_make_a_node_bad(site: Site) -> None:
    backend, slurm, store, graph = cluster(site)
    end(slurm, "n1", 0, 1)
    end(slurm, "n2", 2, 3, 4, after="3:00")
    end(slurm, "n[3-4]", 5)
    backend.step(graph, store, ["some"])
    assert left_out(store) == []


def test_a_success_after_failures_clears_a_node(site: Site) -> None:
    backend, slurm, store, graph = cluster(site)
    end(slurm, "n1", 0, 1, 2)
    backend.step(graph, store, ["some"])
    assert left_out(store) == ["n1"]
    end(slurm, "n1", 3, state="COMPLETED")
    backend.step(graph, store, ["some"])
    assert left_out(store) == []


def test_where_every_node_fails_the_jobs_are_at_fault(site: Site) -> None:
    backend, slurm, store, graph = cluster(site)
    end(slurm, "n1", 0, 1, 2)
    end(slurm, "n2", 3, 4, 5)
    backend.step(graph, store, ["some"])
    assert left_out(store) == []


def test_jobs_that_fail_wherever_they_run_say_nothing_of_a_node(site: Site) -> None:
    backend, slurm, store, graph = cluster(site)
    for number in range(3):
        store.folder(f"train-{number}").mkdir(exist_ok=True)
        failure = {"kind": "diverged", "message": "loss is nan", "retry": False}
        (store.folder(f"train-{number}") / "failure.json").write_text(json.dumps(failure))
    end(slurm, "n1", 0, 1, 2)
    backend.step(graph, store, ["some"])
    assert left_out(store) == []


def test_notes_that_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / ".slurm"
    folder.mkdir()
    for text in ("", "[]", '{"n1": 3}', '{"n1": [{"task": 1}, null]}', "{"):
        (folder / nodes.NODES).write_text(text)
        assert nodes.bad_nodes(tmp_path) == []
