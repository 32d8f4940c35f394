"""A results folder that cannot be written is said before anything is started, with exit code 2."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import TABLE, Call

from replicate.errors import StoreUnusable
from replicate.store.store import Store

Disk = Callable[..., Path]


def table(replicate: Call, results: Path, tmp_path: Path, *more: str) -> tuple[int, str, str]:
    done = replicate("table", "--id", TABLE, "--results", str(results), "--out", str(tmp_path / "out"), *more)
    return done.returncode, done.stdout, done.stderr


def fill_up(folder: Path) -> Path:
    path = folder / "ballast"
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 65536)
    return path


def test_a_full_disk(replicate: Call, tmp_path: Path, disk: Disk) -> None:
    results = disk("size=1m")
    fill_up(results)
    code, out, err = table(replicate, results, tmp_path)
    assert code == 2
    assert out == ""
    assert err == (
        f"error: {results}: results cannot be written: the disk is full (0 MB free)\n"
        "  make room, or name another folder with --results DIR\n"
    )


def test_a_read_only_folder(replicate: Call, tmp_path: Path, disk: Disk) -> None:
    results = disk("size=1m,ro")
    code, out, err = table(replicate, results, tmp_path)
    assert code == 2
    assert out == ""
    assert err == (
        f"error: {results}: results cannot be written: Read-only file system\n"
        "  name a folder that you may write with --results DIR\n"
    )


def test_a_folder_inside_a_file(replicate: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    results = tmp_path / "file" / "results"
    code, _, err = table(replicate, results, tmp_path)
    assert code == 2
    assert err.startswith(f"error: {results}: results cannot be written: Not a directory\n")


def test_a_file_in_place_of_the_folder(replicate: Call, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.touch()
    code, _, err = table(replicate, results, tmp_path)
    assert code == 2
    assert f"Directory '{results}' is a file." in err


def test_what_is_complete_is_shown_from_a_read_only_folder(
    replicate: Call, results: Path, tables: Path, tmp_path: Path, disk: Disk
) -> None:
    place = disk("size=32m")
    shutil.copytree(results, place, dirs_exist_ok=True)
    for stamp in place.glob("*/.verified.json"):
        stamp.unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    code, out, err = table(replicate, place, tmp_path, "--tables", str(tables))
    assert (code, err) == (0, "")
    assert "files in " in out


def test_out_that_cannot_be_written(replicate: Call, results: Path, tables: Path, disk: Disk) -> None:
    out = disk("size=1m,ro")
    done = replicate("table", "--id", TABLE, "--results", str(results), "--out", str(out), "--tables", str(tables))
    assert done.returncode == 2
    assert done.stderr == (
        f"error: the table cannot be written to {out}/mini: Read-only file system\n"
        "  name a folder that you may write with --out DIR; results are not touched\n"
    )


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    Store(tmp_path / "new" / "results").check_writable()
    assert list((tmp_path / "new" / "results").iterdir()) == []
    with pytest.raises(StoreUnusable):
        Store(Path("/proc/nothing/results")).check_writable()
