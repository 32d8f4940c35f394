"""Every number that Table 3's spec says the paper prints, against a copy of the paper's tables."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import yaml
from stage import ROOT, TABLE

ROWS = {
    "none": "no_distillation",
    "soft": "usual_soft_distillation",
    "hard": "hard_distillation",
    "token_class": "⚗_class_embedding",
    "token_dist": "⚗_distil_embedding",
    "token_both": "⚗_class+distillation",
}
COLUMNS = {"ti_224": "Ti_224", "s_224": "S_224", "b_224": "B_224", "b_384": "B_384"}


@pytest.fixture(scope="module")
def printed() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "tests" / "fixtures" / "deit_tables.yaml").read_text())
    return found


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return tomllib.loads((ROOT / "tables" / f"{TABLE}.toml").read_text())


def test_all_24_cells(spec: dict[str, Any], printed: dict[str, Any]) -> None:
    ours = {(row["key"], column): value for row in spec["rows"] for column, value in row["paper"].items()}
    theirs = printed["T3"]["rows"]
    paper = {(row, column): theirs[ROWS[row]][COLUMNS[column]] for row in ROWS for column in COLUMNS}
    assert len(ours) == 24
    assert ours == paper


def test_every_row_and_column_of_the_paper_is_there(spec: dict[str, Any], printed: dict[str, Any]) -> None:
    assert [ROWS[row["key"]] for row in spec["rows"]] == list(printed["T3"]["rows"])
    assert list(COLUMNS.values()) == printed["T3"]["columns"]


def test_supervision_as_printed(spec: dict[str, Any], printed: dict[str, Any]) -> None:
    for row in spec["rows"]:
        theirs = printed["T3"]["rows"][ROWS[row["key"]]]
        label = theirs["label_column_printed"]
        shown = label["value"] if isinstance(label, dict) else label
        assert row["text"] == {"label": "✓" if shown else "✗", "teacher": theirs["teacher_column"] or "✗"}


def test_the_teacher(spec: dict[str, Any], printed: dict[str, Any]) -> None:
    (teacher,) = [reference for reference in spec["references"] if reference["key"] == "teacher"]
    assert teacher["paper"] == printed["T2"]["rows"]["RegNetY-16GF"]["teacher_acc"]
