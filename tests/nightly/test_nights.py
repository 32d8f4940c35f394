"""Nights on a table that is trained in seconds: what each exit code means, and that a night survives its accidents."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from nightly.repository import Repository, cells_of, kill_session, wait_for

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

CELLS = {"none/ti_224", "none/s_224", "token/ti_224", "token/s_224"}
FLIP = ("replicate/engine/predict.py", "models.heads(network, some.to(device))")


def flip(repository: Repository) -> str:
    """Evaluate mirrored images from now on: other code, other decisions, same keys."""
    return repository.edit(*FLIP, FLIP[1].replace("some.to(device)", "some.flip(3).to(device)"))


def again(repository: Repository) -> list[Path]:
    return list((repository.results / ".nights" / ".work" / "again" / "tiny").glob("predict-*/job.json"))


def test_trainings_wait_until_they_are_asked_for(tmp_path: Path) -> None:
    repository = Repository.build(tmp_path / "house")
    told = repository.night(code=0)
    assert (told["counts"], told["computed"]) == ({"pending": 4}, [])
    assert len(told["agenda"]["unasked"]) == 5
    assert not list(repository.results.glob("*/job.json"))


def test_the_first_night(first: Repository) -> None:
    told = first.summary()
    assert (told["code"], told["changes"]["since"], told["counts"]) == (0, "", {"done": 4})
    assert len(told["computed"]) == 10
    assert told["agenda"]["unasked"] == []
    assert (first.folder / "out" / "tiny" / "report" / "index.html").is_file()
    cells = json.loads((first.latest / "cells.json").read_text())
    assert set(cells["tables"]["tiny"]["cells"]) == CELLS
    assert first.latest.is_symlink()


def test_the_same_night_twice(repository: Repository) -> None:
    before, rendered = repository.summary(), repository.rendered()
    told = repository.night(code=0)
    assert told["changes"] == {"since": before["when"], "same_values": True, "changes": [], "failed": {}}
    # Nothing is stale an hour after it was made by the same code.
    assert (told["rechecks"], told["computed"]) == ([], [])
    assert repository.rendered() == rendered
    told = repository.night("--again", code=0)
    assert [one["outcome"] for one in told["rechecks"]] == ["same"] * 4
    assert repository.rendered() == rendered
    assert not (repository.results / ".aside").exists()
    looked = repository.look("--again", code=0)
    assert (looked["run"], looked["rechecks"], len(looked["agenda"]["left"])) == (False, [], 4)


def test_other_code_moves_numbers(repository: Repository) -> None:
    old = repository.provenance("predict-deit-ti-224-none")["commit"]
    new = flip(repository)
    told = repository.night(code=1)
    moved = cells_of(told, "moved")
    assert set(moved) <= CELLS
    assert moved
    change = next(one for one in told["changes"]["changes"] if one["kind"] == "moved")
    assert abs(change["difference"]) > change["allowed"] == 0.3
    assert change["causes"][0]["commits"] == [old, new]
    text = (repository.latest / "summary.md").read_text()
    assert f"commit {old[:12]} → {new[:12]}" in text
    assert f"`{moved[0]}`" in text
    # The old result is kept, the new one says which code made it.
    aside = [one["aside"] for one in told["rechecks"] if one["outcome"] == "moved"]
    for path in aside:
        made = json.loads((repository.results / path / "result.json").read_text())["provenance"]
        assert made["commit"] == old
        assert repository.provenance(Path(path).name)["commit"] == new
        assert not (repository.results / Path(path).name / ".asked.json").exists()
    told = repository.night(code=0)
    assert (told["changes"]["changes"], told["rechecks"]) == ([], [])


def test_without_git_the_digest_says_that_the_code_changed(repository: Repository) -> None:
    """An unpacked release: no commit is known on either night."""
    shutil.rmtree(repository.code / ".git")
    told = repository.night(code=0)
    assert (told["rechecks"], told["made"]["commit"]) == ([], "unknown")
    path = repository.code / FLIP[0]
    path.write_text(path.read_text().replace(FLIP[1], FLIP[1].replace("some.to(device)", "some.flip(3).to(device)")))
    told = repository.night(code=1)
    assert cells_of(told, "moved")
    text = (repository.latest / "summary.md").read_text()
    assert "- changed since the last night: code " in text
    made = repository.provenance("predict-deit-ti-224-none")
    assert f"- code digest {made['code_digest'][:12]}, commit unknown\n" in text
    assert made["machine"]["kind"] == "cpu"
    assert repository.night(code=0)["rechecks"] == []


def test_another_package_is_noticed(repository: Repository, tmp_path: Path) -> None:
    info = tmp_path / "site" / "pillow-99.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pillow\nVersion: 99.0\n")
    path = f"{info.parent}:{repository.code}"
    told = repository.night(code=0, PYTHONPATH=path)
    assert [one["outcome"] for one in told["rechecks"]] == ["same"] * 4
    assert all(any("pillow" in cause and "→ 99.0" in cause for cause in one["cause"]) for one in told["rechecks"])
    assert "changed since: pillow" in told["agenda"]["again"][0]["reason"]
    assert repository.night(code=0, PYTHONPATH=path)["rechecks"] == []


def test_a_changed_recipe_is_trained_without_being_asked(repository: Repository) -> None:
    """Within the budget; and the numbers are compared with those before, however many nights lie between."""
    scale = repository.code / "tables" / "scales" / "tiny.toml"
    text = scale.read_text()
    assert '"warmup_epochs" = 1' in text
    scale.write_text(text.replace('"warmup_epochs" = 1', '"warmup_epochs" = 0'))
    repository.commit()
    told = repository.night("--budget", "0", code=1)
    assert set(cells_of(told, "vanished")) == CELLS
    assert (told["computed"], told["agenda"]["missing"]) == ([], [])
    assert {one["reason"] for one in told["agenda"]["left"]} >= {"its recipe changed", "reads a new network"}
    told = repository.night("--budget", "0", code=0)
    assert len(told["agenda"]["owed"]) == 5
    told = repository.night(code=1)
    assert cells_of(told, "new", "vanished") == []
    moved = [one for one in told["changes"]["changes"] if one["kind"] == "moved"]
    assert moved
    causes = {cause["before"].partition("-s0-")[0] for one in moved for cause in one["causes"]}
    assert any(cause.startswith("train-deit-") for cause in causes)
    assert all(one["was"] for one in moved)


def test_a_training_that_diverges(tmp_path: Path) -> None:
    repository = Repository.build(tmp_path / "house", DIVERGES)
    told = repository.night("--train", code=2)
    (failed,) = told["failed"]
    assert failed.startswith("train-deit-ti-224-none")
    assert told["failed"][failed].startswith("diverged")
    assert told["changes"]["failed"] == {failed: "new"}
    assert told["counts"] == {"failed": 1, "done": 3}
    told = repository.night("--train", code=2)
    assert (told["computed"], told["changes"]["failed"]) == ([], {failed: "since an earlier night"})


DIVERGES: dict[str, dict[str, Any]] = {"deit-ti-224/none": {"change": {"lr": 1e30, "warmup_lr": 1e30}}}


def test_without_its_images_a_night_still_says_how_things_stand(repository: Repository) -> None:
    spec = repository.code / "tables" / "scales" / "tiny.toml"
    before = spec.read_text()
    images = '{"source" = "imagefolder", "name" = "absent", "classes" = 10, "train" = 64, "test" = 100}'
    spec.write_text(re.sub(r'"imagenet" = \{[^}]*\}', f'"imagenet" = {images}', before))
    assert spec.read_text() != before
    told = repository.night("--train", code=3, REPLICATE_DATA="")
    assert "REPLICATE_DATA is not set (expected the folder that holds the image data sets)" in "".join(told["faults"])
    assert told["counts"] == {"pending": 4}


def test_faults_of_the_surroundings(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = repository.start("nightly", "--results", str(tmp_path / "file" / "results"))
    out, err = process.communicate(timeout=120)
    assert (process.returncode, "results cannot be written" in err) == (3, True)
    assert out.startswith("# Night of ")
    assert "no such option" in repository.night("--budgt", "3", code=3)["error"].lower()
    assert "no such program" in slurmless(repository)
    spec = repository.code / "tables" / "tiny.toml"
    spec.write_text(spec.read_text().replace("bold ", "bald "))
    assert "unknown key 'bald'" in "".join(repository.night(code=3)["faults"])


def slurmless(repository: Repository) -> str:
    """The fault of a night on a cluster where Slurm's programs are not: what is there is rendered all the same."""
    shared = repository.folder / "shared"
    profile = repository.folder / "lab.toml"
    profile.write_text(
        'name = "lab"\npython = "/usr/bin/python3"\nshared_is_local = true\n'
        f'[paths]\nshared = "{shared}"\n[sbatch]\ntime = 60\n'
    )
    told = repository.night("--cluster", str(profile), code=3, PATH="/nonexistent")
    assert told["counts"] == {"done": 4}
    return "".join(told["faults"])


def test_two_at_once_and_a_table_beside_them(repository: Repository) -> None:
    rendered = repository.rendered()
    one = repository.start("nightly", "--again")
    wait_for((repository.results / ".nights" / ".work" / "claim" / "owner.json").exists, one)
    table = repository.start("table", "--id", "tiny")
    told = repository.night(code=3)
    assert f"another night is running: process {one.pid} on " in told["error"]
    out, err = one.communicate(timeout=120)
    assert one.returncode == 0, out + err
    assert table.communicate(timeout=120)
    assert table.returncode == 0
    assert repository.rendered() == rendered
    assert not (repository.results / ".nights" / ".work" / "claim").exists()


def test_killed_in_the_middle(repository: Repository) -> None:
    """The next one takes over the claim and what was begun."""
    flip(repository)
    one = repository.start("nightly")
    wait_for(lambda: again(repository), one)
    kill_session(one)
    assert (repository.results / ".nights" / ".work" / "claim").exists()
    told = repository.night(code=1)
    assert len(told["rechecks"]) == 4
    assert again(repository) == []
    assert repository.night(code=0)["changes"]["changes"] == []


def test_stopped_in_the_middle(repository: Repository) -> None:
    """It leaves a summary, and nothing for the next one to clear up."""
    before = repository.summary()["when"]
    flip(repository)
    one = repository.start("nightly")
    wait_for(lambda: again(repository), one)
    one.send_signal(signal.SIGTERM)
    out, err = one.communicate(timeout=120)
    assert one.returncode == 3, out + err
    assert out.startswith("# Night of ")
    assert repository.summary()["faults"][0].startswith("stopped by a signal")
    assert not (repository.results / ".nights" / ".work" / "claim").exists()
    told = repository.night(code=1)
    assert (told["changes"]["since"], len(told["rechecks"])) == (before, 4)


def test_killed_while_a_result_is_replaced(repository: Repository) -> None:
    """Between taking the old result away and putting the new one there."""
    (old,) = repository.results.glob("predict-deit-ti-224-none*")
    shelf = repository.results / ".nights" / ".work" / "again" / "tiny"
    shelf.mkdir(parents=True, exist_ok=True)
    old.rename(shelf / old.name)
    assert repository.night(code=0)["computed"] == []
    assert (old / "result.json").exists()
