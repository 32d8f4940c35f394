"""The quick benchmarks in one table, best on an idle machine: two minutes.

    python benchmarks [--smallest]

Those are the scripts of this folder that have a function `quick`: what was measured, and the number, as text. Some need
torch. What takes longer is run script by script (docs/benchmarks.md); each has a --smallest, which only shows that it
still works.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smallest", action="store_true", help="each at its smallest size")
    smallest = parser.parse_args().smallest
    print("| benchmark | what | measured |\n|---|---|---|")
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        if "\ndef quick(" in path.read_text(encoding="utf-8"):
            for what, value in import_module(path.stem).quick(smallest).items():
                print(f"| {path.stem} | {what} | {value} |", flush=True)


if __name__ == "__main__":
    main()
