"""A table so small that a cluster computes it in seconds: real trainings, Table 3's own recipes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from stage import ROOT

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
columns   = [{ key = "ti_224", header = "Ti 224", group = "top-1 (%)", run = "deit-ti-224" }]
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
id      = "{name}"
extends = "mini"
title   = "a test"

[data.imagenet]
source  = "shapes"
version = 1
classes = 10
size    = 48
train   = 128
test    = 100
seed    = 1234

[recipes.deit]
epochs = {epochs}

[recipes.regnet]
epochs = 2
"""


def write_specs(folder: Path, rows: tuple[str, ...] = ("none",), epochs: int = 40) -> Path:
    """Specs of a table with ``rows`` (none, soft, hard) whose student trains ``epochs`` of 2 steps each."""
    (folder / "scales").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "tables" / "runs.toml", folder)
    mini = (ROOT / "tables" / "scales" / "mini.toml").read_text()
    (folder / "scales" / "mini.toml").write_text(mini)
    (folder / "scales" / "tiny.toml").write_text(_scale(mini, epochs))
    (folder / f"{TABLE}.toml").write_text(SPEC + "".join(ROW.format(row=row) for row in rows))
    return folder


def _scale(mini: str, epochs: int) -> str:
    text = SCALE.format(name="tiny", epochs=epochs)
    # A scale that extends another replaces whole tables, so the rest of a recipe is copied.
    for recipe in ("deit", "regnet"):
        found = re.search(rf"^\[recipes\.{recipe}\]\n(.*?)(?=^\[|\Z)", mini, re.M | re.S)
        assert found
        rest = re.sub(r"^epochs.*\n", "", found[1], flags=re.M)
        text = re.sub(rf"(\[recipes\.{recipe}\]\nepochs = \d+\n)", lambda m, rest=rest: m[1] + rest, text)
    return text
