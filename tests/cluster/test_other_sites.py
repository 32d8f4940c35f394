"""Clusters that refuse, hide and overwrite, as an ordinary user meets them: the same bytes, and nothing twice.

Four things that sites do, each by itself and all at once. Root sees through all of them, so none of it is done as root.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.ordinary import NAME, Ordinary, admit
from cluster.small_project import Night, eventually, files_of
from cluster.small_table import TABLE, write_specs
from cluster.test_slurm_table import local, submissions
from cluster.testbed import boot, end

pytestmark = [pytest.mark.torch, pytest.mark.slurm, pytest.mark.slurm_fault, pytest.mark.flaky(reruns=2)]

ROWS = ("none", "hard")
EPOCHS = 20
LARGE = "n[3-4]"
"""The nodes that a `measure` job asks for."""
MOST = 3
COMMENT = """\
function slurm_job_submit(job, partitions, user)
    local file = io.open("{mark}")
    if file then
        file:close()
        job.comment = "stdenv:yes"
    end
    return slurm.SUCCESS
end
function slurm_job_modify(job, record, partitions, user)
    return slurm.SUCCESS
end
"""
"""A submit plugin that writes into each job's comment while a file is there."""


@contextmanager
def hidden(site: Ordinary) -> Iterator[None]:
    """The one partition that the user may use is a group's own, which squeue and sinfo show with -a only."""
    run = site.testbed.run
    run("scontrol", "update", "PartitionName=main", "Hidden=YES", "AllowAccounts=lab")
    run("scontrol", "update", "PartitionName=urgent", "AllowAccounts=staff")
    try:
        yield
    finally:
        run("scontrol", "update", "PartitionName=main", "Hidden=NO", "AllowAccounts=ALL")
        run("scontrol", "update", "PartitionName=urgent", "AllowAccounts=ALL")


@contextmanager
def comment(site: Ordinary) -> Iterator[None]:
    mark = site.testbed.folder / "etc" / "comments"
    mark.touch()
    try:
        yield
    finally:
        mark.unlink()


@contextmanager
def limit(site: Ordinary) -> Iterator[None]:
    change = ("sacctmgr", "-i", "modify", "qos", "normal", "set")
    site.testbed.run(*change, f"MaxSubmitJobsPerUser={MOST}")
    try:
        yield
    finally:
        site.testbed.run(*change, "MaxSubmitJobsPerUser=-1")


@contextmanager
def drained(site: Ordinary) -> Iterator[None]:
    site.testbed.run("scontrol", "update", f"NodeName={LARGE}", "State=DRAIN", "Reason=test")
    try:
        yield
    finally:
        open_again(site)


def open_again(site: Ordinary) -> None:
    if "drain" in site.testbed.run("sinfo", "-h", "-N", "-n", LARGE, "-o", "%T"):
        site.testbed.run("scontrol", "update", f"NodeName={LARGE}", "State=RESUME")


REFUSALS: dict[str, Callable[[Ordinary], Any]] = {
    "hidden": hidden,
    "comment": comment,
    "limit": limit,
    "drained": drained,
}


@pytest.fixture(scope="module")
def site() -> Iterator[Ordinary]:
    """A testbed of its own, which an ordinary user may submit to and whose submit plugin can be switched on."""
    if os.getuid() != 0:
        pytest.skip("only root can run the jobs of another user")
    booted = boot()
    try:
        (booted.folder / "etc" / "job_submit.lua").write_text(COMMENT.format(mark=booted.folder / "etc" / "comments"))
        booted.kill("slurmctld")
        yield admit(booted)
    finally:
        end(booted)


@pytest.fixture(scope="session")
def computed_here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("computed_here")
    write_specs(folder / "tables", ROWS, EPOCHS, counted=True)
    return local(folder, "--id", TABLE, "--tables", str(folder / "tables"), "--scale", "tiny")


@pytest.fixture
def refused(request: pytest.FixtureRequest, site: Ordinary) -> Iterator[list[str]]:
    """What the site does, by the names of `REFUSALS`."""
    names: list[str] = request.param.split()
    with ExitStack() as stack:
        stack.callback(site.testbed.clear)
        for name in names:
            stack.enter_context(REFUSALS[name](site))
        yield names


@pytest.fixture
def night(site: Ordinary, computed_here: Path) -> Night:
    found = Night(site.testbed, "site", ROWS, EPOCHS, site, counted=True)
    # One that asks for the nodes which may be drained, and whose number is the same each time.
    found.change(r"^\[kinds\.measure\]", "[kinds.architecture]")
    found.seed_with(computed_here / "results", "data-", "train-regnety")
    return found


ALL = " ".join(REFUSALS)
each = pytest.mark.parametrize("refused", [*REFUSALS, pytest.param(ALL, marks=pytest.mark.slurm_quick)], indirect=True)
together = pytest.mark.parametrize("refused", [ALL], indirect=True)


def queued(site: Ordinary) -> list[str]:
    """All jobs of the user, as root sees them."""
    return site.testbed.run("squeue", "-a", "-h", "-r", "-u", NAME, "-o", "%i").split()


def computing(site: Ordinary) -> list[str]:
    """Those of them that can run: not those that wait for a drained node."""
    rows = site.testbed.run("squeue", "-a", "-h", "-r", "-u", NAME, "-o", "%i %b %r").splitlines()
    closed = "drain" in site.testbed.run("sinfo", "-h", "-N", "-n", LARGE, "-o", "%T")
    return [row for row in rows if not (closed and "large" in row)]


def states(night: Night) -> dict[str, str]:
    """The kind of each job, and its state by `status`."""
    return {key: job["state"] for key, job in night.jobs().items()}


def shown(path: Path) -> str:
    """A rendered file without the digest of what is behind it."""
    return re.sub(r"\b[0-9a-f]{16}\b", "", path.read_text())


def whole(night: Night, computed_here: Path) -> None:
    """As computed here, and every job once."""
    assert files_of(night.results) == files_of(computed_here / "results")
    for name in ("small.tex", "small.csv", "small.html"):
        assert shown(night.folder / "out" / "tiny" / name) == shown(computed_here / "out" / "tiny" / name)
    here = {path.parent.name for path in (computed_here / "results").glob("*/result.json")}
    assert set(states(night)) == here
    computed = [key for key in here if not key.startswith(("data-", "train-regnety"))]
    assert {key: len(night.attempts(key)) for key in computed} == dict.fromkeys(computed, 1)


@each
def test_a_table(night: Night, site: Ordinary, computed_here: Path, refused: list[str]) -> None:
    told = night.step()
    assert submissions(told), told
    at_once = len(queued(site))
    assert at_once <= (MOST if "limit" in refused else 5)
    # Whatever is seen of them, they are not submitted again.
    again = night.step(code=None)
    if "limit" not in refused:
        assert not submissions(again), again
    shown = states(night)
    assert "lost" not in shown.values()
    assert "failed" not in shown.values()
    if "drained" in refused:
        others = [key for key in shown if not key.startswith("architecture-")]

        def rest_done() -> bool:
            if "limit" in refused:
                night.step(code=None)
            found = states(night)
            return all(found[key] == "done" for key in others)

        eventually(rest_done, 120, f"not all done: {states(night)}")
        (waiting,) = set(shown) - set(others)
        assert states(night)[waiting] == "pending"
        open_again(site)
    night.finish()
    whole(night, computed_here)


@together
@pytest.mark.slurm_quick
def test_a_night(night: Night, site: Ordinary, computed_here: Path, refused: list[str]) -> None:
    """As many nights as the limit makes of it; each says what it did."""
    nights = 0
    told: dict[str, Any] = {}
    while told.get("counts") != {"done": 4}:
        nights += 1
        assert nights < 8, told
        night.call("nightly", "--train", code=0)
        told = json.loads((night.results / ".nights" / "tiny" / "latest" / "summary.json").read_text())
        assert told["failed"] == {}
        assert len(queued(site)) <= MOST
        eventually(lambda: not computing(site), 120, "the jobs do not end")
        if nights == 3:
            open_again(site)
    assert nights > 1
    night.call("status", "--id", TABLE, code=0)
    night.call("table", "--id", TABLE, code=0)
    whole(night, computed_here)


@together
@pytest.mark.slurm_quick
def test_cancel_finds_what_is_queued(night: Night, site: Ordinary, refused: list[str]) -> None:
    night.testbed.run("scontrol", "update", "NodeName=n[1-2]", "State=DRAIN", "Reason=test")
    try:
        night.step()
        assert len(queued(site)) == MOST
        told = night.call("cancel", "--id", TABLE, code=0)
        assert told.count("cancelled ") >= MOST, told
        eventually(lambda: not queued(site), 20, "they stay in the queue")
    finally:
        night.testbed.run("scontrol", "update", "NodeName=n[1-2]", "State=RESUME")


@together
@pytest.mark.slurm_quick
def test_the_doctor_names_the_limit_and_fails_nothing(night: Night, refused: list[str]) -> None:
    told = json.loads(night.call("doctor", "--json", code=0))
    lines = {line["subject"]: line for line in told["findings"]}
    assert lines
    assert f"{MOST} jobs" in json.dumps(told)
