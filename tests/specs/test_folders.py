"""Folders of specs as people have them: lock files of editors, files of a Mac, links to nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Call

from replicate.backends.slurm.choose import find_profile
from replicate.errors import SpecError, UnknownName
from replicate.specs.load import load, scales

PROFILE = 'name = "lab"\npython = "/usr/bin/python3"\npaths = { shared = "/shared" }\n'


def clutter(folder: Path) -> None:
    """What editors and file managers leave beside ``x.toml``."""
    folder.mkdir(exist_ok=True)
    (folder / ".#x.toml").symlink_to("me@host.1:2")
    (folder / "._x.toml").write_bytes(b"\0\5\26\7\xff")
    (folder / ".x.toml.swp").write_bytes(b"b0VIM")
    (folder / "#x.toml#").write_text("id =")
    (folder / "x.toml~").write_text("id =")
    (folder / "x.toml.bak").write_text("id =")
    (folder / ".DS_Store").write_bytes(b"\0")
    (folder / ".nfs0001").touch()


def test_what_editors_leave_is_no_spec(replicate: Call, tables: Path, tmp_path: Path) -> None:
    before = json.loads(replicate("list", "--tables", str(tables), "--json").stdout)
    sound = scales(tables)
    for folder in (tables, tables / "scales", tables.parent / "figures", tables.parent / "slurm"):
        clutter(folder)
    done = replicate("list", "--tables", str(tables), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == before
    assert scales(tables) == sound
    assert "no fault" in replicate("check", "--tables", str(tables)).stdout


def test_a_link_to_nowhere_and_a_folder_are_named(tables: Path) -> None:
    (tables / "gone.toml").symlink_to("/nowhere/gone.toml")
    (tables / "folder.toml").mkdir()
    with pytest.raises(SpecError) as caught:
        load(tables, "mini")
    assert [str(fault) for fault in caught.value.faults] == [
        "tables/folder.toml: cannot be read: Is a directory",
        "tables/gone.toml: cannot be read: a link to nowhere",
    ]


def test_a_scale_that_cannot_be_read_stops_no_other_one(replicate: Call, tables: Path) -> None:
    (tables / "scales" / "gone.toml").symlink_to("/nowhere/gone.toml")
    assert list(load(tables, "mini").tables)
    done = replicate("check", "--tables", str(tables))
    assert done.stderr == "error: scales/gone.toml: cannot be read: a link to nowhere\n"


def test_profiles_that_are_none(tmp_path: Path) -> None:
    clutter(tmp_path)
    (tmp_path / "lab.toml").write_text(PROFILE)
    (tmp_path / "old.toml").mkdir()
    assert find_profile(None, tmp_path, {}, "login1") is None
    with pytest.raises(UnknownName, match=r"clusters: lab, local, old$"):
        find_profile("nowhere", tmp_path, {}, "login1")
    with pytest.raises(SpecError, match=r"old\.toml: cannot be read: Is a directory"):
        find_profile("old", tmp_path, {}, "login1")
    (tmp_path / "gone.toml").symlink_to("/nowhere/gone.toml")
    # It may be the profile of this very machine: training here because of a broken link would be worse.
    with pytest.raises(SpecError, match=r"gone\.toml: cannot be read: a link to nowhere"):
        find_profile(None, tmp_path, {}, "login1")
