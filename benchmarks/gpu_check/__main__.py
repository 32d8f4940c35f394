"""Whether this project computes on a GPU what it computes on a processor, and how fast: what `make gpu-check` runs.

    python3 benchmarks/gpu_check [--minutes 8] [--only NAME] [--out FOLDER] [--smallest]

One GPU, at most eight minutes, no data: photographs are made up (or cut from the two that scikit-learn ships). It runs
with the project's environment and with any Python from 3.11 on that has torch from 2.11 on and timm; what else is
missing is said in the first line. Nothing is installed. Each check runs in a process of its own: one that fails, hangs
or crashes stops no other. The report is out/gpu-check/report.md, and report.json for programs; exit code 1 where a
check failed. A check that needs a GPU says so where there is none, and is not counted as passed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)
# Of the process that forks those of the checks, too. Only NVML can say without harm to a fork whether there is a GPU.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))

from benchmarks.gpu_check import stand_in
from benchmarks.gpu_check.check import Outcome, Setting, checks, device, report, row, run_all, tally

NEEDED = ("torch", "torchvision", "timm", "numpy", "PIL", "safetensors")
INSTEAD = {
    "pydantic": "specs are read without checking them",
    "sklearn": "photographs are made up",
}
"""What can be missing, and what happens then."""
OLDEST = 3, 11


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="all checks together")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="checks with this in their name")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "gpu-check")
    parser.add_argument("--smallest", action="store_true", help="the least of everything: shows that it still works")
    call = parser.parse_args()
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing or sys.version_info < OLDEST:
        python = f"Python {platform.python_version()} ({sys.executable})"
        print(f"error: {python} lacks {', '.join(missing) or 'what Python 3.11 has'}", file=sys.stderr)
        print("  make gpu-check PYTHON=/path/to/python3 names another; torch 2.11 and timm are needed", file=sys.stderr)
        return 2
    lacking = [f"{name} is missing ({how})" for name, how in INSTEAD.items() if find_spec(name) is None]
    print("; ".join(lacking) or "everything that the checks use is installed", flush=True)
    stand_in.install()
    about = device()
    about["missing"] = "; ".join(lacking) or "nothing"
    outcomes: list[Outcome] = []
    chosen = [each for each in checks() if not call.only or any(word in each.name for word in call.only)]
    print("| check | outcome | bound | seen | seconds |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as made:
        from benchmarks.gpu_check.materials import photographs

        photographs(Path(made) / "datasets", call.smallest)
        setting = Setting(Path(made), Path(made) / "datasets", about["kind"], call.smallest)
        for outcome in run_all(chosen, setting, call.minutes, call.out / "logs"):
            outcomes.append(outcome)
            print(row(outcome), flush=True)
            # After each: whoever ends this early has what was found.
            report(about, outcomes, call.out)
    print("\n" + ", ".join(f"{count} {state}" for state, count in tally(outcomes).items()) + f": {call.out}/report.md")
    return int(any(each.state == "failed" for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())
