"""Limits of a site and refusals of sbatch: what is submitted all the same, and what is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster.small_table import write_specs
from command_line import ROOT, environment
from filled_results import job_like
from lab import stand_ins
from model_slurm import ModelSlurm, Site

from replicate.backends.doctor import site as doctor
from replicate.backends.slurm.client import user
from replicate.backends.slurm.limits import Limits
from replicate.errors import ClusterRefused
from replicate.plan.graph import Graph

HEAD = "Cluster|Account|User|Partition|ParentName|Def QOS|MaxSubmit|GrpSubmit"
QOS = "Name|Priority|GrpSubmit|MaxJobsPU|MaxSubmitPU|MaxSubmitPA"
KINDS = {kind: {"partition": kind} for kind in ("data", "train", "predict")}


def trainings(count: int) -> Graph:
    graph = Graph()
    for number in range(count):
        graph.add(job_like(f"train-{number}", "train"))
    return graph


def association(account: str, most: str = "", group: str = "", qos: str = "normal", name: str = user()) -> str:
    return f"lab|{account}|{name}|||{qos}|{most}|{group}"


@pytest.mark.parametrize(
    ("request_", "database", "partitions", "said"),
    [
        ({}, {}, "", None),
        ({}, {"show qos": f"{QOS}\nnormal|0|||3|\n"}, "", "QOS normal allows 3 jobs at once (MaxSubmitJobsPerUser)"),
        ({}, {"show qos": "Name|MaxSubmitJobsPU\nnormal|3\n"}, "", "QOS normal allows 3 jobs at once"),
        ({}, {"show qos": f"{QOS}\nnormal|0||||4\n"}, "", "QOS normal allows 4 jobs at once (MaxSubmitJobsPerAccount)"),
        ({"qos": "long"}, {"show qos": f"{QOS}\nnormal|0|||3|\nlong|0|9|||\n"}, "", "QOS long allows 9 jobs at once"),
        (
            {},
            {f"user={user()}": f"{HEAD}\n{association('vision', qos='gpu')}\n", "show qos": f"{QOS}\ngpu|0|||5|\n"},
            "",
            "QOS gpu allows 5 jobs at once",
        ),
        (
            {"partition": "main"},
            {"show qos": f"{QOS}\nnormal|0|||30|\npart|0||2|6|\n"},
            "PartitionName=urgent QoS=N/A\nPartitionName=main Default=YES QoS=part\n",
            "QOS part allows 6 jobs at once",
        ),
        (
            # Of the account that is used, not of the other one.
            {"account": "vision"},
            {f"user={user()}": f"{HEAD}\n{association('vision', '7')}\n{association('other', '1')}\n"},
            "",
            "the account vision allows 7 jobs at once (MaxSubmitJobs of the user)",
        ),
        (
            {},
            {
                "show user": "Def Acct\nvision\n",
                f"user={user()}": f"{HEAD}\n{association('vision', '7')}\n{association('other', '1')}\n",
            },
            "",
            "the account vision allows 7 jobs at once",
        ),
        (
            # A group's limit stands at an account above.
            {"account": "vision"},
            {
                f"user={user()}": f"{HEAD}\n{association('vision', '70')}\n",
                "account=vision": f"{HEAD}\nlab|vision|||physics|||\n{association('vision', '70')}\n",
                "account=physics": f"{HEAD}\nlab|physics|||root|||8\n",
            },
            "",
            "the account physics allows 8 jobs at once (GrpSubmitJobs)",
        ),
    ],
)
def test_the_smallest_limit_is_named(
    request_: dict[str, str], database: dict[str, str], partitions: str, said: str | None
) -> None:
    slurm = ModelSlurm(database=database, partitions=partitions, config={"ClusterName": "lab"})
    limits = Limits(slurm).of(dict(request_))
    if said is None:
        assert limits == ()
    else:
        assert str(limits[0]).startswith(said)


def test_a_database_that_enforces_nothing_limits_nothing() -> None:
    database = {"show qos": f"{QOS}\nnormal|0|||3|\n"}
    slurm = ModelSlurm(database=database, config={"AccountingStorageEnforce": "associations"})
    assert Limits(slurm).of({}) == ()


def test_a_known_limit_is_met_with_one_call(site: Site) -> None:
    backend, slurm, store = site()
    slurm.limit, slurm.database = 3, {"show qos": f"{QOS}\nnormal|0|||3|\n"}
    step = backend.step(trainings(8), store, ["some"])
    assert len(step.submitted) == 3
    assert len(slurm.submissions) == 1
    note = "5 jobs not submitted yet: the queue is full: QOS normal allows 3 jobs at once (MaxSubmitJobsPerUser)"
    assert step.notes == [note]
    assert backend.step(trainings(8), store, ["some"]).notes == [note]
    assert len(slurm.submissions) == 1
    slurm.ended |= {(number, index) for number, array in slurm.arrays.items() for index in array.indices}
    assert len(backend.step(trainings(8), store, ["some"]).submitted) == 3


@pytest.mark.parametrize("most", [1, 3, 5, 7])
@pytest.mark.parametrize("max_running", [None, 2])
def test_an_unknown_limit_is_found(site: Site, most: int, max_running: int | None) -> None:
    """Shorter arrays are tried until sbatch takes one; the next ones do not begin from the full length again."""
    backend, slurm, store = site(max_running=max_running)
    slurm.limit = most
    step = backend.step(trainings(32), store, ["some"])
    assert len(step.submitted) == most
    assert slurm.lengths == sorted(slurm.lengths, reverse=True)
    assert len(slurm.lengths) <= 5 + 2 * most
    assert "the queue is full: sbatch takes no more now: QOSMaxSubmitJobPerUserLimit" in step.notes[-1]
    assert not step.stuck


def test_no_job_into_an_empty_queue(site: Site) -> None:
    backend, slurm, store = site(poll_seconds=0.01)
    slurm.limit = 0
    step = backend.step(trainings(8), store, ["some"])
    assert step.stuck.startswith("Slurm takes no job, though you have none queued: sbatch takes no more now")
    report = backend.run(trainings(8), store, ["some"], wait=True)
    assert report.stuck == step.stuck
    slurm.database = {"show qos": f"{QOS}\nnormal|0|||0|\n"}
    calls = len(slurm.submissions)
    assert "QOS normal allows 0 jobs" in backend.step(trainings(8), store, ["some"]).stuck
    assert len(slurm.submissions) == calls


NO_NODES = "Requested node configuration is not available"
AWAY = [NO_NODES, "Required node not available (down, drained or reserved)"]


@pytest.mark.parametrize("words", AWAY)
def test_nodes_that_are_away_are_waited_for_in_the_queue(site: Site, words: str) -> None:
    backend, slurm, store = site(kinds=KINDS)
    slurm.refused_test = {"train": words}
    step = backend.step(trainings(2), store, ["some"])
    assert len(step.submitted) == 2
    assert [note for note in step.notes if words in note]
    assert not step.refused


@pytest.mark.parametrize("place", ["refused", "refused_test"])
def test_a_refused_kind_holds_back_itself_and_what_waits_for_it(site: Site, place: str) -> None:
    backend, slurm, store = site(kinds=KINDS)
    setattr(slurm, place, {"train": "Invalid account or account/partition combination specified"})
    graph = Graph()
    graph.add(job_like("data-a", "data"))
    graph.add(job_like("train-a", "train", {"data": "data-a"}))
    graph.add(job_like("predict-a", "predict", {"data": "data-a", "network": "train-a"}))
    graph.add(job_like("predict-b", "predict", {"data": "data-a"}))
    step = backend.step(graph, store, ["some"])
    assert set(step.submitted) == {"data-a", "predict-b"}
    (fault,) = step.refused
    assert fault.where == "slurm/lab.toml: train jobs"
    assert "Invalid account" in fault.what
    report = backend.run(graph, store, ["some"])
    assert report.refused == [fault]
    slurm.ended |= {(number, index) for number, array in slurm.arrays.items() for index in array.indices}


def test_where_all_is_refused_nothing_is_done(site: Site) -> None:
    backend, slurm, store = site(kinds=KINDS)
    slurm.refused_test = {"train": "Invalid account"}
    with pytest.raises(ClusterRefused, match="Invalid account"):
        backend.run(trainings(2), store, ["some"])
    assert not slurm.arrays
    assert not list(store.root.glob("*/job.json"))


def test_batches_that_cannot_be_shared_hold_back_their_kind(site: Site) -> None:
    backend, _, store = site(kinds={"train": {"ntasks_per_node": 7}})
    graph = Graph()
    graph.add(job_like("data-a", "data"))
    graph.add(job_like("train-a", "train", {"data": "data-a"}))
    step = backend.step(graph, store, ["some"])
    assert set(step.submitted) == {"data-a"}
    assert len(step.refused) == 1


def test_the_doctor_names_the_limit(site: Site, tmp_path: Path) -> None:
    backend, slurm, _ = site(kinds=KINDS)
    slurm.database = {"show qos": f"{QOS}\nnormal|0|||3|\n"}
    (warned,) = doctor._most_jobs(backend.profile, slurm, {"train": 8})
    assert (warned.level, warned.text) == ("warn", "QOS normal allows 3 jobs at once (MaxSubmitJobsPerUser)")
    assert "the longest wave has 8 tasks" in warned.help
    (fine,) = doctor._most_jobs(backend.profile, slurm, {"train": 2})
    assert fine.level == "ok"


def test_a_night_that_can_submit_nothing_is_a_fault_of_the_site(tmp_path: Path) -> None:
    tools = stand_ins(tmp_path)
    tables = write_specs(tmp_path / "tables")
    profile = tmp_path / "lab.toml"
    profile.write_text(
        f"name = 'lab'\npython = '/usr/bin/python3'\nshared_is_local = true\nvisible_seconds = 0\n"
        f"[paths]\nshared = '{tmp_path}'\n[sbatch]\ntime = 60\n"
    )
    environ = {"PATH": f"{tools}:{os.environ['PATH']}", "STAND_IN": str(tmp_path), "STAND_IN_LIMIT": "0"}
    where = ["--tables", tables, "--results", tmp_path / "results", "--out", tmp_path / "out", "--scale", "tiny"]

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "replicate", *words, *map(str, where), "--cluster", str(profile)]
        return subprocess.run(command, cwd=ROOT, env=environment(**environ), capture_output=True, text=True)

    night = call("nightly", "--train", "--budget", "1")
    assert night.returncode == 3, night.stderr
    assert "Slurm takes no job, though you have none queued" in night.stdout
    table = call("table", "--id", "small")
    assert table.returncode == 3
    assert "error: Slurm takes no job, though you have none queued" in table.stderr
