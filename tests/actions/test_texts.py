"""``check`` finds what a format cannot show: neither less nor more than rendering does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filled_results import fill

from replicate.actions.texts import shared_macros, unprintable
from replicate.errors import UserError
from replicate.judge.finish import Finisher
from replicate.plan.cells import plan_tables
from replicate.render import format_names, formats, macros
from replicate.specs.load import load
from replicate.store.store import Store

ABSENT = "\N{CJK UNIFIED IDEOGRAPH-4E2D}"
WORDS: dict[str, Any] = {
    "table.caption": "A table of everything.",
    "table.source": "the paper, version 1",
    "table.tolerance_reason": "none is needed",
    "table.corner": "network",
    "table.columns[0].header": "teacher",
    "table.columns[0].group": "supervision",
    "table.columns[1].header": "top-1",
    "table.columns[1].unit": "%",
    "rows[0].label": "a network",
    "rows[0].group": "large",
    "rows[0].text.teacher": "hard",
    "rows[1].label": "another",
    "rows[1].source": "another paper",
    "rows[1].not_run": "the paper took it from elsewhere",
    "references[0].label": "the teacher",
    "references[0].source": "the paper, Section 4",
    "claims[0].text": "larger is better",
    "claims[0].see": "Section 5",
    "claims[0].quote": "better",
    "claims[0].within_source": "its rounding",
    "notes[0].text": "Trained on more data.",
    "notes[0].see": "Table 1",
}
SPEC = """
[table]
id = "odd"
number = 90
source = "{table.source}"
caption = "{table.caption}"
corner = "{table.corner}"
metric = "top1"
tolerance = {{ default = 0.3 }}
tolerance_reason = "{table.tolerance_reason}"

[[table.columns]]
key = "teacher"
header = "{table.columns[0].header}"
group = "{table.columns[0].group}"
text = true

[[table.columns]]
key = "top1"
header = "{table.columns[1].header}"
unit = "{table.columns[1].unit}"

[[rows]]
key = "first"
label = "{rows[0].label}"
group = "{rows[0].group}"
run = "deit-ti-224/none"
text = {{ teacher = "{rows[0].text.teacher}" }}
paper = {{ top1 = "72.2*" }}

[[rows]]
key = "second"
label = "{rows[1].label}"
source = "{rows[1].source}"
not_run = "{rows[1].not_run}"
paper = {{ top1 = 70.0 }}

[[references]]
key = "teacher"
label = "{references[0].label}"
source = "{references[0].source}"
run = "deit-s-224/none"
paper = 82.9

[[claims]]
text = "{claims[0].text}"
left = "first.top1"
about = "@teacher"
within = 9.0
within_source = "{claims[0].within_source}"
quote = "{claims[0].quote}"
see = "{claims[0].see}"

[[notes]]
rows = ["second"]
text = "{notes[0].text}"
see = "{notes[0].see}"
"""


def write(tables: Path, words: dict[str, str]) -> None:
    text = SPEC
    for place, said in words.items():
        text = text.replace(f"{{{place}}}", said)
    (tables / "odd.toml").write_text(text.replace("{{", "{").replace("}}", "}"), encoding="utf-8")


@pytest.fixture
def tables(tables: Path) -> Path:
    """The specs with one table that has every word there can be, and no other."""
    next(path for path in tables.glob("*.toml") if path.name != "runs.toml").unlink()
    write(tables, WORDS)
    return tables


def refusals(tables: Path, results: Path) -> Iterator[str]:
    """What each format says of the finished table."""
    plan = plan_tables(load(tables, "mini"), ["odd"], (0,))
    store = Store(results)
    for job in plan.graph:
        if store.result(job.key) is None:
            fill(store, job)
    table = Finisher(plan, store).finish("odd")
    for name in format_names():
        for variant in ("paper", "compare"):
            try:
                formats.find(name).render(table, variant)
            except UserError as error:
                yield str(error)
    try:
        macros.render([table])
    except UserError as error:
        yield str(error)


@pytest.mark.parametrize("place", WORDS)
def test_check_refuses_what_rendering_refuses(tables: Path, tmp_path: Path, place: str) -> None:
    assert list(unprintable(tables)) == []
    write(tables, WORDS | {place: f"{WORDS[place]} {ABSENT}"})
    refused = [*refusals(tables, tmp_path / "results")]
    assert all("LaTeX cannot print" in said for said in refused)
    assert [fault.where for fault in unprintable(tables)] == ([f"tables/odd.toml: {place}"] if refused else [])


def test_everything_that_can_be_printed_is(tables: Path, tmp_path: Path) -> None:
    write(tables, {place: f"{said} $^_#%&~é✓–" for place, said in WORDS.items()})
    assert list(unprintable(tables)) == []
    assert list(refusals(tables, tmp_path / "results")) == []


def test_the_banner_of_a_scale(tables: Path, tmp_path: Path) -> None:
    path = tables / "scales" / "mini.toml"
    text = path.read_text(encoding="utf-8")
    assert 'banner    = "' in text
    path.write_text(text.replace('banner    = "', f'banner    = "{ABSENT}', 1), encoding="utf-8")
    assert [fault.where for fault in unprintable(tables)] == ["scales/mini.toml: banner"]
    assert list(refusals(tables, tmp_path / "results"))


def test_two_numbers_of_one_macro(tables: Path) -> None:
    write(tables, WORDS)
    path = tables / "odd.toml"
    text = path.read_text(encoding="utf-8")
    twin = '[[rows]]\nkey = "fir_st"\nlabel = "x"\nrun = "deit-ti-224/none"\n'
    path.write_text(f"{text}\n{twin}{twin.replace('fir_st', 'fi_rst')}", encoding="utf-8")
    assert not list(shared_macros(load(tables, "mini")))
    path.write_text(f"{text}\n{twin.replace('fir_st', 'a1')}{twin.replace('fir_st', 'a_1')}", encoding="utf-8")
    (fault,) = shared_macros(load(tables, "mini"))
    assert str(fault) == (
        "tables/odd.toml: two cells have the macro name \\DeitOddAOneTopOne: 'odd/a1/top1' and 'odd/a_1/top1'\n"
        "  give one of them another key"
    )


def test_figures_show_more_and_less_than_latex(tables: Path) -> None:
    pytest.importorskip("matplotlib")
    figures = tables.parent / "figures"
    figures.mkdir()
    text = f'[figure]\nid = "odd"\ncaption = "{ABSENT}"\n[lines.x]\nlabel = "Ж ☃ {ABSENT}"\n'
    (figures / "odd.toml").write_text(text, encoding="utf-8")
    (fault,) = unprintable(tables)
    assert str(fault) == (
        f"figures/odd.toml: lines.x.label: a figure cannot show '{ABSENT}' (U+4E2D CJK UNIFIED IDEOGRAPH-4E2D)\n"
        "  write it in words"
    )


def test_a_figure_shows_whatever_latex_prints() -> None:
    pytest.importorskip("matplotlib")
    from replicate.figures.style import glyphs
    from replicate.render.symbols import SYMBOLS

    assert {*map(ord, SYMBOLS)} <= glyphs()
