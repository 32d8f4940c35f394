"""``figure`` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import ROOT, Call

from figures.small_figures import finish, write_specs

pytest.importorskip("matplotlib")

pytestmark = pytest.mark.drawn

BLOCKED = """
import sys

for name in ("matplotlib", "seaborn", "pandas", "torch"):
    sys.modules[name] = None
"""


def folders(root: Path) -> tuple[str, ...]:
    return ("--tables", str(root / "tables"), "--results", str(root / "results" / "mini"), "--out", str(root / "out"))


def test_a_figure_that_is_complete(replicate: Call, tmp_path: Path) -> None:
    finish(tmp_path, "speed")
    done = replicate("figure", "speed", *folders(tmp_path))
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.splitlines()[:3] == [
        "miniature: tests the pipeline, not the paper",
        "Figure 1: Speed.",
        "5 of 5 values there",
    ]
    written = sorted(path.name for path in (tmp_path / "out" / "mini" / "figures").iterdir())
    assert written == ["speed.pdf", "speed.png", "speed.svg"]


def test_what_is_not_run_is_said_and_makes_the_exit_code(replicate: Call, tmp_path: Path) -> None:
    finish(tmp_path, "speed", without=("deit-ti-224/none",))
    done = replicate("figure", "speed", "--no-run", "--format", "png", "--json", *folders(tmp_path))
    assert done.returncode == 3
    found = json.loads(done.stdout)
    assert (found["wanted"], found["pending"], found["paper_only"]) == (5, 2, 1)
    assert [Path(path).name for path in found["files"]] == ["speed.png"]
    assert [panel["title"] for panel in found["panels"]] == ["here: miniature", "the paper, as printed"]


def test_curves_of_other_runs(replicate: Call, tmp_path: Path) -> None:
    finish(tmp_path, "curves")
    arguments = ("--no-run", "--json", "--format", "svg", *folders(tmp_path))
    done = replicate("figure", "curves", "--run", "deit-b-224/none", *arguments)
    assert done.returncode == 0
    labels = [series["label"] for series in json.loads(done.stdout)["panels"][0]["series"]]
    assert labels == ["deit-b-224/none, test top-1 80.0 %"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("figure", "sped"), "error: unknown figure 'sped'\n  did you mean 'speed'?"),
        (("figure", "speed", "--format", "gif"), "error: unknown format 'gif'"),
        (("figure", "speed", "--run", "deit-b-224/none"), "error: figure speed: --run is for figures of curves"),
        (("figure", "curves", "--run", "deit-b"), "error: unknown run 'deit-b'"),
        (("figure", "curves", "--run", "resnet-50"), "error: run resnet-50 is never trained"),
    ],
)
def test_mistakes(replicate: Call, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    write_specs(tmp_path)
    done = replicate(*arguments, *folders(tmp_path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(said)


def test_list_shows_figures_too(replicate: Call, tmp_path: Path) -> None:
    finish(tmp_path, "speed")
    done = replicate("list", "--json", *folders(tmp_path))
    found = {one["id"]: one for one in json.loads(done.stdout)["figures"]}
    assert list(found) == ["all", "curves", "field", "longer", "margins", "speed", "tokens"]
    assert found["speed"] | {"caption": ""} == {
        "id": "speed",
        "kind": "figure",
        "number": 1,
        "caption": "",
        "spec": "figures/speed.toml",
        "wanted": 5,
        "pending": 0,
        "complete": True,
    }
    assert "5 of 5 there" in replicate("list", *folders(tmp_path)).stdout


def test_figures_are_read_beside_a_folder_called_tables_only(replicate: Call, tmp_path: Path) -> None:
    """Beside any other one, ``figures`` is a folder of somebody's own."""
    tables = write_specs(tmp_path)
    (tmp_path / "figures" / "broken.toml").write_text("not = [")
    assert replicate("check", "--tables", str(tables)).returncode == 2
    inside = replicate("check", "--tables", ".", cwd=tables)
    assert "figures/broken.toml: not TOML" in inside.stderr
    mine = tables.rename(tmp_path / "mine")
    done = replicate("check", "--tables", str(mine))
    assert done.stdout.startswith("1 table, 0 figures, ")
    done = replicate("figure", "speed", "--tables", str(mine))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: unknown figure 'speed': there are none for the tables of {mine}\n")


def test_only_figures_need_matplotlib(replicate: Call, tmp_path: Path) -> None:
    finish(tmp_path, "speed")
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text(BLOCKED)
    env = {"PYTHONPATH": f"{tmp_path / 'blocked'}:{ROOT}"}
    for arguments in (("list",), ("plan",), ("check",), ("table", "--id", "small", "--no-run")):
        done = replicate(*arguments, *folders(tmp_path), env=env)
        assert done.returncode in (0, 3), done.stderr
    done = replicate("figure", "speed", *folders(tmp_path), env=env)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot draw figures: 'matplotlib' is not installed")
