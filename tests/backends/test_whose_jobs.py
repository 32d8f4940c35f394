"""Steps against programs that answer as those of other sites do: what is ours, and what silence means."""

from __future__ import annotations

import json
import re

import pytest
from lab import AFTER, KEY, Lab, Setting

from replicate.backends.slurm import node
from replicate.backends.slurm.submission import read_submissions
from replicate.backends.slurm.submitter import Step
from replicate.errors import ClusterDown, StoreUnusable
from replicate.plan.graph import Graph
from replicate.store import lease
from replicate.store.store import Store


def states(step: Step) -> dict[str, str]:
    return {key: view.state for key, view in step.states.views.items()}


QUEUED = {KEY: "running", AFTER: "running"}


@pytest.mark.parametrize(
    ("sites", "options"),
    [
        ({}, {}),
        ({}, {"comment": False}),
        ({"COMMENT": "(null)"}, {}),
        ({"COMMENT": "stdenv:yes"}, {}),
        ({"COMMENT": "cost=3|{}|gpu"}, {}),
        ({"NAME": "interactive", "COMMENT": "{};stdenv"}, {}),
        ({"NAME": "lab_{}|x", "COMMENT": "(null)"}, {}),
        ({"NAME": "{:.18}", "COMMENT": "(null)"}, {}),
        ({"COMMENT": "(null)", "SACCT_ERR": "Slurm accounting storage is disabled\n", "SACCT_RC": "1"}, {}),
        ({"HIDDEN": "1"}, {}),
        ({"CLUSTER": "b", "SBATCH_SAYS": "Submitted batch job @ on cluster b\n"}, {"extra": {"clusters": "b"}}),
        ({"CLUSTER": "b", "SBATCH_SAYS": "@;b\n"}, {"extra": {"cluster": "b"}}),
    ],
)
def test_whose_a_job_is(lab: Lab, set_env: Setting, sites: dict[str, str], options: dict[str, object]) -> None:
    """What was submitted is found again, so that nothing is submitted twice, and it can be cancelled."""
    set_env(**sites)
    lab.change(**({"sbatch": {"time": 60, **options}} if "extra" in options else options))
    first = lab.step()
    assert sorted(first.submitted) == [AFTER, KEY]
    assert lab.sent == 2
    lab.older(3600)
    again = lab.step()
    assert (states(again), lab.sent) == (QUEUED, 2)
    cancelled = lab.slurm.cancel(lab.slurm.look(lab.graph, lab.store), [KEY, AFTER])
    assert sorted(cancelled) == [AFTER, KEY]
    assert {job["state"] for job in lab.jobs()} == {"CANCELLED"}


def test_other_jobs_of_the_user_are_not_ours(lab: Lab) -> None:
    others = [
        {"number": 1, "index": 0, "state": "RUNNING", "name": "replicate-", "comment": "replicate:"},
        {"number": 2, "index": 0, "state": "PENDING", "name": "a|b|c", "comment": "(null)"},
        {"number": 3, "index": 0, "state": "RUNNING", "name": "replicate-doctor", "comment": "0123456789ab"},
    ]
    (lab.folder / "jobs.json").write_text(json.dumps(others))
    found = lab.slurm.look(lab.graph, lab.store)
    assert found.queue.rows == {}
    assert found.queue.counted() == 3
    assert sorted(lab.step().submitted) == [AFTER, KEY]


@pytest.mark.parametrize(
    "silence",
    [
        {"SQUEUE_EMPTY": "1"},
        {"SQUEUE_EMPTY": "1", "SQUEUE_RC": "0", "SQUEUE_ERR": "warning: answers are a minute old\n"},
    ],
)
def test_an_empty_squeue_is_outweighed_by_sacct(lab: Lab, set_env: Setting, silence: dict[str, str]) -> None:
    lab.step()
    lab.older(3600)
    set_env(**silence)
    step = lab.step()
    assert (states(step), lab.sent) == (QUEUED, 2)
    assert "sacct says RUNNING, though squeue does not show it" in step.states.line(KEY)
    assert len(lab.calls("squeue")) == 3
    # The controller itself, asked once the job was silent for long, knows it too.
    assert "scontrol show job -o 1001_0" in lab.calls("scontrol")


def test_jobs_that_only_accounting_remembers(lab: Lab, set_env: Setting) -> None:
    """The controller lost its state; accounting goes on calling them alive until somebody repairs it."""
    lab.step()
    set_env(SQUEUE_EMPTY="1", SCONTROL_ERR="slurm_load_jobs error: Invalid job id specified\n", SCONTROL_RC="1")
    assert states(lab.slurm.step(lab.graph, lab.store, [])) == QUEUED
    lab.older(3600)
    found = lab.slurm.look(lab.graph, lab.store)
    assert {view.state for view in found.views.values()} == {"lost"}


def test_an_empty_squeue_without_accounting(lab: Lab, set_env: Setting) -> None:
    lab.step()
    lab.older(3600)
    set_env(SQUEUE_EMPTY="1", SACCT_ERR="sacct: error: Problem talking to the database\n", SACCT_RC="1")
    for _ in range(2):
        step = lab.step()
        assert states(step) == {KEY: "pending", AFTER: "pending"}
        assert "squeue does not show it, and sacct does not answer; submitted again if" in step.states.line(KEY)
        assert step.notes[0].startswith("2 jobs: squeue does not show it, and sacct does not answer")
    set_env(SQUEUE_EMPTY=None)
    assert (states(lab.step()), lab.sent) == (QUEUED, 2)
    assert all(submission.unseen == {} for submission in lab.slurm.look(lab.graph, lab.store).submissions)


@pytest.mark.parametrize("words", ["slurm_load_jobs error: Unexpected message received\n", "error: cache is cold\n"])
def test_words_beside_an_empty_answer_are_no_answer(lab: Lab, set_env: Setting, words: str) -> None:
    lab.step()
    set_env(SQUEUE_ERR=words, SQUEUE_RC="0")
    with pytest.raises(ClusterDown, match=re.escape(words.strip().removeprefix("error: "))) as down:
        lab.step()
    assert down.value.exit_code == 3
    assert lab.sent == 2
    set_env(SQUEUE_ERR_TIMES=str(len(lab.calls("squeue")) + 1))
    assert (states(lab.step()), lab.sent) == (QUEUED, 2)


@pytest.mark.parametrize("name", ["100%done", "a%j", "back\\slash", "two\nlines"])
def test_results_where_sbatch_finds_no_logs(lab: Lab, name: str) -> None:
    with pytest.raises(StoreUnusable, match="sbatch replaces % and"):
        lab.slurm.step(lab.graph, Store(lab.folder / name / "results"), [])
    assert not (lab.folder / "calls").exists() or lab.sent == 0


@pytest.mark.parametrize("name", ["it's here", "a $HOME;b", "größe"])
def test_odd_results_folders(lab: Lab, name: str) -> None:
    store = Store(lab.folder / name)
    assert sorted(lab.slurm.step(lab.graph, store, []).submitted) == [AFTER, KEY]
    assert lab.slurm.step(lab.graph, store, []).submitted == {}


def test_elements_in_one_line(lab: Lab) -> None:
    """A site's own squeue that leaves out -r."""
    lab.step()
    rows = lab.jobs()
    waiting = {"number": 1001, "index": "[0,2-3%2]", "state": "PENDING", "name": rows[0]["name"], "comment": "(null)"}
    (lab.folder / "jobs.json").write_text(json.dumps([waiting, rows[1]]))
    assert states(lab.step()) == {KEY: "pending", AFTER: "running"}
    assert lab.slurm.cancel(lab.slurm.look(lab.graph, lab.store), [KEY]) == {KEY: "1001_0"}


def test_a_controller_that_tells_users_nothing_of_itself(lab: Lab, set_env: Setting) -> None:
    set_env(SCONTROL_ERR="slurm_load_ctl_conf error: Access/permission denied\n", SCONTROL_RC="1")
    assert sorted(lab.step().submitted) == [AFTER, KEY]
    assert sorted(lab.calls("scontrol")) == ["scontrol -a -o show partition", "scontrol show config"]


@pytest.mark.parametrize(
    ("settings", "quiet", "gone"),
    [
        ({}, 3600.0, False),
        ({"SQUEUE_EMPTY": "1"}, 3600.0, False),
        ({"SQUEUE_EMPTY": "1", "SACCT_EMPTY": "1"}, 100.0, False),
        ({"SQUEUE_EMPTY": "1", "SACCT_EMPTY": "1"}, 130.0, True),
        ({"SQUEUE_EMPTY": "1", "SACCT_ERR": "sacct: error: no database here\n", "SACCT_RC": "1"}, 590.0, False),
        ({"SQUEUE_EMPTY": "1", "SACCT_ERR": "sacct: error: no database here\n", "SACCT_RC": "1"}, 610.0, True),
        ({"SQUEUE_ERR": "slurm_load_jobs error: Invalid job credential\n", "SQUEUE_RC": "1"}, 3600.0, False),
    ],
)
def test_a_claim_as_seen_from_a_node(
    lab: Lab, set_env: Setting, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], quiet: float, gone: bool
) -> None:
    monkeypatch.setattr(node, "PATIENCE", 0.2)
    set_env(CLUSTER="b")
    lab.change(sbatch={"time": 60, "extra": {"clusters": "b"}})
    lab.step()
    submission = next(each for each in read_submissions(lab.store.root) if each.job == "1001")
    set_env(**settings)
    owner = lease.Owner("gpu17", 4711, 1, task=f"{submission.name}_0")
    assert node._gone(lab.store.root, owner, quiet) is gone


@pytest.mark.parametrize(("cluster", "lame"), [("", False), ("b", False), ("b", True)])
def test_a_node_puts_its_task_back(
    lab: Lab, set_env: Setting, monkeypatch: pytest.MonkeyPatch, cluster: str, lame: bool
) -> None:
    """On the cluster that the task runs on; a node that cannot ask where that is has its own controller left."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    if lame:
        set_env(
            SCONTROL_ERR="scontrol: error: Unable to connect to database\n", SCONTROL_RC="1", SCONTROL_ERR_TIMES="1"
        )
    assert node._requeue(cluster)
    where = f" --clusters={cluster}" if cluster else ""
    assert lab.calls("scontrol") == [f"scontrol{where} requeue 7_3", *(["scontrol requeue 7_3"] if lame else [])]


def test_a_night_puts_away_only_what_slurm_knows_to_be_over(lab: Lab, set_env: Setting) -> None:
    """Its results were moved: no job of the night's graph waits for them, but a job without its map fails."""
    lab.step()
    set_env(SQUEUE_EMPTY="1", SACCT_ERR="sacct: error: no database here\n", SACCT_RC="1")
    lab.slurm.rerun(Graph(), lab.store, [])
    assert len(read_submissions(lab.store.root)) == 2
    set_env(SACCT_ERR=None, SACCT_RC=None)
    lab.slurm.rerun(Graph(), lab.store, [])
    assert len(read_submissions(lab.store.root)) == 2
    (lab.folder / "jobs.json").write_text("[]")
    lab.slurm.rerun(Graph(), lab.store, [])
    assert read_submissions(lab.store.root) == []
