"""``report`` as a user calls it, and the server that shows it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import ROOT, Call, environment
from filled_store import Report

from replicate.cli.report_command import server
from replicate.errors import UserError


def test_the_report_is_written_where_it_is_said(replicate: Call, table3: Path, report: Report, tmp_path: Path) -> None:
    results = report.folder.parent / "results"
    folders = ("--tables", str(table3), "--results", str(results), "--out", str(tmp_path))
    done = replicate("report", *folders)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "mini" / "report" / "index.html"))
    assert "damaged:" in done.stderr
    as_json = json.loads(replicate("report", "--json", *folders).stdout)
    assert Path(as_json["index"]).is_file()
    assert list(as_json["damage"]) == [report.left["damaged"].key]


def test_a_folder_that_cannot_be_written_is_the_users_mistake(replicate: Call, table3: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = replicate(
        "report", "--tables", str(table3), "--results", str(tmp_path), "--out", str(tmp_path / "file" / "in it")
    )
    assert done.returncode == 2
    assert "the report cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_readme_without_markers_is_the_users_mistake(replicate: Call, table3: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Title\n")
    done = replicate("report", "--readme", str(tmp_path / "README.md"), "--tables", str(table3))
    assert done.returncode == 2
    assert "needs these two lines" in done.stderr
    assert (tmp_path / "README.md").read_text() == "# Title\n"


@pytest.fixture
def port(report: Report) -> Iterator[int]:
    with server(report.folder, 0) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        assert running.server_address[0] == "127.0.0.1"
        yield int(running.server_address[1])
        running.shutdown()
        thread.join(timeout=5)


def ask(port: int, path: str, host: str | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    return connection.getresponse()


def test_the_server_shows_the_site_and_nothing_beside_it(port: int) -> None:
    assert ask(port, "/").status == 200
    assert b"DeiT" in ask(port, "/index.html").read()
    assert ask(port, "/tables/").status == 404  # no listing of folders
    for path in ("/../results", "/%2e%2e/results/", "/..%2f..%2fetc/passwd", "//etc/passwd"):
        assert ask(port, path).status == 404, path


def test_another_name_for_this_machine_is_refused(port: int) -> None:
    assert ask(port, "/", "evil.example").status == 403
    assert ask(port, "/", "evil.example:80").status == 403
    assert ask(port, "/", f"localhost:{port}").status == 200


def test_a_port_that_is_taken_is_named(report: Report) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"the report cannot be served at port {number}"):
            server(report.folder, number)


def test_ctrl_c_stops_the_server(table3: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "replicate", "report", "--serve", "--port", "0", "--tables", str(table3)]
    command += ["--results", str(tmp_path / "results"), "--out", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert said.startswith("http://127.0.0.1:")
        number = int(said.split(":")[2].partition("/")[0])
        assert ask(number, "/").status == 200
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert "stopped" in process.stderr.read()
