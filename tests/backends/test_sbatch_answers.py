"""What sbatch prints, and what it does not: nothing is submitted twice, nothing is taken for refused that is not."""

from __future__ import annotations

import json
import os

import pytest
from lab import AFTER, KEY, Lab, Setting

from replicate.backends.doctor import probe, site
from replicate.backends.doctor.visit import Visit
from replicate.backends.slurm.client import Client, number_of
from replicate.backends.slurm.submission import read_submissions
from replicate.errors import ClusterDown, ClusterRefused, Unanswered

_TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
_AWAY = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n"


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("Submitted batch job 12\n", "12"),
        ("12\n", "12"),
        ("12;b\n", "12"),
        ("Submitted batch job 12 on cluster b\n", "12"),
        ("Welcome! job 4711 of yours has ended\nSubmitted batch job 12\nsee job 99 for more\n", "12"),
        ("\x1b[1m4711 core hours left\x1b[0m\n  12  \n", "12"),
        ("3\n12;lab\n\n", "12"),
        ("", None),
        ("job 4711 was not submitted\n", None),
        ("0\n", None),
        ("-12\n12.5\n١٢\n", None),
        ("99999999999999999999999\n", None),
    ],
)
def test_numbers(said: str, number: str | None) -> None:
    assert number_of(said) == number


@pytest.mark.parametrize(
    "says", ["@\n", "@;lab\n", "job 4711 has ended\nSubmitted batch job @\nbye\n", "", "thank you\n", "job 4711\n"]
)
def test_whatever_sbatch_prints(lab: Lab, set_env: Setting, says: str) -> None:
    """Where it prints no number, squeue has it, by the name."""
    set_env(SBATCH_SAYS=says)
    step = lab.step()
    assert step.submitted == {KEY: "1001_0", AFTER: "1002_0"}
    assert "submitted 1002: 1 predict job in 1 task, after afterok:1001_0" in lab.said.lines
    assert lab.step().submitted == {}


@pytest.mark.parametrize("says", ["", "Submitted batch job @\n"])
def test_timed_out_but_queued(lab: Lab, set_env: Setting, says: str) -> None:
    set_env(SBATCH_SAYS=says, SBATCH_ERR=_TIMED_OUT, SBATCH_RC="1")
    assert lab.step().submitted == {KEY: "1001_0", AFTER: "1002_0"}
    assert lab.sent == 2
    assert all(submission.job for submission in read_submissions(lab.store.root))


def test_timed_out_and_queued_later(lab: Lab, set_env: Setting) -> None:
    """The map stays, since the job may be there; nothing is submitted again before it is surely not."""
    set_env(SBATCH_SAYS="", SBATCH_ERR=_TIMED_OUT, SBATCH_RC="1", TAKES="0")
    step = lab.step()
    said = "Slurm did not say whether it took the array; it is looked for by its name"
    assert step.submitted == {}
    assert said in step.notes[0]
    (submission,) = read_submissions(lab.store.root)
    assert (submission.folder / "map.json").exists()
    assert "Socket timed out on send/recv operation" in submission.doubt
    assert lab.step().states.views[KEY].state == "pending"
    assert lab.sent == 1
    taken = {"number": 1001, "index": 0, "state": "PENDING", "name": submission.job_name, "comment": "(null)"}
    (lab.folder / "jobs.json").write_text(json.dumps([taken]))
    set_env(SBATCH_SAYS=None, SBATCH_ERR=None, SBATCH_RC=None, TAKES=None)
    step = lab.step()
    assert step.states.line(KEY) == "queued: None (it has not been looked at yet, or nothing holds it), job 1001_0"
    assert step.submitted == {AFTER: "1002_0"}
    assert "submitted 1002: 1 predict job in 1 task, after afterok:1001_0" in lab.said.lines


def test_timed_out_and_never_queued(lab: Lab, set_env: Setting) -> None:
    set_env(SBATCH_SAYS="", SBATCH_ERR=_TIMED_OUT, SBATCH_RC="1", TAKES="0")
    lab.step()
    lab.older(3600)
    set_env(SBATCH_SAYS=None, SBATCH_ERR=None, SBATCH_RC=None, TAKES=None)
    assert sorted(lab.step().submitted) == [AFTER, KEY]


@pytest.mark.parametrize("test_only", ["0", "1"])
def test_an_outage_is_waited_for(lab: Lab, set_env: Setting, test_only: str) -> None:
    lab.patience(10.0)
    set_env(SBATCH_ERR=_AWAY, SBATCH_RC="1", SBATCH_TEST=test_only, SBATCH_ERR_TIMES="3" if test_only == "0" else "1")
    assert sorted(lab.step().submitted) == [AFTER, KEY]
    assert len(lab.calls("sbatch")) == 5


@pytest.mark.parametrize("test_only", ["0", "1"])
def test_an_outage_is_no_mistake_in_the_call(lab: Lab, set_env: Setting, test_only: str) -> None:
    set_env(SBATCH_ERR=_AWAY, SBATCH_RC="1", SBATCH_TEST=test_only)
    with pytest.raises(ClusterDown, match="sbatch: Batch job submission failed: Unable to contact slurm") as down:
        lab.step()
    assert down.value.exit_code == 3
    assert not isinstance(down.value, Unanswered)
    # It was surely not taken.
    assert read_submissions(lab.store.root) == []


def test_a_refusal_is_one(lab: Lab, set_env: Setting) -> None:
    set_env(SBATCH_ERR="sbatch: error: Batch job submission failed: Invalid qos specification\n", SBATCH_RC="1")
    with pytest.raises(ClusterRefused, match="Invalid qos specification") as refused:
        lab.slurm.run(lab.graph, lab.store, ["tiny"])
    assert refused.value.exit_code == 2
    assert read_submissions(lab.store.root) == []


def test_without_sacctmgr(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As without sacct: no limit is known of."""
    for program in ("sacctmgr", "sacct"):
        (lab.folder / "bin" / program).unlink()
    monkeypatch.setenv("PATH", str(lab.folder / "bin"))
    assert sorted(lab.step().submitted) == [AFTER, KEY]


def test_the_doctor_where_sbatch_prints_no_number(lab: Lab, set_env: Setting) -> None:
    set_env(SBATCH_SAYS="thank you\n")
    visit = Visit(lab.profile, Client({**os.environ}, patience=0.0), lab.folder / "visit", ["train"])
    finding = visit.submit(probe.Question("nonce", []))
    assert finding is not None
    assert (finding.level, finding.text) == ("fail", "sbatch gives no number: thank you")
    set_env(SBATCH_SAYS="job 4711\n@;lab\n")
    visit = Visit(lab.profile, Client({**os.environ}, patience=0.0), lab.folder / "again", ["train"])
    assert visit.submit(probe.Question("nonce", [])) is None
    assert visit.job == "1002"


def test_a_site_that_refuses_comments(lab: Lab, set_env: Setting) -> None:
    set_env(SBATCH_ERR="sbatch: error: leave --comment to the site\n", SBATCH_RC="1", SBATCH_TEST="1")
    advice = [line for fault in lab.step().refused for line in fault.help]
    assert "write comment = false in slurm/lab.toml: jobs are told by their names" in advice
    findings = [*site.examine(lab.profile, Client({**os.environ}, patience=0.0))]
    assert any(finding.help.startswith("write comment = false in the profile") for finding in findings)
