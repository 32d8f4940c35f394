"""What `plan` learns from finished jobs: of one run, of one network, of one kind, on one device."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import TABLE, Call, copied_tables
from filled_results import plan_of

from replicate.actions.estimate import estimate_run
from replicate.actions.learned import learn
from replicate.actions.paper import open_paper
from replicate.jobs.job import Job
from replicate.store import epochs
from replicate.store.epochs import EpochLine
from replicate.store.provenance import processor_name
from replicate.store.result import commit_result
from replicate.store.store import Store

GPU = "NVIDIA H200"


def finish(store: Store, job: Job, seconds: float, **machine: Any) -> None:
    """A result that took ``seconds`` on the GPU, or where ``machine`` says."""
    folder = store.prepare(job)
    made = {"processor": processor_name(), "machine": {"device": GPU, "kind": "cuda", "processes": 1} | machine}
    commit_result(folder, job.key, [], {}, {"wall_seconds": seconds}, made)


def job_of(graph: Any, start: str) -> Job:
    (job,) = [job for job in graph if job.key.startswith(start)]
    found: Job = job
    return found


def test_the_closest_finished_jobs_count(tmp_path: Path) -> None:
    plan, store = plan_of("paper", (0, 1)), Store(tmp_path)
    graph = plan.graph
    done, seed = job_of(graph, "train-deit-b-224-none-s0"), job_of(graph, "train-deit-b-224-none-s1")
    token, small = job_of(graph, "train-deit-b-224-token-s0"), job_of(graph, "train-deit-s-224-none-s0")
    answers = job_of(graph, "predict-deit-s-224-none-s0")
    assert learn(plan.specs, store, graph).seconds(seed) == seed.seconds
    finish(store, done, done.seconds / 40, processes=4)
    finish(store, token, token.seconds / 5)
    learned = learn(plan.specs, Store(tmp_path), graph)
    assert learned.device == GPU
    assert learned.seconds(seed) == pytest.approx(seed.seconds / 10), "four GPUs took a fortieth of the time"
    both = (done.seconds / 10 + token.seconds / 5) / (done.seconds + token.seconds)
    network = job_of(graph, "train-deit-b-224-token-s1")
    other = next(job for job in graph if job.kind == "train" and "deit-b-224" in job.key and job.run not in
                 (done.run, token.run))  # fmt: skip
    assert learned.seconds(network) == pytest.approx(network.seconds / 5)
    assert learned.seconds(other) == pytest.approx(other.seconds * both), "of the same network"
    assert learned.seconds(small) == pytest.approx(small.seconds * both), "of the same kind"
    assert (learned.knows(small), learned.knows(answers)) == (True, False)
    assert learned.seconds(answers) == answers.seconds


def test_other_devices_teach_nothing_and_epochs_of_earlier_processes_count(tmp_path: Path) -> None:
    plan, store = plan_of("mini", (0, 1)), Store(tmp_path)
    done, seed = job_of(plan.graph, "train-deit-s-224-none-s0"), job_of(plan.graph, "train-deit-s-224-none-s1")
    finish(store, done, 7.0)
    assert learn(plan.specs, Store(tmp_path), plan.graph).seconds(seed) == seed.seconds, "a GPU, at a CPU's scale"
    finish(store, done, 7.0, kind="cpu", device=processor_name())
    assert learn(plan.specs, Store(tmp_path), plan.graph).seconds(seed) == pytest.approx(7.0)
    for epoch in (1, 2):
        line = EpochLine(epoch, 2, 2.0, 1e-3, None, 100 * epoch, 12.0, 0.0, 8.0, 1.0, 0)
        epochs.append(store.folder(done.key), line)
    # It was resumed: the cost is of the last process alone.
    assert learn(plan.specs, Store(tmp_path), plan.graph).seconds(seed) == pytest.approx(24.0)


def test_a_network_without_an_estimate_is_unknown_until_a_run_of_it_is_done(replicate: Call, tmp_path: Path) -> None:
    tables = copied_tables(tmp_path)
    scale = tables / "scales" / "mini.toml"
    text = scale.read_text()
    stated = "seconds       = { 224 = 0.00045, 384 = 0.00074 }\n"
    assert text.count(stated) == 1
    scale.write_text(text.replace(stated, ""))
    places = ("--id", TABLE, "--tables", str(tables), "--results", str(tmp_path / "results"))
    facts = json.loads(replicate("plan", *places, "--json").stdout)
    unknown = {job["key"].rpartition("-")[0] for job in facts["jobs"] if job["seconds"] is None}
    assert "train-regnety-16gf-224-none-s0" in unknown
    assert "train-deit-b-224-token-s0" in unknown, "its teacher answers"
    assert "train-deit-b-224-none-s0" not in unknown
    assert facts["total"]["unknown"] == len(unknown) == facts["tables"][TABLE]["unknown"]
    said = replicate("plan", *places).stdout
    assert f"; and {len(unknown)} jobs of which nobody knows\n" in said
    assert said.count("  unknown  ") == len(unknown)
    plan, store = open_paper(tables, results=tmp_path / "results", seeds=(0, 1)), Store(tmp_path / "results")
    graph = plan.plan([TABLE]).graph
    finish(store, job_of(graph, "train-deit-s-224-token-s0"), 33.0, kind="cpu", device=processor_name())
    estimate = estimate_run(plan, TABLE)
    assert estimate.expected(job_of(graph, "train-deit-s-224-token-s1")) == pytest.approx(33.0)
    assert estimate.expected(job_of(graph, "train-deit-b-224-token-s1")) is None


def test_the_sum_stands_first_then_the_tables_then_the_jobs(replicate: Call, tmp_path: Path) -> None:
    said = replicate("plan", "--results", str(tmp_path)).stdout
    facts = json.loads(replicate("plan", "--results", str(tmp_path), "--json").stdout)
    assert said.index(" to run: about ") < said.index("\nBy table; ") < said.index("\ndata-shapes-")
    (line,) = [line for line in said.splitlines() if line.startswith(f"{TABLE} ")]
    assert f"{facts['tables'][TABLE]['missing']} jobs to run  about " in line
    assert sum(table["missing"] for table in facts["tables"].values()) > facts["total"]["missing"]
    one = json.loads(replicate("plan", "--id", TABLE, "--results", str(tmp_path), "--json").stdout)
    assert one["tables"][TABLE]["processor_seconds"] == one["total"]["processor_seconds"]


def test_the_longest_chain_leaves_out_what_is_done(tmp_path: Path) -> None:
    paper, store = open_paper(results=tmp_path, workers=100), Store(tmp_path)
    graph = paper.plan([TABLE]).graph
    before = estimate_run(paper, TABLE).wall_seconds
    teacher = next(job for job in graph if job.key.startswith("train-regnety-16gf-224"))
    students = [job for job in graph if teacher.key in job.inputs.values()]
    for job in students:
        # They have results, and what they read was moved away.
        finish(store, replace(job), 1.0)
    after = estimate_run(paper, TABLE).wall_seconds
    assert after < before
    left = [job for job in graph if job not in students]
    assert after == pytest.approx(max(_chain(job, left) for job in left))


def _chain(job: Job, jobs: list[Job]) -> float:
    behind = [_chain(other, jobs) for other in jobs if job.key in other.inputs.values()]
    return job.seconds + max(behind, default=0.0)
