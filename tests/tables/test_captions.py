"""A caption says what is true at the scale it is printed at."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from command_line import ROOT, TABLE

from replicate.errors import SpecError
from replicate.figures.finish import finish_figure
from replicate.figures.load import figures_of, load_with_figures
from replicate.figures.plan import plan_figure
from replicate.judge.finish import Finisher
from replicate.plan.cells import plan_tables
from replicate.render import format_md, format_tex
from replicate.specs.load import Specs, load, scales
from replicate.store.store import Store

SCALES = scales(ROOT / "tables")
NAMES = ("CIFAR-10", "ImageNet-V2", "DeiT-B", "top-1")
"""Of what captions speak: their digits count nothing."""


def captions(specs: Specs) -> dict[str, str]:
    """What is printed, by the file of the spec."""
    finisher = Finisher(plan_tables(specs, specs.ordered, (0,)), Store(Path("there-is-none")))
    printed = {f"tables/{name}.toml": finisher.finish(name).caption for name in specs.ordered}
    figures = {name: plan_figure(specs, name, (0,)) for name in figures_of(specs).specs}
    return printed | {
        f"figures/{name}.toml": finish_figure(plan, Store(Path("there-is-none"))).caption
        for name, plan in figures.items()
    }


@pytest.fixture(scope="module")
def said() -> dict[str, dict[str, str]]:
    return {scale: captions(load_with_figures(ROOT / "tables", scale)) for scale in SCALES}


@pytest.mark.parametrize("scale", SCALES)
def test_every_number_of_a_caption_is_the_scales_own(scale: str, said: dict[str, dict[str, str]]) -> None:
    """The numbers are read from the TOML files again, not through what fills them in."""
    raw = tomllib.loads((ROOT / "tables" / "scales" / f"{scale}.toml").read_text())
    base = tomllib.loads((ROOT / "tables" / "scales" / f"{raw.get('extends', scale)}.toml").read_text())
    runs = tomllib.loads((ROOT / "tables" / "runs.toml").read_text())
    recipes = {name: fields["epochs"] for name, fields in runs["recipes"].items() if "epochs" in fields}
    recipes |= {name: fields["epochs"] for name, fields in base.get("recipes", {}).items() if "epochs" in fields}
    data = {name: fields["train"] for name, fields in (base["data"] | raw.get("data", {})).items() if "train" in fields}
    true = {"epochs": recipes, "images": data, "pixels": raw.get("resolutions", base["resolutions"])}
    numbers = 0
    for file, caption in said[scale].items():
        assert not set("{}") & set(caption), file
        (written,) = re.findall(r'^caption +?= "(.*)"$', (ROOT / file).read_text(), re.MULTILINE)
        for what, name in re.findall(r"\{(\w+)\.([^{}]+)\}", written):
            written = written.replace(f"{{{what}.{name}}}", f"{true[what][name]:,}")
            numbers += 1
        assert caption == written
    assert numbers >= 6


def test_no_other_number_stands_in_a_caption() -> None:
    for path in [*(ROOT / "tables").glob("*.toml"), *(ROOT / "figures").glob("*.toml")]:
        for written in re.findall(r'^caption +?= "(.*)"$', path.read_text(), re.MULTILINE):
            left = re.sub(r"\{[^{}]*\}", "", written)
            for name in NAMES:
                left = left.replace(name, "")
            assert not re.search(r"\d", left), f"{path.name}: {left}"


def test_a_note_that_states_how_long_or_how_much_says_whose_that_is() -> None:
    specs = load_with_figures(ROOT / "tables", "mini")
    notes = [note.text for table in specs.tables.values() for note in table.notes]
    notes += [note for figure in figures_of(specs).specs.values() for note in figure.figure.notes]
    stated = r"\d epochs|[Bb]atch \d|rate \d|-m\d-"
    whose = r"[Pp]aper|authors|release|README|Table \d|Section \d|rows '"
    sentences = [one for note in notes for one in re.split(r"(?<=[.;]) ", note) if re.search(stated, one)]
    assert len(sentences) >= 5
    for sentence in sentences:
        assert re.search(whose, sentence), sentence


def test_table_3_says_what_its_networks_were_trained_on(said: dict[str, dict[str, str]]) -> None:
    file = f"tables/{TABLE}.toml"
    begin = "Distillation on ImageNet with DeiT, "
    assert said["paper"][file] == f"{begin}300 epochs of pre-training on 1,281,167 images."
    assert said["mini"][file] == f"{begin}30 epochs of pre-training on 960 images."
    assert said["mini-digits"][file] == f"{begin}30 epochs of pre-training on 1,000 images."


def test_the_files_say_the_same() -> None:
    specs = load(ROOT / "tables", "mini")
    table = Finisher(plan_tables(specs, [TABLE], (0,)), Store(Path("there-is-none"))).finish(TABLE)
    for text in (format_md.render(table), format_tex.render(table), format_tex.bare(table)):
        assert "30 epochs of pre-training on 960 images" in text
        assert "300 epochs" not in text


@pytest.mark.parametrize(
    ("caption", "fault"),
    [
        ("{epochs.diet} epochs", "there is no recipe 'diet'\n  did you mean 'deit'?"),
        ("{images.imagnet} images", "there is no data set 'imagnet'\n  did you mean 'imagenet'?"),
        ("{pixels.244}", "there is no resolution '244'"),
        ("{epoch.deit} epochs", "there is no placeholder 'epoch'\n  did you mean 'epochs'?"),
        ("300 epochs", "'300 epochs' is the paper's number at every scale\n  write the number as {epochs.RECIPE}"),
        (
            "1,281,167 images",
            "'1,281,167 images' is the paper's number at every scale\n  write the number as {images.DATA}",
        ),
        ("16-pixel", "'16-pixel' is the paper's number at every scale\n  write the number as {pixels.224}"),
    ],
)
def test_a_caption_that_cannot_be_true_everywhere_is_refused(tables: Path, caption: str, fault: str) -> None:
    path = tables / f"{TABLE}.toml"
    path.write_text(re.sub(r"^caption .*$", f'caption = "{caption}"', path.read_text(), count=1, flags=re.MULTILINE))
    with pytest.raises(SpecError) as caught:
        load(tables, "mini")
    (found,) = caught.value.faults
    assert str(found).startswith(f"tables/{TABLE}.toml: table.caption: {fault}")
