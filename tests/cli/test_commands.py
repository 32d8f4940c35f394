"""Exit codes, JSON, mistakes in the call, and where commands work from."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from command_line import ROOT, TABLE, Call, environment, missing
from filled_results import plan_of
from rich.cells import cell_len
from rich.text import Text

from replicate.store.store import FAILURE, Store

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(replicate: Call, tables: Path, tmp_path: Path) -> Run:
    """A command on the copied specs; results are in ``results`` of the test's folder, if there are any."""

    def call(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        folders = [part for name in ("results", "out", "tables") for part in (f"--{name}", str(tmp_path / name))]
        return replicate(*arguments, *folders, **options)

    return call


def fail_a_job(root: Path, prefix: str = "train-deit-b-224-soft") -> str:
    plan, store = plan_of(), Store(root)
    (key,) = [key for key in plan.graph.jobs if key.startswith(prefix)]
    folder = store.prepare(plan.graph.jobs[key])
    (folder / "result.json").unlink(missing_ok=True)
    failure = {"kind": "diverged", "message": "train: a loss that is not finite", "retry": False}
    (folder / FAILURE).write_text(json.dumps(failure))
    for other in root.glob("*384-soft*/result.json"):
        other.unlink()
    for other in root.glob("predict-deit-b-224-soft*/result.json"):
        other.unlink()
    return key


READY = [
    ("table", "--id", TABLE),
    ("table", "--id", TABLE, "--no-run"),
    ("status", "--id", TABLE),
    ("plan", "--id", TABLE),
    ("list",),
    ("check",),
    ("explain", TABLE, "none", "ti_224"),
    ("explain", TABLE, "@", "teacher"),
]


@pytest.mark.parametrize("arguments", READY, ids=" ".join)
def test_exit_0_and_pure_json_where_all_is_done(run: Run, results: Path, arguments: tuple[str, ...]) -> None:
    shown = run(*arguments)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout
    done = run(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert isinstance(json.loads(done.stdout), dict)


def test_exit_3_where_something_has_not_run(run: Run) -> None:
    assert run("table", "--id", TABLE, "--no-run").returncode == 3
    assert run("status", "--id", TABLE).returncode == 3
    assert run("plan", "--id", TABLE).returncode == 0


def test_exit_1_where_a_job_failed(run: Run, results: Path) -> None:
    key = fail_a_job(results)
    for arguments in (("table", "--id", TABLE, "--no-run"), ("status", "--id", TABLE)):
        assert run(*arguments).returncode == 1
        done = run(*arguments, "--json")
        assert done.returncode == 1
        json.loads(done.stdout)
    assert f"⚠ {key}" in run("status", "--id", TABLE).stdout
    assert f"{key} " in run("plan", "--id", TABLE).stdout
    assert "failed (diverged), tried again only with --retry" in run("plan", "--id", TABLE).stdout
    # Nothing else is left to do, so this needs no torch; and it is not tried again by itself.
    done = run("table", "--id", TABLE)
    assert done.returncode == 1
    assert f"failed: {key}: diverged: train: a loss that is not finite\n" in done.stderr


MISTAKES = [
    (("tabel", "--id", TABLE), "error: unknown command 'tabel'\n  did you mean 'table'?\n  commands: all, "),
    (("table", "--id", "distilation_ablation"), "error: unknown table 'distilation_ablation'\n  did you mean"),
    (("explain", TABLE, "hrad", "b_224"), "error: unknown row 'hrad'\n  did you mean 'hard'?\n  rows: hard, none, "),
    (("explain", TABLE, "hard", "b_242"), "error: unknown column 'b_242'\n  did you mean 'b_224'?\n  columns: "),
    (("explain", TABLE, "@", "techer"), "error: unknown reference 'techer'\n  did you mean 'teacher'?"),
    (("run", "train-x"), "error: unknown job 'train-x'\n"),
    (("list", "--scale", "papre"), "error: unknown scale 'papre'\n  did you mean 'paper'?\n  scales: mini, paper\n"),
    (("table", "--id", TABLE, "--scale", "paper"), "error: "),
    (("status", "--seeds", "0,x"), "seeds, got '0,x'; expected whole numbers with commas between, such as 0,1,2"),
    (("status", "--seeds", ""), "seeds, got ''; expected whole numbers"),
    (("status", "--seeds", "0,1,"), "seeds, got '0,1,'; expected whole numbers"),
    (("status", "--seeds", "1_0"), "seeds, got '1_0'; expected whole numbers"),
    (("check", "--scale", "papre"), "error: unknown scale 'papre'\n  did you mean 'paper'?"),
    (
        ("list", "--cluster", ""),
        "error: --cluster is empty (expected the name of a profile)\n  this machine is --cluster local",
    ),
    (("status", "--seeds", "1,1"), "seeds, got '1,1'; each must be 0 or more and stand once"),
    (
        ("status", "--seeds", "4294967296"),
        "seeds, got '4294967296'; the largest is 4294967295",
    ),
    (("table", "--id", "Table 3"), f"error: unknown table 'Table 3'\n  Table 3 of the paper is '{TABLE}'\n"),
    (("status", "--seeds", "-1"), "seeds, got '-1'; each must be 0 or more and stand once"),
    (("table", "--id", TABLE, "--workers", "0"), "0 is not in the range"),
    (("table",), "Missing option '--id'"),
    (("table", "--id", TABLE, "--no-rnu"), "No such option '--no-rnu'"),
    (("table", "--id", TABLE, "--no-rnu"), "--no-run"),
    (("completion", "tcsh"), "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=lambda value: " ".join(value)[:40])
def test_exit_2_for_a_mistake_in_the_call(
    replicate: Call, run: Run, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = replicate(*arguments) if arguments[0] == "completion" else run(*arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_debug_shows_the_traceback(run: Run) -> None:
    done = run("--debug", "table", "--id", "x")
    assert "Traceback" in done.stderr
    assert "UnknownName: unknown table 'x'" in done.stderr


def test_looking_writes_nothing(run: Run, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    for arguments in (("plan", "--id", TABLE), ("status", "--id", TABLE), ("list",), ("check",)):
        run(*arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("folder", ["tables", "tables/scales", "replicate/cli", "."])
def test_commands_work_from_any_folder_of_the_repository(replicate: Call, folder: str) -> None:
    done = replicate("check", cwd=ROOT / folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no fault at the scales" in done.stdout


def test_paths_from_a_folder_below_are_those_of_the_repository(run: Run, replicate: Call, results: Path) -> None:
    copy = results.parent
    done = replicate("table", "--id", TABLE, "--no-run", cwd=copy / "tables" / "scales")
    assert done.returncode == 0
    assert (copy / "out" / "mini" / f"{TABLE}.tex").exists()


def test_the_paper_scale_is_planned_and_rendered(run: Run) -> None:
    done = run("table", "--id", TABLE, "--scale", "paper", "--no-run", "--json")
    assert (done.returncode, done.stderr) == (3, "")
    table = json.loads(done.stdout)
    states = [cell["state"] for cell in table["cells"] if cell["state"] != "text" and cell["row"] != "@"]
    assert states == ["pending"] * 24
    assert "V100" in run("plan", "--id", TABLE, "--scale", "paper").stdout


def test_three_seeds(run: Run) -> None:
    one = json.loads(run("plan", "--id", TABLE, "--json").stdout)["total"]
    three = json.loads(run("plan", "--id", TABLE, "--json", "--seeds", "0,1,2").stdout)["total"]
    # The images are shared, and so are the teacher, its fine-tuning and the decisions of both.
    assert three["jobs"] == one["jobs"] + 2 * (one["jobs"] - 1 - 4)


def test_no_escape_codes_in_a_pipe(run: Run, results: Path) -> None:
    for env in ({}, {"NO_COLOR": "1"}, {"TERM": "xterm-256color"}):
        assert "\x1b" not in run("status", "--id", TABLE, env=env).stdout


def test_a_reader_that_has_seen_enough(tables: Path, results: Path) -> None:
    command = f"python -m replicate status --id {TABLE} --results {results} --tables {tables} | head -3"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PATH": path}
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize("command", [f"claims --id {TABLE}", f"status --id {TABLE}", "list", "check --help"])
def test_a_reader_that_is_gone(tables: Path, results: Path, command: str) -> None:
    folders = "" if "--help" in command else f"--results {results} --tables {tables}"
    script = f"{sys.executable} -m replicate {command} {folders} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, env=environment())
    assert (done.stdout, done.stderr) == ("141\n", "")


@pytest.mark.parametrize("command", [f"claims --id {TABLE}", f"table --id {TABLE} --no-run", "list", "check --help"])
def test_a_full_disk_behind_the_output(tables: Path, results: Path, tmp_path: Path, command: str) -> None:
    folders = "" if "--help" in command else f"--results {results} --tables {tables} --out {tmp_path}/out"
    script = f"{sys.executable} -m replicate {command} {folders} > /dev/full"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, env=environment())
    assert done.stderr == "error: standard output: cannot be used, got 'No space left on device'\n"
    assert done.returncode == 2


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    script = f"mkdir {tmp_path}/x && cd {tmp_path}/x && rmdir {tmp_path}/x && {sys.executable} -m replicate list"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the current folder was deleted\n  change to another one\n"


UNSET = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("env", "encoding", "mark"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "utf-8", "†"),
        (UNSET, "utf-8", "†"),
        ({"PYTHONIOENCODING": "latin-1"}, "latin-1", "\\u2020"),
    ],
    ids=["ascii", "C", "latin-1"],
)
def test_signs_that_the_output_cannot_encode(
    tables: Path, results: Path, env: dict[str, str], encoding: str, mark: str
) -> None:
    folders = f"--results {results} --tables {tables} --out {results.parent}/out"
    for command in (f"claims --id {TABLE}", f"table --id {TABLE} --no-run", f"claims --id {TABLE} --json"):
        words = [sys.executable, "-m", "replicate", *command.split(), *folders.split()]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, env=environment(**env))
        assert (done.returncode, done.stderr) == (0, b"")
        said = done.stdout.decode(encoding)
        if "--json" in words:
            json.loads(said)
        else:
            assert mark in said


def test_counts_are_in_one_order_and_in_english(run: Run, results: Path) -> None:
    said = run("list").stdout
    assert f"{TABLE}  Table 3  24 done  " in said
    assert "\n\n\n" not in said
    assert said.count("\n\n") == 1, "no block for figures where there are none"
    for key in ("train-deit-ti-224-none", "predict-deit-ti-224-none"):
        next(results.glob(f"{key}-s0-*/result.json")).unlink()
    assert f"{TABLE}  Table 3  23 done, 1 pending  " in run("list").stdout
    assert run("status", "--id", TABLE).stdout.endswith(" done, 2 not run\n")
    assert "1 table, 0 figures, 36 cells, " in run("check").stdout
    assert "1 table and 0 files of figures" in run("all", "--no-run", "--no-figures").stdout


def test_a_table_that_rests_on_no_job(replicate: Call, tmp_path: Path) -> None:
    done = replicate("status", "--id", "ingredients", "--results", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\nno jobs: its numbers are read from the specs\n")


def test_a_timetable_is_not_printed_of_a_call_that_cannot_work(run: Run) -> None:
    done = run("nightly", "--print", "cron", "--scale", "nope")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: unknown scale 'nope'")


@pytest.mark.parametrize("amount", ["nan", "inf", "-1", "x"])
def test_an_amount_that_is_none(run: Run, amount: str, tmp_path: Path) -> None:
    done = run("nightly", "--budget", amount)
    assert (done.returncode, done.stdout) == (3, "")
    assert "Invalid value for '--budget'" in done.stderr
    assert run("doctor", "--wait", amount).returncode == 2
    assert not (tmp_path / "results").exists()


def test_a_look_at_the_night_is_no_night(run: Run, results: Path) -> None:
    """However often somebody looks, the next night compares with the last one that was recorded."""
    before = sorted(results.iterdir())
    assert run("nightly", "--no-run").stdout.startswith("# A look at ")
    assert sorted(results.iterdir()) == before
    # A night that begins nothing, since none of it fits.
    assert run("nightly", "--budget", "0").returncode == 0
    latest = (results / ".nights" / "mini" / "latest").resolve()
    next(results.glob("predict-deit-ti-224-none-s0-*/result.json")).unlink()
    for _ in range(2):
        done = run("nightly", "--no-run")
        assert done.returncode == 1
        assert "## No longer there: 1\n" in done.stdout
        assert "nothing was run, settled or recorded, as asked" in done.stdout
        assert "written: " not in done.stderr
    assert (results / ".nights" / "mini" / "latest").resolve() == latest
    assert [path.name for path in latest.parent.glob("[0-9]*")] == [latest.name]


def test_a_network_that_timm_does_not_have(run: Run, tables: Path) -> None:
    if find_spec("timm") is None:
        missing("timm is not installed")
    path = tables / "scales" / "mini.toml"
    path.write_text(path.read_text().replace('"deit_tiny_patch16_224"', '"deit_tiny_patch16_242"'))
    done = run("check")
    assert done.returncode == 2
    assert done.stderr == (
        "error: scales/mini.toml: models.deit-ti.timm: the installed timm has no network 'deit_tiny_patch16_242'\n"
        "  did you mean 'deit_tiny_patch16_224'?\n"
    )


def on_terminal(columns: int, *arguments: str) -> list[str]:
    """Lines of a command whose standard output is a terminal of so many columns, without their colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    command = [sys.executable, "-m", "replicate", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, cwd=ROOT, env=environment(TERM="xterm")) as process:
        os.close(theirs)
        chunks = []
        with suppress(OSError):
            while chunk := os.read(ours, 65536):
                chunks.append(chunk)
    os.close(ours)
    assert process.returncode == 0
    return [Text.from_ansi(line).plain for line in b"".join(chunks).decode().splitlines()]


def test_a_terminal_of_60_columns(results: Path, tables: Path, tmp_path: Path) -> None:
    folders = ("--results", str(results), "--tables", str(tables), "--out", str(tmp_path / "out"))
    lines = on_terminal(60, "table", "--id", TABLE, "--no-run", *folders)
    assert [line for line in lines if cell_len(line) > 60 and not line.startswith("files in ")] == []
    both = "DeiT⚗: class+distillation"
    assert sum(both in line for line in lines) == 2
    assert sum(both in line for line in on_terminal(120, "table", "--id", TABLE, "--no-run", *folders)) == 1
