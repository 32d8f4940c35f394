"""`slurm/stage.sh`: an archive is unpacked once a node, whole or not at all, and nobody else's files are used."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from command_line import ROOT

STAGE = ROOT / "slurm" / "stage.sh"


def stage(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([STAGE, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "python").write_text("#!/bin/sh\n")
    (tmp_path / "env" / "large").write_bytes(os.urandom(4_000_000))
    path = tmp_path / "env.tar"
    with tarfile.open(path, "w") as file:
        file.add(tmp_path / "env", arcname=".")
    return path


def test_jobs_of_a_node_share_what_one_unpacks(archive: Path, tmp_path: Path) -> None:
    node = tmp_path / "node"
    started = [
        subprocess.Popen([STAGE, archive, node], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0] * 4, said
    assert sum(out.startswith(f"unpacked {archive}") for out, _ in said) == 1
    assert (node / "bin" / "python").read_text() == "#!/bin/sh\n"
    assert node.stat().st_mode & 0o777 == 0o700


def test_what_was_cut_off_is_unpacked_anew(archive: Path, tmp_path: Path) -> None:
    node = tmp_path / "node"
    (tmp_path / "node.part").mkdir()
    (tmp_path / "node.part" / "half").touch()
    assert stage(archive, node).returncode == 0
    assert not (node / "half").exists()
    assert not (tmp_path / "node.part").exists()


def test_a_damaged_archive_leaves_nothing(archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:1_000_000])
    done = stage(archive, tmp_path / "node")
    assert (done.returncode, "cannot unpack" in done.stderr) == (1, True)
    assert not (tmp_path / "node").exists()
    assert not (tmp_path / "node.part").exists()


def test_another_archive_does_not_replace_what_jobs_may_read(archive: Path, tmp_path: Path) -> None:
    node = tmp_path / "node"
    assert stage(archive, node).returncode == 0
    os.utime(archive, (1, 1))
    done = stage(archive, node)
    assert done.returncode == 1
    assert f"{node} on" in done.stderr
    assert "is from another archive" in done.stderr
    assert (node / "large").exists()


def test_a_link_of_somebody_is_not_followed(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "node").symlink_to(tmp_path / "elsewhere")
    done = stage(archive, tmp_path / "node")
    assert (done.returncode, "is another user's, or a link" in done.stderr) == (1, True)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("archive_name", "folder", "message"),
    [("none.tar", "node", "no such archive"), ("env.tar", "none/node", "no folder"), ("env.tar", "", "absolute")],
)
def test_refused(archive: Path, tmp_path: Path, archive_name: str, folder: str, message: str) -> None:
    done = stage(tmp_path / archive_name, str(tmp_path / folder) if folder else "node")
    assert (done.returncode, message in done.stderr) == (1, True)
