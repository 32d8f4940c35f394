"""Every fault of a spec is found before anything runs, with its file, its place, and what to do about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from command_line import ROOT, TABLE, Call

from replicate.errors import SpecError, UnknownName, UserError
from replicate.judge.finish import Finisher
from replicate.plan.cells import plan_tables
from replicate.specs.load import load
from replicate.store.store import Store

SPEC = f"{TABLE}.toml"
PLACE = f"tables/{SPEC}"

Edit = Callable[..., None]


@pytest.fixture
def edit(tables: Path) -> Edit:
    """Replaces a text, which must be there, in a file of the copied specs; ``count`` times, once if not said."""

    def replace(old: str, new: str, name: str = SPEC, count: int = 1) -> None:
        path = tables / name
        text = path.read_text()
        assert old in text, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new, count))

    return replace


def append(tables: Path, text: str, name: str = "runs.toml") -> None:
    with (tables / name).open("a") as file:
        file.write(text)


def faults(tables: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(tables, "mini")
    return [str(fault) for fault in caught.value.faults]


def test_the_copied_specs_are_sound(tables: Path) -> None:
    assert list(load(tables, "mini").tables) == [TABLE]


def test_an_unknown_table_suggests_the_nearest(replicate: Call, tables: Path) -> None:
    done = replicate("table", "--id", "distilation_ablation", "--tables", str(tables))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: unknown table 'distilation_ablation'\n"
        "  did you mean 'distillation_ablation'?\n"
        "  tables: distillation_ablation\n"
    )


def test_a_typo_in_a_key(tables: Path, edit: Edit) -> None:
    edit("decimals  = 1", "decimal  = 1")
    (fault,) = faults(tables)
    first, second, third = fault.splitlines()
    assert first == f"{PLACE}: table.decimal: unknown key 'decimal'"
    assert second == "  did you mean 'decimals'?"
    assert third.startswith("  keys: ")
    assert " columns, " in third


def test_a_typo_in_a_row(tables: Path, edit: Edit) -> None:
    edit("rule  = true", "ruel  = true")
    (fault,) = faults(tables)
    assert fault.startswith(f"{PLACE}: rows[3].ruel: unknown key 'ruel'\n  did you mean 'rule'?\n")


def test_a_typo_in_a_recipe(tables: Path, edit: Edit) -> None:
    edit("weight_decay    = 0.05", "wieght_decay    = 0.05", "runs.toml")
    found = faults(tables)
    assert "tables/runs.toml: recipes.deit.weight_decay: this key is required" in found
    assert any(
        fault.startswith(
            "tables/runs.toml: recipes.deit.wieght_decay: unknown key 'wieght_decay'\n  did you mean 'weight_decay'?\n"
        )
        for fault in found
    )


@pytest.mark.parametrize("written", ["nan", "inf", "true", "[81.8]"])
def test_a_paper_value_that_is_no_number(tables: Path, edit: Edit, written: str) -> None:
    edit("b_224 = 81.8", f"b_224 = {written}")
    found = faults(tables)
    assert found
    assert all(fault.startswith(f"{PLACE}: rows[0].paper.b_224") for fault in found)


def test_a_word_among_numbers(tables: Path, edit: Edit) -> None:
    edit("b_224 = 81.8", 'b_224 = "81,8"')
    assert faults(tables) == [
        f"{PLACE}: rows[0].paper.b_224: should be a number, or one with a mark or a spread"
        " such as '4.3*' or '79.9 ± 0.1', got '81,8'"
    ]


@pytest.mark.parametrize("written", ["74.3", "", "n/a", ",5*", "79.9 ± ", "78.9?", "9/0.5", "79.9 (0.1)"])
def test_what_only_looks_like_a_number(tables: Path, edit: Edit, written: str) -> None:
    edit("b_224 = 81.8", f'b_224 = "{written}"')
    assert len(faults(tables)) == 1


@pytest.mark.parametrize("written", ["81.8*", "81.8 †", "81.8†", "81.8 ± 0.1", "81.8±0.1‡"])
def test_a_number_with_a_mark_or_a_spread_is_one_to_the_claims(tables: Path, edit: Edit, written: str) -> None:
    plain = _claims_of_paper(tables)
    edit("b_224 = 81.8", f'b_224 = "{written}"')
    assert load(tables, "mini").table(TABLE).rows[0].paper["b_224"] == written
    assert _claims_of_paper(tables) == plain


def _claims_of_paper(tables: Path) -> list[tuple[str, str]]:
    plan = plan_tables(load(tables, "mini"), [TABLE], (0,))
    claims = Finisher(plan, Store(tables / "nothing")).claims_of_paper(TABLE)
    return [(claim.paper_verdict, claim.paper_margin_shown) for claim in claims]


def test_a_reference_that_a_claim_cannot_use(tables: Path, edit: Edit) -> None:
    edit("paper  = 82.9", 'paper  = "82.9 to 83"')
    (fault,) = faults(tables)
    assert fault.startswith(f"{PLACE}: references[0].paper: should be a number, or one with a mark or a spread")
    assert fault.endswith("compares it, got '82.9 to 83'")


def test_a_cell_of_words_that_a_claim_cannot_use(tables: Path, edit: Edit) -> None:
    """Of a metric that may be printed in words, a claim still needs a number."""
    edit('metric    = "top1"', 'metric    = "similarity"\nfield     = "last"')
    edit("b_224 = 81.8", 'b_224 = "9/0.5"')
    assert any(
        fault.startswith(f"{PLACE}: rows[0].paper.b_224: ") and "since claims[" in fault for fault in faults(tables)
    )


def test_a_column_that_is_not_there(tables: Path, edit: Edit) -> None:
    edit("b_384 = 83.2", "b_348 = 83.2")
    assert faults(tables) == [
        f"{PLACE}: rows[1].paper.b_348: the table has no column 'b_348'\n"
        "  did you mean 'b_384'?\n"
        "  columns: b_224, b_384, s_224, ti_224"
    ]


def test_a_number_for_a_column_of_words(tables: Path, edit: Edit) -> None:
    edit("paper = { ti_224 = 72.2", "paper = { label = 72.2")
    (fault,) = faults(tables)
    assert fault.startswith(f"{PLACE}: rows[0].paper.label: column 'label' holds words\n")


def test_two_rows_of_one_key(tables: Path, edit: Edit) -> None:
    edit('key   = "soft"', 'key   = "none"')
    assert f"{PLACE}: rows[1].key: 'none' stands twice" in faults(tables)


def test_a_run_that_is_not_there(tables: Path, edit: Edit) -> None:
    edit('run   = "{column}/soft"', 'run   = "{column}/sotf"')
    found = faults(tables)
    assert len(found) == 4
    assert any(
        fault.startswith(
            f"{PLACE}: rows[1].run: cell soft.ti_224: there is no run 'deit-ti-224/sotf'\n"
            "  did you mean 'deit-ti-224/soft'?\n"
        )
        for fault in found
    )


def test_a_head_that_a_network_does_not_have(tables: Path, edit: Edit) -> None:
    edit(
        'head  = "class"\ntext  = { label = "✗", teacher = "soft" }', 'head  = "distillation"\ntext  = { label = "✗" }'
    )
    found = faults(tables)
    assert (
        f"{PLACE}: rows[1].head: cell soft.ti_224: the network of run 'deit-ti-224/soft' has no head 'distillation'\n"
        "  heads: class\n"
        "  only runs with a distillation token have the other heads"
    ) in found
    assert len(found) == 4


def test_a_head_that_no_network_has(tables: Path, edit: Edit) -> None:
    edit('head  = "softmax-sum"', 'head  = "softmax"')
    (fault,) = faults(tables)
    assert fault.startswith(f"{PLACE}: rows[5].head: ")
    assert fault.endswith(", got 'softmax'\n  did you mean 'softmax-sum'?")
    assert "'softmax-sum'" in fault


def test_an_unknown_metric(tables: Path, edit: Edit) -> None:
    edit('metric    = "top1"', 'metric    = "top-1"')
    (fault,) = faults(tables)
    assert fault.startswith(f"{PLACE}: table.metric: there is no metric 'top-1'\n  did you mean 'top1'?\n  metrics: ")


def test_a_run_that_starts_from_itself(tables: Path, edit: Edit) -> None:
    edit('recipe = "regnet"\n', 'recipe = "regnet"\ninit = "regnety-16gf"\n', "runs.toml")
    assert (
        'tables/runs.toml: runs."regnety-16gf".init: the run starts from itself: regnety-16gf -> regnety-16gf'
    ) in faults(tables)


def ring(*runs: tuple[str, str]) -> str:
    return "".join(f'\n[runs.{name}]\nmodel = "deit-b"\nrecipe = "deit"\n{rest}\n' for name, rest in runs)


def test_runs_that_start_from_each_other(tables: Path) -> None:
    append(tables, ring(("a", 'init = "b"'), ("b", 'init = "c"'), ("c", 'init = "a"')))
    assert faults(tables) == [
        'tables/runs.toml: runs."a".init: the run starts from itself: a -> b -> c -> a',
        'tables/runs.toml: runs."b".init: the run starts from itself: b -> c -> a -> b',
        'tables/runs.toml: runs."c".init: the run starts from itself: c -> a -> b -> c',
    ]


def test_a_ring_of_teachers_behind_innocent_beginnings(tables: Path) -> None:
    """Each also starts from a sound network, which must not hide the ring."""
    hard = 'distillation = "hard"\ninit = "sound"\nteacher = '
    append(tables, ring(("sound", ""), ("a", f'{hard}"b"'), ("b", f'{hard}"a"')))
    assert faults(tables) == [
        'tables/runs.toml: runs."a".teacher: the run starts from itself: a -> b -> a',
        'tables/runs.toml: runs."b".teacher: the run starts from itself: b -> a -> b',
    ]


def test_a_token_for_a_model_without_one(tables: Path) -> None:
    body = '\n[runs.x]\nmodel = "regnety-16gf"\nrecipe = "regnet"\nteacher = "regnety-16gf"\ndistillation = "token"\n'
    append(tables, body)
    assert faults(tables) == [
        "tables/runs.toml: runs.\"x\".distillation: the model 'regnety-16gf' has no distillation token at the scale "
        "'mini'\n  name its twin with a token there as 'timm_distilled', or use a distillation without token"
    ]


def test_a_teacher_without_a_way_to_learn_from_it(tables: Path) -> None:
    append(tables, ring(("x", 'teacher = "regnety-16gf"')))
    (fault,) = faults(tables)
    assert fault.startswith('tables/runs.toml: runs."x": ')
    assert "'distillation'" in fault


def test_names_that_the_scale_does_not_bind(tables: Path) -> None:
    append(tables, '\n[runs.x]\nmodel = "deit-bb"\nrecipe = "deti"\ndata = "imagent"\nresolution = 225\n')
    found = faults(tables)
    for part in (
        "runs.\"x\".model: the scale 'mini' does not bind the model 'deit-bb'\n  did you mean 'deit-b'?",
        "runs.\"x\".recipe: there is no recipe 'deti'\n  did you mean 'deit'?",
        "runs.\"x\".data: the scale 'mini' does not bind the data set 'imagent'\n  did you mean 'imagenet'?",
        "runs.\"x\".resolution: the scale 'mini' does not bind the resolution '225'\n  did you mean '224'?",
    ):
        assert any(part in fault for fault in found), part
    assert len(found) == 4


def test_a_change_of_a_field_that_recipes_do_not_have(tables: Path) -> None:
    append(tables, ring(("x", "change = { lr = -1.0, drop_paht = 0.1 }")))
    found = faults(tables)
    assert 'tables/runs.toml: runs."x".change.lr: should be greater than 0, got -1.0' in found
    assert any(
        fault.startswith(
            "tables/runs.toml: runs.\"x\".change.drop_paht: unknown key 'drop_paht'\n  did you mean 'drop_path'?"
        )
        for fault in found
    )


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('left  = "hard"', 'left  = "hrad"', "the table has no row 'hrad'\n  did you mean 'hard'?"),
        (
            'above   = "@teacher"',
            'above   = "@techer"',
            "the table has no reference 'techer'\n  did you mean 'teacher'?",
        ),
        ('left    = "*.s_224"', 'left    = "*.s_242"', "the table has no column 's_242'\n  did you mean 's_224'?"),
        ('above = "soft"\n', 'above = "soft"\nabout = "none"\n', "a claim has exactly one of: "),
        ('left  = "hard"\nabove = "soft"\n', 'left  = "hard"\n', "a claim has exactly one of: "),
        (
            'where = ["ti_224", "s_224", "b_224", "b_384"]\n',
            "",
            "'where' must list",
        ),
    ],
)
def test_a_claim_about_nothing(tables: Path, edit: Edit, old: str, new: str, fault: str) -> None:
    edit(old, new)
    found = faults(tables)
    assert any(one.startswith(f"{PLACE}: claims[") and f": {fault}" in one for one in found), found


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (f'quote = "{"word " * 16}"', ".quote: should have at most 15 words of the paper, got 16"),
        (
            'quote = "a word"\nreading = true',
            ": is quoted and a reading: should have 'quote' or 'reading = true'\n  quote",
        ),
        ("", ": is neither quoted nor a reading: should have 'quote' or 'reading = true'\n  quote the paper's words"),
        ('quote = ""', ": is neither quoted nor a reading: "),
        ('reading = true\nsee = ""', ".see: names no place: give the section, caption or table of the paper"),
        ('reading = true\nwithin_source = "deit#32"', ".within_source: is the source of no margin: give 'within', or"),
        ('reading = true\nscope = "each"', ".scope: should be 'average' or 'every', got 'each'"),
    ],
)
def test_a_claim_with_words_that_are_not_the_papers(tables: Path, edit: Edit, lines: str, fault: str) -> None:
    see = "" if "see" in lines else 'see = "Table 3"\n'
    edit(
        '[[notes]]\nrows = ["soft"',
        f'[[claims]]\ntext = "a"\nleft = "1"\nabove = "0"\n{see}{lines}\n[[notes]]\nrows = ["soft"',
    )
    (found,) = faults(tables)
    assert found.startswith(f"{PLACE}: claims[")
    assert f"]{fault}" in found


def test_a_note_about_nothing(tables: Path, edit: Edit) -> None:
    edit('rows = ["soft", "hard"]', 'rows = ["soft", "hadr"]')
    (fault,) = faults(tables)
    assert fault.startswith(f"{PLACE}: notes[0].rows: the table has no row 'hadr'\n  did you mean 'hard'?\n")


def test_a_tolerance_for_a_column_that_is_not_there(tables: Path, edit: Edit) -> None:
    edit("b_384 = 0.1 }", "b_348 = 0.1 }")
    (fault,) = faults(tables)
    assert fault.startswith(f"{PLACE}: table.tolerance.b_348: the table has no column 'b_348'\n  did you mean 'b_384'?")


def test_all_faults_of_all_files_at_once(replicate: Call, tables: Path, edit: Edit) -> None:
    edit("decimals  = 1", 'decimals  = "one"')
    edit('caption   = "', 'captoin   = "')
    edit("crop          = 0.875", "crop          = 8.75", "runs.toml")
    edit("sd          = 3.9", "sd          = -3.9", "scales/mini.toml")
    done = replicate("check", "--tables", str(tables))
    assert done.returncode == 2
    assert done.stdout == ""
    said = done.stderr
    wrong = "should be a number of 0 or more, or 'unknown', got -3.9"
    assert said.startswith(f"error: scales/mini.toml: noise[3].sd: {wrong}\n")
    assert f"\n{PLACE}: table.caption: this key is required\n" in said
    assert f"\n{PLACE}: table.captoin: unknown key 'captoin'\n  did you mean 'caption'?\n" in said
    assert f"\n{PLACE}: table.decimals: should be a valid integer, got 'one'\n" in said
    assert "\ntables/runs.toml: evaluation.crop: should be less than or equal to 1, got 8.75\n" in said
    entries = json.loads(replicate("check", "--json", "--tables", str(tables)).stdout)["faults"]
    assert len({entry["where"] for entry in entries}) == 5
    assert entries[0] == {
        "where": "scales/mini.toml: noise[3].sd",
        "what": wrong,
        "help": [],
    }


def test_no_toml(tables: Path, edit: Edit) -> None:
    edit('id        = "', "id        = ")
    (fault,) = faults(tables)
    assert fault.startswith(f"{PLACE}: not TOML: ")
    assert "line 11" in fault


def test_a_key_given_twice(tables: Path, edit: Edit) -> None:
    edit("number    = 3\n", "number    = 3\nnumber    = 4\n")
    (fault,) = faults(tables)
    assert fault.startswith(f"{PLACE}: not TOML: Cannot overwrite a value (at line 13")


def test_no_utf8(tables: Path) -> None:
    (tables / SPEC).write_bytes("# Müller\n".encode("latin-1"))
    assert faults(tables) == [f"{PLACE}: not UTF-8: invalid start byte at byte 3"]


def test_runs_that_are_missing(tables: Path) -> None:
    (tables / "runs.toml").unlink()
    assert faults(tables) == ["tables/runs.toml: cannot be read: No such file or directory"]


def test_a_folder_without_tables(replicate: Call, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    done = replicate("list", "--tables", str(tmp_path / "tables"))
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {tmp_path}/tables has no table specs: no *.toml beside runs.toml\n"
        "  write one file a table, or name another folder with --tables DIR\n"
    )
    with pytest.raises(UserError, match="has no table specs: no"):
        load(tmp_path / "tables", "mini")


def test_a_folder_that_is_not_there(replicate: Call, tmp_path: Path) -> None:
    done = replicate("list", "--tables", str(tmp_path / "none"))
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {tmp_path}/none is not a folder\n  name the folder of the specs with --tables DIR\n"
    )


def test_a_table_of_another_name_than_its_file(tables: Path) -> None:
    (tables / "again.toml").write_text((tables / SPEC).read_text())
    assert faults(tables) == [f"tables/again.toml: table.id: must be the name of the file, 'again', got '{TABLE}'"]


def test_a_table_is_known_by_its_id_and_its_number_is_a_hint(tables: Path) -> None:
    for name in ("3", "Table 3", "table3"):
        with pytest.raises(UserError) as caught:
            load(tables, "mini").table(name)
        assert str(caught.value) == (f"unknown table '{name}'\n  Table 3 of the paper is '{TABLE}'\n  tables: {TABLE}")
    with pytest.raises(UnknownName):
        load(tables, "mini").table("4")


def test_a_folder_without_scales(tables: Path) -> None:
    shutil.rmtree(tables / "scales")
    with pytest.raises(UserError) as caught:
        load(tables, "mini")
    assert str(caught.value).startswith(f"{tables}/scales has no scales: no *.toml there\n")


def test_a_fault_of_a_scale_is_not_said_of_those_that_extend_it(replicate: Call, tables: Path, edit: Edit) -> None:
    shutil.copy(ROOT / "tables" / "scales" / "mini-digits.toml", tables / "scales")
    edit("sd          = 3.9", "sd          = -3.9", "scales/mini.toml")
    edit("[recipes.deit]", "[recipes.deit]\nepohcs = 3", "scales/mini.toml")
    edit("title  ", 'titel = "x"\ntitle  ', "scales/mini-digits.toml")
    entries = json.loads(replicate("check", "--json", "--tables", str(tables)).stdout)["faults"]
    assert {entry["where"] for entry in entries} == {
        "scales/mini.toml: noise[3].sd",
        "scales/mini-digits.toml: titel",
    }
    edit("sd          = -3.9", "sd          = 3.9", "scales/mini.toml")
    edit('titel = "x"\n', "", "scales/mini-digits.toml")
    entries = json.loads(replicate("check", "--json", "--tables", str(tables)).stdout)["faults"]
    assert [entry["where"] for entry in entries] == ["scales/mini.toml: recipes.deit.epohcs"]


def test_an_unknown_scale(tables: Path) -> None:
    with pytest.raises(UnknownName) as caught:
        load(tables, "papr")
    assert str(caught.value) == "unknown scale 'papr'\n  did you mean 'paper'?\n  scales: mini, paper"


def test_a_scale_of_another_name_than_its_file(tables: Path, edit: Edit) -> None:
    edit('id        = "mini"', 'id        = "maxi"', "scales/mini.toml")
    assert "scales/mini.toml: id: must be the name of the file, 'mini', got 'maxi'" in faults(tables)


def test_a_scale_that_extends_nothing(tables: Path) -> None:
    (tables / "scales" / "mini.toml").write_text('id = "mini"\nextends = "papre"\n')
    assert (
        "scales/mini.toml: extends: there is no scale 'papre'\n  did you mean 'paper'?\n  scales: mini, paper"
        in faults(tables)
    )


@pytest.mark.parametrize("side", ["nan", "inf", "-inf", "1e999", "infinity", ""])
def test_a_claim_about_no_finite_number(tables: Path, edit: Edit, side: str) -> None:
    edit('above   = "@teacher"', f'above = "{side}"')
    (fault,) = faults(tables)
    assert fault.startswith(f"{PLACE}: claims[")


def test_a_ratio_to_zero(tables: Path, edit: Edit) -> None:
    edit('left  = "hard"\nabove = "soft"\nwhere', 'left  = "hard"\ntimes = "0.0"\nwhere')
    (fault,) = faults(tables)
    assert fault.endswith("compares by ratio: the right side should not be 0, got '0.0'")


def test_a_byte_order_mark(tables: Path, edit: Edit) -> None:
    edit("decimals  = 1", "decimal  = 1")
    (tables / SPEC).write_text("\ufeff" + (tables / SPEC).read_text())
    first, second = faults(tables)
    assert first == f"{PLACE}: begins with a byte-order mark; save it as UTF-8 without one"
    assert second.startswith(f"{PLACE}: table.decimal: unknown key 'decimal'"), "the rest is read all the same"


@pytest.mark.parametrize("name", ["../up", "a/b", "a b", "..", "", ".hidden", "ä b"])
@pytest.mark.parametrize(("table", "file"), [("models", "scales/mini"), ("data", "scales/mini"), ("distillation", "")])
def test_a_name_that_no_folder_can_have(tables: Path, name: str, table: str, file: str) -> None:
    body = {
        "models": 'timm = "x"',
        "data": 'source = "imagefolder"\nname = "x"\nclasses = 2\ntrain = 2\ntest = 2',
        "distillation": 'method = "hard"\ntoken = false\nweight = 0.5\ntau = 1.0\nreduction = "mean"',
    }[table]
    append(tables, f'\n[{table}."{name}"]\n{body}\n', f"{file or 'runs'}.toml")
    (fault,) = faults(tables)
    assert f'.toml: {table}."{name}": should be a name that a folder can have: letters, digits, ' in fault
    assert fault.endswith(f", got '{name}'")


@pytest.mark.parametrize("name", ["../up", "/a", "a//b", "a b/c", "a/.."])
def test_a_name_of_a_run_that_leads_elsewhere(tables: Path, name: str) -> None:
    append(tables, f'\n[runs."{name}"]\nmodel = "deit-b"\nrecipe = "deit"\n')
    (fault,) = faults(tables)
    assert fault.startswith(f"tables/runs.toml: runs.\"{name}\": should be a name, or several with '/' between")


def test_a_scale_is_a_name_and_no_path(replicate: Call, tables: Path) -> None:
    done = replicate("list", "--tables", str(tables), "--scale", "../runs")
    assert done.stderr.startswith("error: unknown scale '../runs'")


@pytest.mark.parametrize("value", ["nan", "inf", "[1.0, -inf]", "2026-11-24"])
def test_an_argument_that_no_key_can_hold(tables: Path, value: str) -> None:
    append(tables, f'\n[models.own]\ntimm = "x"\nargs = {{ depth = {value} }}\n', "scales/mini.toml")
    (fault,) = faults(tables)
    assert fault.startswith("scales/mini.toml: models.own.args: should be finite numbers, words, ")


@pytest.mark.parametrize("value", ["true", "3", '["deit"]', "{}"])
def test_a_base_that_is_no_name(tables: Path, edit: Edit, value: str) -> None:
    append(tables, f"\n[recipes.own]\nextends = {value}\n")
    (fault,) = faults(tables)
    assert fault.startswith("tables/runs.toml: recipes.own.extends: should be the name of a recipe, got ")


RELEASED = '\n[released]\n"{run}" = "{file}"\n'
WHERE = 'scales/mini.toml: released."deit-s-224/none"'


@pytest.mark.parametrize(
    "file",
    [
        "weights.pth",
        "weights-0123abc.pth",
        "weights-0123abcd.bin",
        "http://example.org/weights-0123abcd.pth",
        "https://example.org/../weights-0123abcd.pth?x=1",
        "../weights-0123abcd.pth",
        "/weights-0123abcd.pth",
        "file:///weights-0123abcd.pth",
    ],
)
def test_published_weights_are_a_file_name_or_an_https_address_with_digits(tables: Path, file: str) -> None:
    append(tables, RELEASED.format(run="deit-s-224/none", file=file), "scales/mini.toml")
    (fault,) = faults(tables)
    assert fault.startswith(f"{WHERE}: should be the name of a file or its https address")
    assert f"got '{file}'" in fault


def test_published_weights_are_of_a_run_that_is_trained_and_read_by_its_last_weights(tables: Path) -> None:
    entry = partial(RELEASED.format, file="weights-0123abcd.pth")
    append(tables, entry(run="deit-s-224/non"), "scales/mini.toml")
    for run in ("resnet-50", "deit-b-224/ema"):
        append(tables, entry(run=run).replace("[released]", ""), "scales/mini.toml")
    found = faults(tables)
    assert [fault.partition(": ")[2] for fault in found] == [
        "released.\"deit-b-224/ema\": the run 'deit-b-224/ema' is read by its averaged weights, and a published file "
        "has one set",
        "released.\"deit-s-224/non\": runs.toml has no run 'deit-s-224/non'\n  did you mean 'deit-s-224/none'?\n"
        + found[1].splitlines()[-1],
        "released.\"resnet-50\": the run 'resnet-50' has no recipe, so it is measured but not trained\n"
        + found[2].splitlines()[-1],
    ]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--from", "released"), "--from released: the scale 'mini' names no published weights"),
        (("--from", "released", "--scale", "paper", "--seeds", "0,1"), "--from released takes one seed, got 0,1"),
    ],
)
def test_released_is_refused_where_it_means_nothing(
    replicate: Call, tables: Path, arguments: tuple[str, ...], what: str
) -> None:
    done = replicate("plan", "--tables", str(tables), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {what}\n")
