"""A table whose students share their teacher's answers: the same weights as with a live teacher, whatever happens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_project import TinyProject, new_project

from replicate.jobs.answers import ANSWERS

pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def project(folder: Path, stored: bool) -> TinyProject:
    """stored: answers cost nothing but themselves; else so much that none are stored."""
    tiny = new_project(folder)
    scale = folder / "tables" / "scales" / "tiny.toml"
    kept = [
        line for line in scale.read_text().splitlines() if not line.startswith(('"job_seconds"', '"stream_seconds"'))
    ]
    costs = '"job_seconds" = 0.0\n"stream_seconds" = ' + ("0.0" if stored else "9.0")
    scale.write_text("\n".join([costs, *kept]) + "\n")
    return tiny


def test_two_students_share_the_answers_of_their_teacher(tmp_path: Path) -> None:
    with project(tmp_path / "live", stored=False) as live, project(tmp_path / "stored", stored=True) as stored:
        expected, done = live.table(), stored.table()
        assert (done.returncode, expected.returncode) == (0, 0), done.stderr
        assert "answers-" in done.stdout + done.stderr
        (key,) = {path.parent.name for path in stored.results.glob("answers-*/result.json")}
        assert not [*live.results.glob("answers-*")]
        assert live.weights() == stored.weights()
        assert len(stored.weights()) == 5
        student = stored.key("train-deit-ti-224-token")
        log = stored.results / student / "log.txt"
        assert f"the teacher's answers in epochs 1 to 2 are read from {key}" in log.read_text()
        # Cut short, while one student is still to be trained: it is said, and the teacher answers live.
        shutil.rmtree(stored.results / student)
        answers = stored.results / key / ANSWERS
        answers.write_bytes(answers.read_bytes()[:-10])
        assert stored.table().returncode == 0
        assert f"{key}/{ANSWERS}: cut short or edited" in log.read_text()
        assert "are read from" not in log.read_text()
        assert live.weights() == stored.weights()
