"""What is kept of a night: the snapshots of old ones are read and written as they are, and the summary says hours."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from command_line import ROOT
from filled_results import job_like

from replicate.jobs.job import HOUR
from replicate.nightly.agenda import Agenda, DueJob
from replicate.nightly.history import CELLS, Checked, Nights
from replicate.nightly.snapshot import Snapshot
from replicate.nightly.summary import Summary, as_json, as_markdown

OLD = ROOT / "tests" / "fixtures" / "old_store" / "store.tar.gz"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The snapshots that version 155bfae wrote."""
    root = tmp_path_factory.mktemp("old")
    with tarfile.open(OLD) as tar:
        tar.extractall(root, filter="data")
    texts = [path.read_text() for path in sorted(root.glob(f".nights/tiny/[0-9]*/{CELLS}"))]
    assert len(texts) == 2
    return texts


def test_an_old_snapshot_is_written_as_it_was_read(old: list[str]) -> None:
    for text in old:
        assert Snapshot.parse(text).text() == text


def test_a_damaged_snapshot_is_passed_over(old: list[str], tmp_path: Path) -> None:
    nights = Nights(tmp_path, "tiny")
    whole = Snapshot.parse(old[0])
    nights.write(1_700_000_000.0, {CELLS: old[0]})
    for number, damaged in enumerate((old[1].replace('"done"', '"failed"', 1), "{", "[]", "")):
        nights.write(1_700_000_100.0 + number, {CELLS: damaged})
        assert nights.last() == whole


def test_what_was_computed_again_is_noted_and_damage_passed_over(tmp_path: Path) -> None:
    nights = Nights(tmp_path, "tiny")
    nights.work.mkdir(parents=True)
    one, other = Checked(when=1.5, asked={"commit": "a"}), Checked(when=2.5, asked={})
    nights.note_checked({"one": one})
    nights.note_checked({"other": other})
    assert nights.checked() == {"one": one, "other": other}
    file = nights.work / "checked.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"bad": {"when": "soon"}, "worse": 3}))
    assert nights.checked() == {"one": one, "other": other}
    file.write_text("[1]")
    assert nights.checked() == {}


def test_the_summary_says_hours_in_full() -> None:
    job = job_like("predict-x", "predict")
    agenda = Agenda(over_budget=[DueJob(job, "not computed yet", 0.5 * HOUR)], skipped=[job], seconds=0.25 * HOUR)
    told = Summary("2026", "tiny", (0,), "here", {}, 24.0, run=True, agenda=agenda)
    said = json.loads(as_json(told))["agenda"]
    assert said["hours"] == 0.25
    assert said["left"] == [{"key": "predict-x", "reason": "not computed yet", "hours": 0.5}]
    assert (said["unasked"], said["owed"]) == (["predict-x"], [])
    assert "0.25 processor hours planned, of a budget of 24" in as_markdown(told)
