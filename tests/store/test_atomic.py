"""Files are there whole or not at all, whatever happens to who writes them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import environment

from replicate.jobs.key import canonical
from replicate.store.files import replacing, write_bytes, write_json, write_text

WRITE_AND_HANG = """
import sys, time
from pathlib import Path
from replicate.jobs.key import canonical
from replicate.store.files import replacing
with replacing(Path(sys.argv[1])) as temporary, temporary.open("wb") as file:
    file.write(b"new" * 1000)
    file.flush()
    print("half", flush=True)
    time.sleep(60)
"""


def test_a_writer_killed_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    write_bytes(path, b"old")
    command = [sys.executable, "-c", WRITE_AND_HANG, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_bytes() == b"old"
    (left,) = [other for other in tmp_path.iterdir() if other != path]
    assert left.name.startswith(".weights.bin.")
    assert left.name.endswith(".tmp")


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.tex"
    write_text(path, "old")
    with suppress(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise ZeroDivisionError
    assert [other.name for other in tmp_path.iterdir()] == ["table.tex"]
    assert path.read_text() == "old"


def test_a_group_can_read_what_was_written(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "result.json", "{}")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "result.json").stat().st_mode) == 0o640


def test_json_is_sorted_and_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"b": "⚗", "a": [1]})
    assert (tmp_path / "x.json").read_text() == '{\n "a": [\n  1\n ],\n "b": "⚗"\n}\n'


def test_canonical_bytes() -> None:
    assert canonical({"b": 1, "a": [1.5, "é", None, True]}) == '{"a":[1.5,"é",null,true],"b":1}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": float("nan")})
