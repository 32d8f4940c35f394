"""Steps against programs that answer as those of other sites do: what is ours, and what silence means."""

from __future__ import annotations

import json
import re

import pytest
from lab import AFTER, KEY, Lab, Setting

from replicate.backends.slurm.submitter import Step
from replicate.errors import ClusterDown, StoreUnusable
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
    assert found.queue.count == 3
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
