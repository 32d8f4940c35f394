"""A store filled at commit 155bfae, opened by this version: the same states, numbers, verdicts and nights.

``tests/fixtures/old_store/`` holds the store, the specs it was filled from, the script that made it, and what version
155bfae itself said of it: ``shown.json``. Every later version has to say the same. Where one says it in another form,
change how it is read here and leave that file as it is. Only where the store is made again is it written anew: run
this file in a checkout of that commit with UPDATE_GOLDEN=1.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, Call

FIXTURE = ROOT / "tests" / "fixtures" / "old_store"
GOLDEN = FIXTURE / "shown.json"
SMALL, UNTRAINED = "small", "untrained"
WORLDS = {"one seed": (), "two seeds": ("--seeds", "0,1"), "released weights": ("--from", "released")}
FIELDS = ("state", "value", "shown", "spread", "n_seeds", "correct", "images", "origin", "verdict")
"""Of a cell in the CSV. Not its error: 155bfae counted seeds or images in, this version both."""
FLOATS = ("value", "spread")
"""Those whose last digits may come out otherwise when a sum is written another way."""

VERDICTS = {"not decidable": "undecided"}
"""What 155bfae called a verdict that it did not have."""

FAILED = "train-deit-s-224-none-s0"


@dataclass(frozen=True)
class Old:
    """Commands on a copy of the old store."""

    call: Call
    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def run(self, *words: str, code: int) -> str:
        folders = ("--results", str(self.results), "--out", str(self.folder / "out"))
        done = self.call(*words, "--scale", "tiny", "--tables", str(FIXTURE / "tables"), *folders)
        assert (done.returncode, done.stderr) == (code, ""), done.stdout
        return str(done.stdout)

    def json(self, *words: str, code: int) -> Any:
        return json.loads(self.run(*words, "--json", code=code))


@pytest.fixture
def old(replicate: Call, tmp_path: Path) -> Old:
    with tarfile.open(FIXTURE / "store.tar.gz") as tar:
        tar.extractall(tmp_path / "results", filter="data")
    return Old(replicate, tmp_path)


def agrees(name: str, now: Any) -> None:
    """Whether ``now`` is what version 155bfae said under ``name``."""
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden[name] = now
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    then = golden[name]
    if name.startswith("cells"):
        then = {cell: {field: known[field] for field in FIELDS} for cell, known in then.items()}
    assert now == then


@pytest.mark.parametrize("world", WORLDS)
def test_states_of_jobs(old: Old, world: str) -> None:
    said = old.json("status", *WORLDS[world], code=1)
    assert said["damage"] == {}
    found = {job["key"]: [job["state"], (job["failure"] or {}).get("kind")] for job in said["jobs"]}
    kinds = {key.split("-")[0] for key, (state, _) in found.items() if state == "done"}
    assert kinds >= {"data", "train", "predict", "measure", "probe"}
    agrees(f"states, {world}", found)


@pytest.mark.parametrize("world", WORLDS)
def test_numbers_and_verdicts(old: Old, world: str) -> None:
    cells: dict[str, Mapping[str, str]] = {}
    # The probe of the second seed was never asked for.
    for table, code in ((SMALL, 1), (UNTRAINED, 3 if world == "two seeds" else 0)):
        old.run("table", "--id", table, "--no-run", "--format", "csv", *WORLDS[world], code=code)
        (path,) = (old.folder / "out").rglob(f"{table}.csv")
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                cells[f"{table}/{row['row']}/{row['column']}"] = {
                    name: f"{float(row[name]):.9g}" if name in FLOATS and row[name] else row[name] for name in FIELDS
                }
        shutil.rmtree(old.folder / "out")
    claims = old.json("table", "--id", SMALL, "--no-run", *WORLDS[world], code=1)["claims"]
    assert len(cells) == 16
    agrees(f"cells, {world}", cells)
    agrees(f"claims, {world}", {claim["text"]: VERDICTS.get(claim["verdict"], claim["verdict"]) for claim in claims})


def test_the_last_night_is_compared_with(old: Old) -> None:
    """Nothing moved since: the store is as that night left it."""
    night = old.json("nightly", "--no-run", code=2)
    assert night["changes"]["changes"] == []
    agrees("night", compared(night))


def test_the_night_before_is_compared_with(old: Old) -> None:
    """Its code was another, and most numbers moved: the later night is taken out of the store."""
    folder = old.results / ".nights" / "tiny"
    first, last = sorted(path.name for path in folder.glob("[0-9]*"))
    shutil.rmtree(folder / last)
    (folder / "latest").unlink()
    (folder / "latest").symlink_to(first)
    night = old.json("nightly", "--no-run", code=2)
    assert {change["kind"] for change in night["changes"]["changes"]} == {"moved", "within", "new"}
    agrees("night before", compared(night))


def compared(night: Mapping[str, Any]) -> dict[str, Any]:
    changes = [
        [change["table"], change["place"], change["kind"], change["was"], change["now"], rounded(change["difference"])]
        for change in night["changes"]["changes"]
    ]
    causes = {cause["key"]: cause["commits"] for change in night["changes"]["changes"] for cause in change["causes"]}
    named = {name: night[name] for name in ("code", "counts", "failed")}
    return named | {"since": night["changes"]["since"], "changes": sorted(changes), "causes": causes}


def rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 9)


def test_what_a_job_wrote_under_slurm_is_found(old: Old) -> None:
    """Its own log, its attempt and Slurm's log of the task; also where the submission is settled and put away."""
    said = old.run("logs", SMALL, "s_none", "top1", code=0)
    assert said.startswith(FAILED)
    assert "Diverged: train: a loss that is not finite" in said
    assert ".slurm/" in said
    said = old.run("logs", SMALL, "ti_none", "top1", code=0)
    assert said.startswith("predict-deit-ti-224-none-s0")
    for start in ("train-deit-ti-224-none-s0", "data-shapes"):
        (task,) = (json.loads(path.read_text())["task"] for path in old.results.glob(f"{start}-*/attempts/1/env.json"))
        assert (old.results / ".slurm" / "old" / task.partition("_")[0]).is_dir()


def test_a_submission_that_slurm_forgot(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("squeue", "sacct"):
        program = old.folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.folder / 'bin'}:/usr/bin:/bin")
    profile = old.folder / "lab.toml"
    shared = f'[paths]\nshared = "{old.folder}"\n[sbatch]\ntime = 60\n'
    profile.write_text(f'name = "lab"\npython = "/usr/bin/python3"\nshared_is_local = true\n{shared}')
    jobs = old.json("status", "--cluster", str(profile), code=1)["jobs"]
    agrees("states on the cluster", {job["key"]: [job["state"], job["class"]] for job in jobs})


@pytest.mark.parametrize("world", WORLDS)
def test_every_number_can_be_explained(old: Old, world: str) -> None:
    for place in json.loads(GOLDEN.read_text())[f"cells, {world}"]:
        table, row, column = place.split("/")
        assert old.run("explain", table, row, column, *WORLDS[world], code=0).count("made by") >= 1


def test_what_an_old_result_lacks_is_unknown(old: Old) -> None:
    """The second seed was computed outside a repository, so its results name no commit."""
    said = old.run("explain", SMALL, "ti_none", "top1", "--seeds", "0,1", code=0)
    assert "commit unknown" in said
    assert "commit 155bfae970fe" in said
    page = old.json("table", "--id", SMALL, "--no-run", "--seeds", "0,1", code=1)
    assert set(page["commits"]) > {"unknown"}


def test_nothing_of_it_is_computed_again(old: Old) -> None:
    """All results are taken for done, and checked byte by byte: the copy has no notes of earlier checks."""
    before = {path: path.read_bytes() for path in old.results.rglob("result.json")}
    assert not list(old.results.rglob(".verified.json"))
    old.json("status", code=1)
    assert len(list(old.results.glob("*/.verified.json"))) > 8
    assert {path: path.read_bytes() for path in old.results.rglob("result.json")} == before
