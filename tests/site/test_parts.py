"""The parts of the site by themselves: sources, addresses, curves, amounts."""

from __future__ import annotations

import pytest
from filled_store import plan_of
from hypothesis import given
from hypothesis import strategies as st

from replicate import text
from replicate.site import curve
from replicate.site.addresses import file_names
from replicate.site.recipe import blocks, comments_of, read_sources, split


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lr = 5e-4   # T9", ("lr = 5e-4", "T9")),
        ('name = "a # b"  # c', ('name = "a # b"', "c")),
        ("name = 'a \\'  # c", ("name = 'a \\'", "c")),
        ('name = "a \\" # b"', ('name = "a \\" # b"', "")),
        ("# alone", ("", "alone")),
        ("", ("", "")),
    ],
)
def test_code_and_comment_of_a_line(line: str, expected: tuple[str, str]) -> None:
    assert split(line) == expected


def test_comments_by_place() -> None:
    text = """
# not beside anything
top = 1            # a
[recipes.deit]     # head
lr = 5e-4          # b
ratio = [0.1,      # c
  0.2]             # of a list: no place of its own
[runs."deit/none"] # d
change = { lr = 1 } # e
[[claims]]         # f
"""
    assert comments_of(text) == {
        ("top",): "a",
        ("recipes", "deit"): "head",
        ("recipes", "deit", "lr"): "b",
        ("recipes", "deit", "ratio"): "c",
        ("runs", "deit/none"): "d",
        ("runs", "deit/none", "change"): "e",
    }


@given(st.text())
def test_any_text_can_be_read_for_comments(text: str) -> None:
    comments_of(text)


@given(st.lists(st.text(max_size=12), unique=True))
def test_file_names_are_safe_and_stand_once(names: list[str]) -> None:
    found = file_names(names)
    assert set(found) == set(names)
    assert len({name.lower() for name in found.values()}) == len(names)
    assert all(name and name.isascii() and not set(name) & set('/\\:?#%"<>| ') for name in found.values())
    assert all(not name.startswith(".") for name in found.values())


def test_a_recipe_says_what_the_scale_changed_and_what_nobody_published() -> None:
    plan = plan_of()
    found = {row.name: row for row in blocks(plan, read_sources(plan.specs), "deit-b-224/token")[0].rows}
    assert (found["epochs"].here, found["epochs"].paper, found["epochs"].source) == ("30", "300", "T9")
    assert found["epochs"].changed == "scale mini"
    assert "steps each" in found["epochs"].why
    assert found["weight_decay"].changed == ""
    teacher = {row.name: row for row in blocks(plan, read_sources(plan.specs), "regnety-16gf")[0].rows}
    assert teacher["lr"].unknown
    assert not teacher["optimizer"].unknown


def test_a_run_may_change_a_value_of_its_recipe() -> None:
    plan = plan_of()
    changed = [name for name, run in plan.specs.runs.runs.items() if run.change]
    for name in changed:
        rows = {row.name: row for row in blocks(plan, read_sources(plan.specs), name)[0].rows}
        assert all(rows[field].changed == "this run" for field in plan.specs.runs.runs[name].change)


@pytest.mark.parametrize(
    "raw", [None, {}, [{}], [{"epoch": 0}], ["x"], [{"epoch": 0, "lr": 1, "loss": "nan", "images": 3}]]
)
def test_a_curve_that_cannot_be_read_is_not_drawn(raw: object) -> None:
    assert curve.draw(curve.read(raw), "x") == ""


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(-1e6, 1e6)).map(
            lambda pair: {"epoch": 0, "lr": pair[0], "loss": pair[1], "images": 1}
        ),
        min_size=1,
        max_size=20,
    )
)
def test_any_curve_can_be_drawn(raw: list[dict[str, float]]) -> None:
    for epoch, line in enumerate(raw):
        line["epoch"] = epoch
    drawn = curve.draw(curve.read(raw), '"><script>')
    assert drawn.count("<polyline") == 2
    assert "<script>" not in drawn
    assert "nan" not in drawn.partition("points=")[2]


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (1.5, 2.3, ["1.6", "1.8", "2.0", "2.2"]),
        (0.0, 10.0, ["0", "2", "4", "6", "8", "10"]),
        (0.001, 0.0024, ["0.0010", "0.0015", "0.0020"]),
    ],
)
def test_ticks_have_the_digits_their_step_needs(low: float, high: float, texts: list[str]) -> None:
    assert [text for _, text in curve.labelled(curve.ticks(low, high))] == texts


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3661, "1 h 1 min"),
        (7200, "2 h"),
    ],
)
def test_seconds(seconds: float, shown: str) -> None:
    assert text.seconds(seconds).replace("\N{NO-BREAK SPACE}", " ") == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (22_000_000, "22 MB")])
def test_sizes(count: int, shown: str) -> None:
    assert text.size(count).replace("\N{NO-BREAK SPACE}", " ") == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "on"), (5e-4, "0.0005"), (1281167, "1,281,167"), ([0.08, 1.0], "0.08, 1"), ("", "none"), ({"a": 1}, "a 1")],
)
def test_values(value: object, shown: str) -> None:
    assert text.value(value) == shown
