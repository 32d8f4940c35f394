"""The same bytes in every surrounding: no locale, no home, another ``replicate``, a results folder that others use."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import ROOT, TABLE, Call

HOSTILE = {
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "ascii",
    "HOME": "/nowhere",
    "XDG_CACHE_HOME": "/nowhere",
    "TMPDIR": "/nowhere",
    "MPLBACKEND": "module://nowhere",
    "PYTHONHASHSEED": "3",
    "TZ": "Pacific/Chatham",
}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_are_the_same_in_hostile_surroundings(
    replicate: Call, tables: Path, results: Path, tmp_path: Path
) -> None:
    modules = tmp_path / "modules"
    (modules / "replicate").mkdir(parents=True)
    (modules / "replicate" / "__init__.py").write_text("raise SystemExit('another package')\n")
    for name in ("errors", "text", "metrics", "specs", "store"):
        (modules / f"{name}.py").write_text("raise SystemExit('another module')\n")
    written = []
    for name, env in (("here", None), ("there", HOSTILE | {"PYTHONPATH": str(modules)})):
        out = tmp_path / name
        where = ("--results", str(results), "--tables", str(tables), "--out", str(out))
        call = ("table", "--id", TABLE, "--no-run", "--format", "tex,tex-bare,md,csv,html,json,macros", *where)
        done = replicate(*call, cwd=ROOT, env=env)
        assert (done.returncode, done.stderr) == (0, "")
        written.append(files_of(out))
    assert written[0] == written[1]
    assert len(written[0]) > 8


@pytest.mark.parametrize("command", [("status", "--id", TABLE), ("list",), ("claims",), ("table", "--id", TABLE)])
def test_what_others_leave_among_results_is_not_seen(
    replicate: Call, tables: Path, results: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    where = ("--results", str(results), "--tables", str(tables), "--out", str(tmp_path / "out"), "--json")
    call = (*command, *(["--no-run"] if command[0] == "table" else []), *where)
    before = replicate(*call)
    for folder in (results, *(path for path in results.iterdir() if path.is_dir() and not path.name.startswith("."))):
        for name in (".DS_Store", "._result.json", ".nfs00000000", "Thumbs.db", "result.json~"):
            (folder / name).write_bytes(b"\0\5\26\7")
        (folder / "lost+found").mkdir()
        (folder / ".snapshot").mkdir()
        (folder / "nowhere").symlink_to("/nowhere")
    (results / "train-copy of a folder").mkdir()
    (results / "train-copy of a folder" / "result.json").write_text("{}")
    after = replicate(*call)
    assert (before.returncode, before.stderr) == (0, "")
    assert (after.returncode, after.stdout, after.stderr) == (0, before.stdout, "")
