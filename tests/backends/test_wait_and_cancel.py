"""``--wait`` of days: outages of the controller, and somebody who cancels in another terminal."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest
from lab import AFTER, KEY, Lab, Setting

from replicate.actions import jobs
from replicate.backends.backend import RunReport
from replicate.errors import ClusterDown, ClusterRefused, NoSlurm

_AWAY = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"


class Waiting:
    """``--wait`` in another terminal."""

    def __init__(self, lab: Lab) -> None:
        self.report: RunReport | None = None

        def wait() -> None:
            self.report = lab.slurm.run(lab.graph, lab.store, ["tiny"], wait=True)

        self.thread = threading.Thread(target=wait, daemon=True)
        self.thread.start()

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.05)

    def end(self) -> RunReport:
        self.thread.join(20)
        assert self.report is not None, "it waits for ever"
        return self.report


def test_what_was_cancelled_stays_so(lab: Lab) -> None:
    waiting = Waiting(lab)
    waiting.until(lambda: len(lab.said.lines) > 2)
    gone = lab.slurm.cancel(lab.slurm.look(lab.graph, lab.store), [KEY, AFTER])
    assert gone == {KEY: "1001_0", AFTER: "1002_0"}
    report = waiting.end()
    assert report.states is not None
    assert {view.state for view in report.states.views.values()} == {"absent"}
    assert lab.sent == 2
    who = report.states.views[KEY].why
    assert who.startswith("cancelled by ")
    assert who.endswith("; `table` or `retry` submits it again")
    assert f"2 jobs not submitted any more: {who}" in lab.said.lines
    # Looking changes nothing; a new call takes it back.
    assert lab.slurm.look(lab.graph, lab.store).views[KEY].why == who
    assert sorted(lab.slurm.run(lab.graph, lab.store, []).submitted) == [AFTER, KEY]
    assert lab.slurm.look(lab.graph, lab.store).views[KEY].state == "running"


def test_what_waits_for_something_cancelled_is_not_submitted(lab: Lab) -> None:
    lab.step()
    lab.slurm.cancel(lab.slurm.look(lab.graph, lab.store), [KEY])
    # Slurm cancels what waited for it.
    rows = lab.jobs()
    (lab.folder / "jobs.json").write_text(json.dumps([row | {"state": "CANCELLED"} for row in rows]))
    step = lab.step()
    assert step.submitted == {}
    assert step.states.views[AFTER].why == f"it waits for {KEY}, which was cancelled"


def test_retry_takes_a_cancelled_job_back(lab: Lab) -> None:
    lab.step()
    lab.slurm.cancel(lab.slurm.look(lab.graph, lab.store), [KEY, AFTER])

    class OfLab:
        def cluster(self, *_: object) -> object:
            return lab.slurm

        def graph(self, *_: object) -> object:
            return lab.graph

        def store(self) -> object:
            return lab.store

    again, report = jobs.retry_jobs(OfLab(), [KEY])  # type: ignore[arg-type]
    assert list(again) == [KEY]
    assert list(report.submitted) == [KEY]


def test_scancel_of_jobs_that_ended_meanwhile(lab: Lab, set_env: Setting) -> None:
    lab.step()
    states = lab.slurm.look(lab.graph, lab.store)
    set_env(SCANCEL_ERR="scancel: error: Kill job error on job id 1001_0: Invalid job id specified\n", SCANCEL_RC="1")
    assert sorted(lab.slurm.cancel(states, [KEY, AFTER])) == [AFTER, KEY]
    set_env(SCANCEL_ERR="scancel: error: Kill job error on job id 1001_0: Access/permission denied\n")
    with pytest.raises(ClusterRefused, match="Access/permission denied"):
        lab.slurm.cancel(states, [KEY, AFTER])


def test_a_wait_survives_outages(lab: Lab, set_env: Setting) -> None:
    waiting = Waiting(lab)
    waiting.until(lambda: len(lab.said.lines) > 2)
    set_env(SQUEUE_ERR=_AWAY, SQUEUE_RC="1")
    waiting.until(lambda: any("does not answer since" in line for line in lab.said.lines))
    time.sleep(1.0)
    # An answer of another kind does not end it either.
    set_env(SQUEUE_ERR="slurm_load_jobs error: Invalid job credential\n")
    time.sleep(0.5)
    assert waiting.thread.is_alive()
    set_env(SQUEUE_ERR=None, SQUEUE_RC=None)
    waiting.until(lambda: any("answers again" in line for line in lab.said.lines))
    told = [line for line in lab.said.lines if line.startswith("Slurm")]
    assert len(told) == 2
    assert "(squeue: slurm_load_jobs error: Unable to contact slurm controller (connect failure))" in told[0]
    assert lab.sent == 2
    lab.slurm.cancel(lab.slurm.look(lab.graph, lab.store), [KEY, AFTER])
    waiting.end()


def test_a_wait_that_begins_in_an_outage(lab: Lab, set_env: Setting) -> None:
    set_env(SQUEUE_ERR=_AWAY, SQUEUE_RC="1")
    with pytest.raises(ClusterDown):
        lab.slurm.run(lab.graph, lab.store, [])
    waiting = Waiting(lab)
    waiting.until(lambda: any("does not answer since" in line for line in lab.said.lines))
    set_env(SQUEUE_ERR=None, SQUEUE_RC=None)
    waiting.until(lambda: any("answers again" in line for line in lab.said.lines))
    waiting.until(lambda: lab.sent == 2)
    lab.slurm.cancel(lab.slurm.look(lab.graph, lab.store), [KEY, AFTER])
    waiting.end()


def test_no_wait_for_programs_that_are_not_here(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab.folder / "bin" / "squeue").unlink()
    monkeypatch.setenv("PATH", str(lab.folder / "bin"))
    with pytest.raises(NoSlurm) as missing:
        lab.slurm.run(lab.graph, lab.store, [], wait=True)
    assert missing.value.exit_code == 2
