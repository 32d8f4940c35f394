"""Specs with values that nobody would write: each is used or refused with its place, and never ends in a traceback."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import ROOT, TABLE, copied_tables, figure_of_table
from hypothesis import given
from hypothesis import strategies as st
from mutated import dated, few, mutated, nested, toml

from replicate.backends.slurm.profile import load_profile
from replicate.errors import ReplicateError, SpecError
from replicate.figures.load import load_with_figures
from replicate.figures.plan import with_figures
from replicate.judge.finish import Finisher
from replicate.plan.cells import plan_tables
from replicate.render import formats
from replicate.store.store import Store

PROFILE = ROOT / "slurm" / "example.toml"
FILES = (f"tables/{TABLE}.toml", "tables/runs.toml", "tables/scales/mini.toml", "figures/widths.toml")


def paper(folder: Path) -> Path:
    copied_tables(folder)
    (folder / "figures").mkdir()
    (folder / "figures" / "widths.toml").write_text(figure_of_table("widths"))
    return folder


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paper(tmp_path_factory.mktemp("house"))


def use(folder: Path) -> None:
    """Everything that reads specs and runs nothing."""
    specs = load_with_figures(folder / "tables", "mini")
    plan = plan_tables(specs, specs.ordered, (0,))
    with_figures(plan)
    finisher = Finisher(plan, Store(folder / "results"))
    for name in specs.ordered:
        table = finisher.finish(name)
        finisher.claims_of_paper(name)
        for form in ("md", "tex", "csv", "html", "json"):
            formats.find(form).render(table, "compare")


def used_with(folder: Path, name: str, text: str | bytes) -> None:
    before = (folder / name).read_bytes()
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    try:
        use(folder)
    finally:
        (folder / name).write_bytes(before)


def check(folder: Path, name: str, text: str | bytes) -> None:
    with suppress(ReplicateError):
        used_with(folder, name, text)


def test_the_specs_as_they_are(house: Path) -> None:
    use(house)


@pytest.mark.parametrize("name", FILES)
def test_values_of_other_kinds(house: Path, name: str) -> None:
    whole = tomllib.loads((house / name).read_text())

    @few(16)
    @given(st.data())
    def tried(data: st.DataObject) -> None:
        check(house, name, toml(data.draw(mutated(whole, nested(dated)))))

    tried()


@pytest.mark.parametrize("name", FILES)
def test_bytes_that_are_cut_or_changed(house: Path, name: str) -> None:
    whole = (house / name).read_bytes()

    @few(8)
    @given(st.integers(0, len(whole)), st.binary(max_size=3), st.integers(0, 40))
    def tried(place: int, put: bytes, taken: int) -> None:
        check(house, name, whole[:place] + put + whole[place + taken :])

    tried()


def test_profiles(tmp_path: Path) -> None:
    text = PROFILE.read_text()
    path = tmp_path / "example.toml"
    whole = tomllib.loads(text)

    @few(60)
    @given(mutated(whole, nested(dated)).map(toml) | st.integers(0, len(text)).map(lambda end: text[:end]))
    def tried(changed: str) -> None:
        path.write_text(changed)
        with suppress(ReplicateError):
            profile = load_profile(path)
            for kind in ("train", "measure", "data"):
                assert profile.request(kind)
                profile.packed(kind)
            profile.client_environment({})

    tried()


# The smallest inputs of what these tests found.


def test_epochs_that_are_no_number_in_a_scale(house: Path) -> None:
    """A caption prints them."""
    name = "tables/scales/mini.toml"
    text = (house / name).read_text()
    assert '"epochs" = ' in toml(tomllib.loads(text))
    values = tomllib.loads(text)
    next(iter(values["recipes"].values()))["epochs"] = "many"
    with pytest.raises(SpecError, match="epochs"):
        used_with(house, name, toml(values))


def test_toml_that_is_nested_too_deeply(house: Path) -> None:
    with pytest.raises(SpecError, match=r"runs.toml: not TOML"):
        used_with(house, "tables/runs.toml", "a = " + "[" * 100_000)
