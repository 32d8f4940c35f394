"""Calls of the command line, as a user makes them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from replicate.cli import main

ROOT = Path(__file__).resolve().parents[1]
TABLE = "distillation_ablation"

Call = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(**changes: str) -> dict[str, str]:
    """Of a command: without what the terminal of whoever runs the tests would change."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | changes


def called_here(command: list[str], cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """What the command line does with ``command`` in this process: its exit code and what it prints."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(cwd),
    ):
        patch.setattr(sys, "argv", command[2:])
        for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
            patch.delenv(name, raising=False)
        for name, value in changes.items():
            patch.setenv(name, value)
        try:
            main()
            code: object = 0
        except SystemExit as end:
            code = end.code
        except Exception:
            traceback.print_exc()
            code = 1
    return subprocess.CompletedProcess(command, int(str(code or 0)), out.getvalue(), err.getvalue())


def released_name(path: Path) -> str:
    """Renames ``path`` as torch.hub wants it, with the first digits of its SHA-256; the new name."""
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(path.with_name(f"{path.stem}-{digits}{path.suffix}")).name


def missing(reason: str) -> None:
    """Skips the test; fails it where nothing may be skipped."""
    if os.environ.get("REPLICATE_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def copied_tables(into: Path) -> Path:
    """``tables/`` with Table 3 alone."""
    folder = into / "tables"
    (folder / "scales").mkdir(parents=True)
    for path in (ROOT / "tables" / f"{TABLE}.toml", ROOT / "tables" / "runs.toml"):
        shutil.copy(path, folder)
    for scale in ("mini", "paper"):
        shutil.copy(ROOT / "tables" / "scales" / f"{scale}.toml", folder / "scales")
    return folder


def figure_of_table(name: str) -> str:
    """A figure of two points of Table 3, as the text of its file."""
    return f"""
[figure]
id = "{name}"
caption = "Accuracy against width."
[lines]
metric = "top1"
[[lines.panels]]
title = "accuracy"
x = {{ label = "width" }}
y = {{ label = "top-1 (%)" }}
[[lines.panels.series]]
label = "ours"
points = [ {{ x = 8.0, cell = "{TABLE}/none/ti_224" }}, {{ x = 16.0, cell = "{TABLE}/none/s_224" }} ]
"""
