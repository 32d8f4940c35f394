"""Recipes that no training could follow, or only a nonsensical one, are found before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Call

from replicate.errors import SpecError
from replicate.jobs.train import Train
from replicate.plan.cells import plan_tables
from replicate.specs.augment import AutoPolicy, RandPolicy, policy_of
from replicate.specs.load import load

RUNS, MINI = "tables/runs.toml", "scales/mini.toml"
OWN = '\n[runs.own]\nmodel = "deit-b"\nrecipe = "deit"\n'


def add(tables: Path, text: str, name: str = "runs.toml") -> None:
    with (tables / name).open("a") as file:
        file.write(text)


def changed(tables: Path, change: str) -> list[str]:
    """The faults of a run of its own with ``change``."""
    add(tables, f"{OWN}change = {{ {change} }}\n")
    return faults(tables)


def in_scale(tables: Path, recipe: str, line: str) -> list[str]:
    path = tables / "scales" / "mini.toml"
    field = line.split("=")[0].strip()
    before, entry, after = path.read_text().partition(f"[recipes.{recipe}]\n")
    assert entry
    own, blank, rest = after.partition("\n\n")
    kept = "\n".join(one for one in own.splitlines() if one.split("=")[0].strip() != field)
    path.write_text(f"{before}{entry}{line}\n{kept}{blank}{rest}")
    return faults(tables)


def faults(tables: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(tables, "mini")
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rand-m9", "'rand' needs inc1"),
        ("rand-m9-inc0", "'rand' needs inc1"),
        ("rand-m11-inc1", "'rand' needs a whole m from 0 to 10"),
        ("rand-m9.5-inc1", "'rand' needs a whole m from 0 to 10"),
        ("rand-mstd0.5-inc1", "'rand' needs a whole m from 0 to 10"),
        ("rand-m9-n0-inc1", "n is a whole number from 1 on"),
        ("rand-m9-p2-inc1", "p is at most 1"),
        ("rand-m9-m8-inc1", "m stands twice"),
        ("rand-m9-w0-inc1", "'w0' is no number of m or n or mstd or p or inc"),
        ("rand-m9--inc1", "'' is no number of"),
        ("original-m9", "'m9' is no number of mstd"),
        ("augmix-m3", "'augmix' is none of rand, original, v0"),
    ],
)
def test_an_augmentation_that_the_engine_would_refuse(tables: Path, text: str, why: str) -> None:
    (fault,) = changed(tables, f'auto_augment = "{text}"')
    assert fault.startswith(f'{RUNS}: runs."own".change.auto_augment: should be written as in ')
    assert f"({why}" in fault
    assert fault.endswith(f", got '{text}'")


def test_augmentations_that_there_are() -> None:
    assert policy_of("rand-m9-mstd0.5-inc1") == RandPolicy(9, deviation=0.5)
    assert policy_of("rand-m7-n3-p0.8-inc1") == RandPolicy(7, 3, 0.0, 0.8)
    assert policy_of("v0-mstd0.25") == AutoPolicy("v0", 0.25)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("crop_scale = [0.9, 5.0]", "crop_scale: should be shares of the image, at most 1, got [0.9, 5.0]"),
        ("crop_scale = [0.9, 0.5]", "crop_scale: should be the smaller number first, got [0.9, 0.5]"),
        ("crop_ratio = [3.0, 0.2]", "crop_ratio: should be the smaller number first, got [3.0, 0.2]"),
        ("warmup_epochs = 31", "warmup_epochs: should be at most the 30 epochs there are, got 31"),
        ("epochs = 2", "epochs: should be at least the 3 epochs of the warm-up, got 2"),
        ("mix_batch = 60", "mix_batch: should divide the batch of 32, got 60\n  mix_batch is the batch of one GPU"),
        ("batch = 48", "batch: should be a multiple of the mix_batch of 32, got 48\n  mix_batch is"),
        ("batch = 1024", "batch: should be at most 768, the images of an epoch of 'imagenet' at the scale 'mini', "),
    ],
)
def test_a_change_that_suits_nothing_around_it(tables: Path, change: str, said: str) -> None:
    (fault,) = changed(tables, change)
    assert fault.startswith(f'{RUNS}: runs."own".change.{said}')


@pytest.mark.parametrize(
    ("recipe", "line", "said"),
    [
        ("deit", 'auto_augment = "rand-m9"', "auto_augment: should be written as in "),
        ("deit", "crop_scale = [0.9, 5.0]", "crop_scale: should be shares of the image"),
        ("deit", "mix_batch = 60", "mix_batch: should divide the batch of 32, got 60"),
        ("deit", "warmup_epochs = 31", "warmup_epochs: should be at most the 30 epochs"),
        ("deit", "batch = 1024", "batch: should be at most 768, the images of an epoch of 'imagenet', got 1024"),
    ],
)
def test_a_field_of_a_scale_is_blamed_where_it_stands(tables: Path, recipe: str, line: str, said: str) -> None:
    found = in_scale(tables, recipe, line)
    assert any(fault.startswith(f"{MINI}: recipes.{recipe}.{said}") for fault in found), found


def test_they_come_together_with_other_faults(replicate: Call, tables: Path) -> None:
    changed(tables, 'auto_augment = "rand", mix_batch = 60, crop_ratio = [3.0, 0.2]')
    add(tables, '\n[runs.x]\nmodel = "deit-bb"\nrecipe = "deit"\nchange = { mix_batch = 60 }\n')
    done = replicate("check", "--tables", str(tables))
    assert done.returncode == 2
    for part in ('own".change.auto_augment', 'own".change.crop_ratio', 'x".change.mix_batch', 'x".model'):
        assert f'runs."{part}: ' in done.stderr, part


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("imagenet-v2", "'imagenet-v2' has no training images at the scale 'mini'"),
        ("imagenet-real", "'imagenet-real' has labels only at the scale 'mini': nothing learns from it"),
    ],
)
def test_data_that_nothing_can_learn_from(tables: Path, data: str, said: str) -> None:
    add(tables, f'{OWN}data = "{data}"\n')
    assert faults(tables) == [f'{RUNS}: runs."own".data: {said}']


def test_averaged_weights_that_nothing_averages(tables: Path) -> None:
    add(tables, f'{OWN}weights = "ema"\nchange = {{ ema = 0.0 }}\n')
    (fault,) = faults(tables)
    assert fault.startswith(f"{RUNS}: runs.\"own\".weights: the training of 'deit' averages no weights, got 'ema'\n")


def test_a_recipe_that_is_only_read_out_needs_no_data(tables: Path) -> None:
    add(tables, f"{OWN}trained = false\nchange = {{ batch = 4096 }}\n")
    load(tables, "mini")
    add(tables, '\n[runs.other]\nmodel = "deit-b"\nrecipe = "deit"\ninit = "own"\n')
    assert faults(tables) == [
        f"{RUNS}: runs.\"other\".init: the run 'own' has trained = false: its recipe is only read out"
    ]


def test_the_label_alone_teaches_two_tokens(tables: Path) -> None:
    body = 'method = "label"\ntoken = false\nweight = 0.5\ntau = 1.0\nreduction = "mean"\n'
    add(tables, f"\n[distillation.bad]\n{body}")
    assert faults(tables) == [
        f"{RUNS}: distillation.bad: the method 'label' teaches two tokens: should have token = true"
    ]


def test_one_line_of_a_scale_is_the_precision_of_all_its_trainings(tables: Path, replicate: Call) -> None:
    """Whatever recipes say, and part of what is computed."""
    plans = []
    for line in ("", 'precision = "bf16"\n'):
        path = tables / "scales" / "mini.toml"
        path.write_text(line + path.read_text())
        plans.append(plan_tables(load(tables, "mini"), ["distillation_ablation"], (0,)).graph)
    for graph, expected in zip(plans, ("fp32", "bf16"), strict=True):
        trainings = [job for job in graph if isinstance(job, Train)]
        assert {job.recipe.precision for job in trainings} == {expected}
        assert not any(job.needs_gpu for job in trainings)
    before, after = ({job.key for job in graph} for graph in plans)
    assert {key.split("-")[0] for key in before & after} == {"data"}
    told = replicate("explain", "distillation_ablation", "none", "b_224", "--tables", str(tables))
    assert told.returncode == 0
    assert "precision bf16" in told.stdout
