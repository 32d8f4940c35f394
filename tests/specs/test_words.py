"""Words that come along with a copy from a PDF, a web page or a Mac: what nobody sees is dropped, once."""

from __future__ import annotations

import json
import tomllib
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, TABLE, Call
from hypothesis import given
from hypothesis import strategies as st

from replicate.errors import SpecError
from replicate.plan.cells import plan_tables
from replicate.specs.load import load
from replicate.text import cleaned

SPEC = f"{TABLE}.toml"
CAPTION = 'caption   = "'


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("zero\u200bwidth\u200c\u200d \u2060joiner\ufeff", "zerowidth joiner"),
        ("soft\u00adhyphen, left\u200e to \u202eright\u202c", "softhyphen, left to right"),
        ("e\u0301troit, Angstro\u0308m \u212b, \u2126", "\u00e9troit, Angstr\u00f6m \u00c5, \u03a9"),
        ("e\u200d\u0301", "\u00e9"),
        ("\ufb01ne, e\ufb03cient", "fine, efficient"),
        ("\u2697\ufe0f", "\u2697"),
        ("86\u202f%, 86\u2007%, 86\u00a0%, 86\u2009%", "86\u00a0%, 86\u00a0%, 86\u00a0%, 86\u2009%"),
        ("em\u2003space, ideographic\u3000space", "em space, ideographic space"),
        ("non\u2011breaking\u2010hyphens \u2013 dashes \u2014 stay", "non-breaking-hyphens \u2013 dashes \u2014 stay"),
        ("a line\n  and another\u2028one\tand a tab", "a line and another one and a tab"),
        ("\nlines around\n", "lines around"),
        (" spaces around ", " spaces around "),
        ("$ \\ % # ^ _ { } ~ &", "$ \\ % # ^ _ { } ~ &"),
        ("\u4e2d\u6587", "\u4e2d\u6587"),
    ],
)
def test_what_nobody_sees_is_dropped(written: str, shown: str) -> None:
    assert cleaned(written) == shown


@given(st.text())
def test_cleaned_once_is_cleaned(text: str) -> None:
    once = cleaned(text)
    assert cleaned(once) == once
    assert unicodedata.is_normalized("NFC", once)


@pytest.mark.parametrize("path", sorted(ROOT.glob("tables/**/*.toml")) + sorted(ROOT.glob("figures/*.toml")))
def test_our_own_specs_are_clean(path: Path) -> None:
    def check(value: Any) -> None:
        match value:
            case str():
                assert cleaned(value) == value
            case dict():
                for name, item in value.items():
                    check(name)
                    check(item)
            case list():
                for item in value:
                    check(item)

    check(tomllib.loads(path.read_text(encoding="utf-8")))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def faults(tables: Path, scale: str = "mini") -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(tables, scale)
    return [str(fault) for fault in caught.value.faults]


def test_a_table_is_read_without_what_nobody_sees(tables: Path) -> None:
    sound = load(tables, "mini")
    edit(tables / SPEC, CAPTION, f"{CAPTION}\u200b")
    edit(tables / SPEC, 'run   = "', 'run   = "\ufeff')
    edit(tables / "runs.toml", "[recipes.deit]", '[recipes."de\u00adit"]')
    read = load(tables, "mini")
    assert (read.tables, read.runs) == (sound.tables, sound.runs)
    assert [*plan_tables(read, [TABLE], (0,)).graph.jobs] == [*plan_tables(sound, [TABLE], (0,)).graph.jobs]


def test_a_control_character_is_named(tables: Path) -> None:
    edit(tables / SPEC, CAPTION, f"{CAPTION}\\u0007\\u0085")
    edit(tables / "scales" / "mini.toml", 'title     = "', 'title     = "\\u001b[31m')
    (title, caption) = faults(tables)
    assert title.startswith("scales/mini.toml: title: has U+001B, a control character\n")
    assert caption == (
        f"tables/{SPEC}: table.caption: has U+0007, a control character, U+0085, a control character\n  remove it"
    )


def test_names_that_look_the_same_are_one_name_twice(tables: Path) -> None:
    runs = (tables / "runs.toml").read_text(encoding="utf-8")
    (tables / "runs.toml").write_text(f'{runs}\n[recipes."deit\u200b"]\nextends = "deit"\n', encoding="utf-8")
    assert faults(tables) == [
        r"tables/runs.toml: recipes: 'deit\u200b' stands twice, the other time in characters that look the same"
        "\n  rename or remove one of them"
    ]


def test_a_name_in_either_form_is_found(tables: Path) -> None:
    """A Mac writes names of files decomposed, and a keyboard composed ones."""
    name = "caf\u00e9"
    decomposed = unicodedata.normalize("NFD", name)
    text = f'extends = "mini"\nid = "{name}"\ntitle = "x"\n[recipes."{decomposed}"]\nepochs = 3\n'
    (tables / "scales" / f"{decomposed}.toml").write_text(text, encoding="utf-8")
    runs = (tables / "runs.toml").read_text(encoding="utf-8")
    (tables / "runs.toml").write_text(f'{runs}\n[recipes."{name}"]\nextends = "deit"\n', encoding="utf-8")
    specs = load(tables, name)
    assert specs.scale.id == name
    assert specs.scale.recipes[name] == {"epochs": 3}
    (tables / "scales" / f"{name}.toml").write_text(text, encoding="utf-8")
    assert any("two files have this name: " in fault for fault in faults(tables, name))


def test_names_of_files_and_networks_are_left_as_they_are(tables: Path) -> None:
    """They are in the keys of results, and a disk may have them in this very form."""
    name = unicodedata.normalize("NFD", "caf\u00e9")
    scale = tables / "scales" / "mini.toml"
    text = scale.read_text(encoding="utf-8")
    entry = f'[data.mine]\nsource = "imagefolder"\nname = "{name}"\nclasses = 2\ntrain = 4\ntest = 2\n'
    scale.write_text(f"{text}\n{entry}", encoding="utf-8")
    assert load(tables, "mini").scale.data["mine"].model_dump()["name"] == name


def test_check_says_it_before_anything_is_computed(replicate: Call, tables: Path) -> None:
    edit(tables / SPEC, CAPTION, f"{CAPTION}\u4e2d\\u6587 \u4e2d")
    done = replicate("check", "--tables", str(tables), "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["faults"] == [
        {
            "where": f"tables/{SPEC}: table.caption",
            "what": "LaTeX cannot print '\u4e2d' (U+4E2D CJK UNIFIED IDEOGRAPH-4E2D), "
            "'\u6587' (U+6587 CJK UNIFIED IDEOGRAPH-6587)",
            "help": ["write it in words, or map it in replicate/render/symbols.py"],
        }
    ]
