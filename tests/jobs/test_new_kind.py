"""A kind of job from outside: the commands that look at everything, and those that run, know it by its registration.

docs/extending.md adds one inside the package; this is what a package beside it does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ROOT, TABLE, copied_tables, environment

from replicate.jobs.job import Job, kinds, register

KIND = '''
"""Letters of a network's name: a kind of job, and the metric that reads it."""

from __future__ import annotations

from fractions import Fraction

from replicate import metrics
from replicate.jobs.job import Job, register
from replicate.metrics import Metric, Number


@register
class Letters(Job):
    """How often ``letter`` is in the name of the network."""

    name: str
    letter: str
    twice: bool = False

    neutral = {"twice": False}
    engine = "letters_engine"

    @classmethod
    def of_run(cls, expander, run, seed, on):
        spec = expander.specs.runs.runs[run]
        return expander.add(cls(run=run, seconds=1.0, name=spec.model, letter="t"), spec.model)


metrics.register(
    Metric(
        "letters",
        "Letters t in the name of the network.",
        lambda reading: Number(Fraction(reading.result.summary["letters"]), 0.0),
        job="letters",
        origin="counted here",
    )
)
'''

ENGINE = """
def run(job, inputs, folder, report, stop):
    (folder / "name.txt").write_text(job.name)
    return {"letters": job.name.count(job.letter) * (1 + job.twice)}
"""

SPEC = """
[table]
id        = "letters"
source    = "arXiv:2012.12877v2"
caption   = "Letters."
metric    = "letters"
bold      = "none"
decimals  = 0
tolerance = { default = 0 }
tolerance_reason = "None is needed."
columns   = [{ key = "here", header = "here" }]

[[rows]]
key   = "ti"
label = "Ti"
run   = "deit-ti-224/none"
paper = { here = 2 }
"""

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command line where a package beside this one registers a kind whenever Python starts."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "letters.py").write_text(KIND)
    (outside / "letters_engine.py").write_text(ENGINE)
    (outside / "sitecustomize.py").write_text("import letters\n")
    tables = copied_tables(tmp_path)
    (tables / f"{TABLE}.toml").unlink()
    (tables / "letters.toml").write_text(SPEC)
    folders = ("--tables", str(tables), "--results", str(tmp_path / "results"), "--out", str(tmp_path / "out"))

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        where = folders if words[0] != "check" else folders[:2]
        env = environment(PYTHONPATH=f"{outside}:{ROOT}")
        line = [sys.executable, "-m", "replicate", *words, *where]
        done = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    return call


@pytest.mark.torch
def test_every_command_knows_a_kind_from_outside(command: Command, tmp_path: Path) -> None:
    assert "no fault" in command("check").stdout
    plan = json.loads(command("plan", "--id", "letters", "--json").stdout)
    (planned,) = plan["jobs"]
    assert (planned["kind"], planned["seconds"]) == ("letters", 1.0)
    assert planned["key"].startswith("letters-deit-ti-")
    table = json.loads(command("table", "--id", "letters", "--json").stdout)
    (cell,) = (cell for cell in table["cells"] if cell["column"] == "here")
    assert (cell["shown"], cell["origin"]) == ("2", "counted here")
    stored = json.loads((tmp_path / "results" / planned["key"] / "job.json").read_text())
    assert stored["payload"] == {"kind": "letters", "version": 1, "name": "deit-ti", "letter": "t", "twice": False}
    assert planned["key"] in command("run", planned["key"], "--again").stdout
    explained = command("explain", "letters", "ti", "here").stdout
    assert "letters     name deit-ti, letter t, twice no" in explained
    assert "result      letters 2" in explained
    assert planned["key"] in command("status", "--json").stdout
    command("report")
    page = next(path for path in (tmp_path / "out").rglob("*.html") if planned["key"] in path.read_text())
    assert page.exists()
    command("nightly", "--no-run")


def test_a_kind_that_contradicts_itself_or_another_is_refused() -> None:
    before = dict(kinds())

    class Train(Job):
        kind = "train"

    with pytest.raises(ValueError, match="two kinds of job are called 'train'"):
        register(Train)

    class Spaced(Job):
        kind = "two words"

    with pytest.raises(ValueError, match="no kind of job can be called 'two words'"):
        register(Spaced)

    class Taken(Job):
        kind = "taken"
        title: str

    with pytest.raises(ValueError, match="a field of all jobs: title"):
        register(Taken)

    class Nothing(Job):
        kind = "nothing"
        pack = 0

    with pytest.raises(ValueError, match="version and pack begin at 1"):
        register(Nothing)
    assert dict(kinds()) == before
