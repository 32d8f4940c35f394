"""`make gpu-check` on a processor: what it says, what it survives, and that it runs where pydantic is not installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, environment

PATIENCE = 300.0

WITHOUT_PYDANTIC = """
from importlib.machinery import PathFinder
known = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.split(".")[0] in ("pydantic", "pydantic_core") else known(name, path, target)
PathFinder.find_spec = find_spec
"""

KEYS = """
import json
from pathlib import Path
from benchmarks.gpu_check import stand_in
print(json.dumps(stand_in.install()))
from replicate.jobs.job import from_json, to_json
from replicate.jobs.key import Texts
from replicate.plan.cells import plan_tables
from replicate.specs.load import load
for scale in ("mini", "paper"):
    specs = load(Path("tables"), scale)
    jobs = list(plan_tables(specs, specs.ordered, (0, 1)).graph)
    again = [from_json(json.loads(json.dumps(to_json(job)))) for job in jobs]
    print(json.dumps([[job.key, job.written(Texts()) == other.written(Texts())] for job, other in zip(jobs, again)]))
"""

FAILING = """
import os, time
from benchmarks.gpu_check.check import Mismatch, NotHere, check
@check("must hold", 60)
def one_that_crashes(setting): os.abort()
@check("must hold", 60)
def one_that_raises(setting): raise RuntimeError("device-side assert\\nmore")
@check("must hold", 2)
def one_that_hangs(setting):
    # Nor does what it has started outlive it.
    if (child := os.fork()) == 0:
        time.sleep(600)
    (setting.folder.parent / "child").write_text(str(child))
    time.sleep(600)
@check("must hold", 60)
def one_that_differs(setting): raise Mismatch("7 is not 8")
@check("must hold", 60)
def one_that_lacks_something(setting): raise NotHere("scikit-learn is missing")
@check("must hold", 60, needs_gpu=True)
def one_for_a_gpu(setting): return "never"
@check("must hold", 60)
def one_that_holds(setting): return "8 | 8"
@check(seconds=60)
def one_that_measures(setting): return "8 images/s"
"""

JUDGED = """
import sys
from pathlib import Path
import failing_checks
from benchmarks.gpu_check import check
folder = Path(sys.argv[1])
setting = check.Setting(folder, folder, "cpu", True)
check.CONTEXT.set_forkserver_preload([])
outcomes = list(check.run_all(check._CHECKS, setting, float(sys.argv[2]), folder / "logs"))
check.report({"device": "none"}, outcomes, folder)
"""


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blocked")
    (folder / "sitecustomize.py").write_text(WITHOUT_PYDANTIC)
    return folder


def python(*words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    variables = environment(PYTHONPATH=f"{path}:{ROOT}" if path else str(ROOT))
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=PATIENCE
    )


def outcomes_of(folder: Path) -> dict[str, tuple[str, str]]:
    checks = json.loads((folder / "report.json").read_text())["checks"]
    return {each["name"]: (each["state"], each["seen"]) for each in checks}


@pytest.mark.torch
def test_all_of_it_on_a_processor(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = python("benchmarks/gpu_check", "--smallest", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = outcomes_of(tmp_path)
    states = {name: state for name, (state, _) in found.items()}
    assert set(states.values()) <= {"passed", "measured", "needs a GPU", "not run"}
    for name in ("mixed precision fp16", "batches ahead in pinned memory", "throughput B"):
        assert states[name] == "needs a GPU"
    for name in ("device kernels against the processors", "resumed after kill 9", "one rank"):
        assert states[name] == "passed", found[name]
    assert states["input with all cores"] == states["throughput Ti"] == "measured"
    counts = re.search(r"(\d+) passed, (\d+) needs a GPU", done.stdout)
    assert counts is not None
    assert int(counts[1]) == list(states.values()).count("passed")
    report = (tmp_path / "report.md").read_text()
    assert all(f"| {name} | {state} |" in report for name, state in states.items())


@pytest.mark.torch
def test_it_runs_without_pydantic_and_says_so(blocked: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    words = ("--smallest", "--only", "released", "--out", str(tmp_path))
    done = python("benchmarks/gpu_check", *words, path=str(blocked))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("pydantic is missing (specs are read without checking them)")
    assert outcomes_of(tmp_path)["a released style file is evaluated"][0] == "passed"


def test_jobs_are_the_same_without_pydantic(blocked: Path) -> None:
    """What stands in for it fills in the same defaults: the keys of all jobs are those of the pinned environment."""
    needed, *found = python("-c", KEYS, path=str(blocked)).stdout.splitlines()
    not_needed, *wanted = python("-c", KEYS).stdout.splitlines()
    assert (needed, not_needed) == ("true", "false")
    assert found == wanted
    assert all(json.loads(line) for line in wanted)
    assert all(same for line in found for _, same in json.loads(line))


def test_a_check_that_fails_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "failing_checks.py").write_text(FAILING)
    done = python("-c", JUDGED, str(tmp_path), "1", path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = outcomes_of(tmp_path)
    assert found["one that crashes"] == ("failed", "its process ended with -6; one-that-crashes.txt may say why")
    assert found["one that raises"] == ("failed", "RuntimeError: device-side assert")
    assert "Traceback" in (tmp_path / "logs" / "one-that-raises.txt").read_text()
    assert found["one that hangs"] == ("failed", "not done after 2 s")
    status = Path("/proc", (tmp_path / "child").read_text(), "stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"
    assert found["one that differs"] == ("failed", "7 is not 8")
    assert found["one that lacks something"] == ("not run", "scikit-learn is missing")
    assert found["one for a gpu"][0] == "needs a GPU"
    assert found["one that holds"] == ("passed", "8 | 8")
    assert found["one that measures"] == ("measured", "8 images/s")
    assert "| one that holds | passed | must hold | 8 / 8 |" in (tmp_path / "report.md").read_text()


def test_what_no_time_is_left_for_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "failing_checks.py").write_text(FAILING)
    assert python("-c", JUDGED, str(tmp_path), "0", path=str(tmp_path)).returncode == 0
    assert {state for state, _ in outcomes_of(tmp_path).values()} == {"not run", "needs a GPU"}


def test_an_environment_without_torch_is_told_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        WITHOUT_PYDANTIC.replace('"pydantic", "pydantic_core"', '"torch", "timm"')
    )
    done = python("benchmarks/gpu_check", path=str(tmp_path))
    assert done.returncode == 2
    assert re.match(r"error: Python 3\.\d+\.\d+ \(.*\) lacks torch, timm\n  make gpu-check PYTHON=", done.stderr)
