"""A table so small that a cluster computes it in seconds: real trainings, Table 3's own recipes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from command_line import ROOT

TABLE = "small"

SPEC = """\
[table]
id        = "small"
source    = "arXiv:2012.12877v2"
caption   = "Two networks and what they learn from a third."
corner    = "method"
metric    = "top1"
decimals  = 1
bold      = "none"
tolerance = { default = 0.3 }
tolerance_reason = "Not compared: it is a test."
columns   = [
  { key = "ti_224", header = "Ti 224", group = "top-1 (%)", run = "deit-ti-224" },
]
"""

ROW = """
[[rows]]
key   = "{row}"
label = "{row}"
run   = "{{column}}/{row}"
head  = "class"
paper = {{ ti_224 = 72.2 }}
"""

SCALE = """\
id      = "tiny"
extends = "mini"
title   = "a test"
"""


COUNTED = """\
  { key = "size", header = "parameters", run = "deit-ti-224", metric = "architecture", field = "parameters" },
"""


def write_specs(folder: Path, rows: tuple[str, ...] = ("none",), epochs: int = 40, counted: bool = False) -> Path:
    """Specs of a table with ``rows`` (none, soft, hard) whose student trains ``epochs`` of 4 steps each.

    counted: a second column, which an `architecture` job counts.
    """
    (folder / "scales").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "tables" / "runs.toml", folder)
    mini = (ROOT / "tables" / "scales" / "mini.toml").read_text()
    (folder / "scales" / "mini.toml").write_text(mini)
    (folder / "scales" / "tiny.toml").write_text(_scale(mini, epochs))
    spec = SPEC + "".join(ROW.format(row=row) for row in rows)
    if counted:
        spec = spec.replace("\n]\n", f"\n{COUNTED}]\n", 1).replace(
            "{ ti_224 = 72.2 }", '{ ti_224 = 72.2, size = "5M" }'
        )
    (folder / f"{TABLE}.toml").write_text(spec)
    return folder


def _scale(mini: str, epochs: int) -> str:
    """Sections of ``mini``, shortened: a scale that extends another replaces whole sections."""
    changes = {
        "data.imagenet": {"train": 128, "test": 100},
        # A student may be shared by two processes, and so its teacher: BatchNorm's groups are not torn.
        "recipes.deit": {"epochs": epochs},
        "recipes.deit-small": {"mix_batch": 32},
        "recipes.regnet": {"epochs": 2, "mix_batch": 32},
    }
    text = SCALE
    for name, values in changes.items():
        found = re.search(rf"^\[{re.escape(name)}\].*?(?=^\[|\Z)", mini, re.M | re.S)
        assert found
        section = found[0]
        for key, value in values.items():
            section, count = re.subn(rf"^{key}(\s*)=\s*\d+", rf"{key}\1= {value}", section, flags=re.M)
            assert count == 1, (name, key)
        text += "\n" + section
    return text
