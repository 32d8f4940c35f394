"""Worker processes in the surroundings of a batch job."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from command_line import environment

from replicate.backends.fork_server import preloaded
from replicate.errors import UserError

STARTED = """
import os, sys, tempfile
from replicate.backends.fork_server import preloaded

def work(folder):
    with open(os.path.join(folder, "done"), "w", encoding="utf-8") as file:
        file.write(str("replicate.render.symbols" in sys.modules))

if __name__ == "__main__":
    worker = preloaded([]).Process(target=work, args=(sys.argv[1],))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    print(tempfile.gettempdir())
"""


@pytest.mark.parametrize("temporary", ["long", "absent", "a file", "short"])
def test_a_worker_starts_whatever_tmpdir_is(tmp_path: Path, temporary: str) -> None:
    """A socket has an address of at most 107 bytes, and a batch job's folder is longer than that."""
    folder = tmp_path / ("d" * 120 if temporary == "long" else "t")
    if temporary == "a file":
        folder.touch()
    elif temporary != "absent":
        folder.mkdir()
    (tmp_path / "started.py").write_text(STARTED)
    call = [sys.executable, str(tmp_path / "started.py"), str(tmp_path)]
    done = subprocess.run(call, env=environment(TMPDIR=str(folder)), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "done").exists()
    # Only sockets go elsewhere, and nothing is left behind.
    assert (done.stdout.strip() == str(folder)) == folder.is_dir()
    assert not folder.is_dir() or os.listdir(folder) == []


def test_a_worker_imports_what_its_caller_does(tmp_path: Path) -> None:
    """The server of worker processes is a ``python -c``, which looks into the current folder first."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("replicate", "random", "selectors"):
        (elsewhere / f"{name}.py").write_text("import sys\nsys.exit('the module of the current folder')\n")
    (tmp_path / "started.py").write_text(STARTED.replace("preloaded([])", "preloaded(['replicate.render.symbols'])"))
    call = [sys.executable, str(tmp_path / "started.py"), str(tmp_path)]
    done = subprocess.run(call, env=environment(), cwd=elsewhere, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    # The server has loaded what it was told to; of a module that it does not find it says nothing.
    assert (tmp_path / "done").read_text() == "True"


def test_a_long_tmpdir_and_nothing_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "tempdir", long := str(tmp_path / ("d" * 120)))
    monkeypatch.setattr("multiprocessing.util.get_temp_dir", fail)
    with pytest.raises(UserError, match=r"^TMPDIR is too long for sockets: \d+ bytes, expected at most 70\n  export"):
        preloaded([])
    assert tempfile.tempdir == long
