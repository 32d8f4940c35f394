"""Numbers in README, docs and the heads of specs that the specs determine: each is worked out again here.

A statement is found by its words, so that whoever rewrites one writes the new words here too.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

import pytest
from command_line import ROOT, TABLE

from replicate import metrics
from replicate.figures.load import figures_of, load_with_figures
from replicate.figures.plan import with_figures
from replicate.jobs.job import Job
from replicate.jobs.train import Train, teacher_seconds
from replicate.plan.answers import with_answers
from replicate.plan.cells import Plan, plan_tables
from replicate.specs.load import Specs
from replicate.specs.recipe import epoch_length
from replicate.specs.sources import ImageData
from replicate.store.store import Store

WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


class World:
    """All tables and figures at one scale, nothing of them stored."""

    def __init__(self, scale: str, released: bool = False, tables: Path = ROOT / "tables") -> None:
        self.specs = load_with_figures(tables, scale, released)

    @cached_property
    def plan(self) -> Plan:
        return self.planned(*self.specs.ordered)

    @cached_property
    def jobs(self) -> list[Job]:
        return list(with_figures(self.plan))

    def planned(self, *tables: str) -> Plan:
        return plan_tables(self.specs, tables, (0,))

    def jobs_of(self, *tables: str) -> dict[str, Job]:
        return dict(self.planned(*tables).graph.jobs)

    def hours_of(self, table: str) -> float:
        """With the answers of teachers that are stored, where nothing is yet."""
        return hours(with_answers(self.planned(table).graph, self.specs, Store(ROOT / "none")))

    def hours_beyond(self, table: str, *others: str, of: Callable[[Job], bool] = lambda job: True) -> float:
        known = self.jobs_of(*others) if others else {}
        return hours(job for key, job in self.jobs_of(table).items() if key not in known and of(job))

    def recipe(self, name: str) -> dict[str, object]:
        written: dict[str, object] = {}
        for layer in self.specs.runs.layers(name, self.specs.scale.recipes):
            written |= layer.fields
        return written

    def left_without_training(self, table: str) -> tuple[str, str]:
        """Of the cells that read a trained network: those that need no training, and all."""
        cells = [
            cell
            for cell in self.plan.cells[table]
            if cell.read is not None and not cell.ref.is_reference and metrics.find(cell.read.metric).trained
        ]
        chains = [self.plan.graph.needed_for(cell.keys) for cell in cells]
        return str(sum(not any(job.trains for job in chain) for chain in chains)), str(len(cells))

    @property
    def steps_of_transfer(self) -> list[int]:
        """Of fine-tuning a student without a teacher, by data set."""
        specs, steps = self.specs, []
        for job in self.jobs_of("transfer").values():
            run = specs.runs.runs.get(job.run) if isinstance(job, Train) else None
            if isinstance(job, Train) and run is not None and run.data != "imagenet" and job.run.startswith("deit"):
                steps.append(job.recipe.epochs * (epoch_length(images(specs, run.data)) // job.recipe.batch))
        return steps


def images(specs: Specs, name: str) -> int:
    data = specs.scale.data[name]
    assert isinstance(data, ImageData)
    return data.train


def hours(jobs: Iterable[Job]) -> float:
    return sum(job.seconds for job in jobs) / 3600


def trainings(jobs: Iterable[Job]) -> list[Train]:
    return [job for job in jobs if isinstance(job, Train)]


@pytest.fixture(scope="module")
def mini() -> World:
    return World("mini")


@pytest.fixture(scope="module")
def paper() -> World:
    return World("paper")


@pytest.fixture(scope="module")
def released() -> World:
    return World("paper", released=True)


def said(file: str, words: str) -> tuple[str, ...]:
    """The numbers that ``file`` states with ``words``, a pattern in which a space is any white space of a comment."""
    text = re.sub(r"\s*\n(# ?)?\s*", " ", (ROOT / file).read_text(encoding="utf-8"))
    found = re.findall(words, text)
    assert found, f"{file} no longer says: {words}"
    assert len(set(found)) == 1, f"{file} says two things: {found}"
    return found[0] if isinstance(found[0], tuple) else (found[0],)


def number(text: str) -> int:
    return WORDS.index(text.lower()) if text.lower() in WORDS else int(text.replace(",", ""))


def test_the_jobs_of_table_3_and_of_everything(mini: World) -> None:
    table3 = len(mini.jobs_of(TABLE))
    whole = (len(mini.specs.tables), len(figures_of(mini.specs).specs), len(mini.jobs))
    assert number(*said("README.md", r"its (\d+) jobs")) == table3
    assert tuple(map(number, said("README.md", r"all (\d+) tables and (\d+) figures \((\d+) jobs\)"))) == whole
    assert number(*said("docs/benchmarks.md", r"its (\d+) jobs")) == table3
    jobs, tables, figures = said(
        "docs/benchmarks.md", r"for (\d+) jobs, all (\d+) tables with their PDF, and (\d+) figures"
    )
    assert (number(tables), number(figures), number(jobs)) == whole
    assert number(*said("docs/adding-a-table.md", r"`figures/` of this repository has (\w+)")) == whole[1]


@pytest.mark.parametrize("file", ["README.md", "docs/benchmarks.md"])
def test_the_disk_that_table_3_takes(file: str, mini: World) -> None:
    jobs = mini.jobs_of(TABLE)
    assert number(*said(file, r"stored results \| (\d+) MB")) == round(
        sum(job.megabytes(jobs) for job in jobs.values())
    )


def test_what_the_demo_trains(mini: World) -> None:
    runs = [(job, mini.specs.runs.runs[job.run]) for job in trainings(mini.jobs_of(TABLE).values())]
    students = [run for _, run in runs if run.model.startswith("deit") and run.init is None]
    tuned = [run for _, run in runs if run.model.startswith("deit") and run.init is not None]
    counts = (len(students), len({run.model for run in students}), len({run.method for run in students}))
    words = r"teacher, (\d+) students with timm's DeiT \((\w+) sizes, (\w+) ways of distillation\)"
    assert tuple(map(number, said("README.md", words))) == counts
    words = r"fine-tunes (\w+) of them at a higher resolution \((\w+) with the teacher\)"
    taught = sum(run.teacher is not None for run in tuned)
    assert tuple(map(number, said("README.md", words))) == (len(tuned), taught)


def test_how_large_the_miniature_is(mini: World) -> None:
    models, scale = mini.specs.scale.models, mini.specs.scale
    sizes = [models[name].args for name in ("deit-ti", "deit-s", "deit-b")]
    widths = [size["embed_dim"] for size in sizes]
    pixels = scale.resolutions["224"]
    words = r"\(width (\d+) to (\d+)\) on generated images of (\d+) pixels"
    assert tuple(map(number, said("README.md", words))) == (min(widths), max(widths), pixels)  # type: ignore[type-var]
    words = r"patch 16 \| widths (\d+)/(\d+)/(\d+), (\d+) blocks, (\d+)/(\d+)/(\d+) heads, patch (\d+) \|"
    (depth,), (patch,) = {one["depth"] for one in sizes}, {one["patch_size"] for one in sizes}
    heads = [one["num_heads"] for one in sizes]
    assert [*map(number, said("docs/deviations.md", words))] == [*widths, depth, *heads, patch]
    # Of the paper's networks, which are 192, 384 and 768 wide and have 12 blocks.
    (share,) = {full / int(str(width)) for full, width in zip((192, 384, 768), widths, strict=True)}
    assert said("tables/model_variants.toml", r"networks 1/(\d+) as wide and a (\w+) as deep") == (
        f"{share:g}",
        "sixth",
    )
    assert depth == 12 / 6


def test_how_long_the_miniature_trains(mini: World) -> None:
    deit, tuning, data = mini.recipe("deit"), mini.recipe("deit-384"), mini.specs.scale.data["imagenet"]
    assert isinstance(data, ImageData)
    used = epoch_length(data.train)
    words = r"\| (\d+) images \(teachers and fine-tuning (\d+)\), (\d+) epochs of (\d+) \|"
    stated = [*map(number, said("docs/deviations.md", words))]
    assert stated == [deit["batch"], mini.recipe("regnet")["batch"], deit["epochs"], data.train]
    assert mini.recipe("regnet")["batch"] == tuning["batch"]
    assert [*map(number, said("docs/deviations.md", r"\| (\d+), the data set has (\d+) images \|"))] == [
        used,
        data.train,
    ]
    steps = int(str(deit["epochs"])) * used // int(str(deit["batch"]))
    assert number(*said("docs/deviations.md", r"hardly trains at such widths in (\d+) steps")) == steps
    assert number(*said("tables/scales/mini.toml", r"width 24-96 hardly trains in (\d+) steps")) == steps
    epochs = number(*said("docs/deviations.md", r"\| 30 epochs, 5e-6 \| (\d+) epochs, 4e-4 \|"))
    assert (epochs, tuning["lr"]) == (tuning["epochs"], 4e-4)
    left, theirs = said("docs/deviations.md", r"with ([\d,]+) images against ImageNet's ([\d,]+):")
    assert (number(left), number(theirs)) == (
        data.train,
        images(load_with_figures(ROOT / "tables", "paper"), "imagenet"),
    )


def test_how_long_the_miniature_is_fine_tuned_on_other_sets(mini: World) -> None:
    steps, epochs = mini.steps_of_transfer, set()
    for job in trainings(mini.jobs_of("transfer").values()):
        if job.run.startswith("deit") and mini.specs.runs.runs[job.run].data != "imagenet":
            epochs.add(job.recipe.epochs)
    words = r"SGD at ([\d.]+), (\d+) to (\d+) epochs of (\d+) \| (\d+) to (\d+) steps a set"
    rate, *stated = said("docs/deviations.md", words)
    recipe = mini.recipe("transfer")
    assert float(rate) == recipe["lr"]
    assert [*map(number, stated)] == [min(epochs), max(epochs), recipe["batch"], min(steps), max(steps)]


def test_what_the_paper_scale_costs(paper: World) -> None:
    table3 = paper.hours_of(TABLE)
    (teacher,) = [job for job in trainings(paper.jobs_of(TABLE).values()) if job.run == "regnety-16gf"]
    assert number(*said("docs/paper-scale.md", r"needs (\d+) hours for RegNetY-16GF")) == round(hours([teacher]))
    assert number(*said("docs/paper-scale.md", r"all tables together need (\d+) trainings")) == len(
        trainings(paper.plan.graph.jobs.values())
    )
    assert number(*said("docs/paper-scale.md", r"hours of a V100 instead of ([\d,]+) \(`plan`\)")) == round(table3)


def test_what_stored_answers_save(paper: World) -> None:
    whole = with_figures(paper.plan)
    answered = with_answers(whole, paper.specs, Store(ROOT / "none"))
    answers = [job for job in answered if job.kind == "answers"]
    gigabytes = sum(job.megabytes(answered.jobs) for job in answers) / 1000
    words = (
        r"saves \(for all tables ([\d,]+) of ([\d,]+) hours, for ([\d.]+) GB: ([\d.]+) GB for 300 epochs of ImageNet\)"
    )
    saved, hours_live, disk, of_300 = said("docs/paper-scale.md", words)
    assert (number(saved), number(hours_live)) == (round(hours(whole) - hours(answered)), round(hours(whole)))
    assert (disk, of_300) == (f"{gigabytes:.1f}", f"{30 * answers[0].megabytes(answered.jobs) / 1000:.2f}")


def test_what_a_scale_of_your_own_costs(tmp_path: Path) -> None:
    tables = shutil.copytree(ROOT / "tables", tmp_path / "tables")
    (block,) = re.findall(
        r"```toml\n(# tables/scales/in100\.toml\n.*?)```", Path(ROOT, "docs/paper-scale.md").read_text(), re.S
    )
    (tables / "scales" / "in100.toml").write_text(block)
    own = World("in100", tables=tables)
    assert number(*said("docs/paper-scale.md", r"--scale in100`: (\d+) hours")) == round(own.hours_of(TABLE))


def test_what_published_weights_answer(released: World) -> None:
    text = (
        r"Table 4 whole, (\d+) of (\d+) cells of Table 3, (\d+) of (\d+) of Table 5, (\d+) of (\d+) of Table 2,"
        r" (\d+) of (\d+) of Table 7, (\d+) of (\d+) of Table 8, (\d+) of (\d+) of Table 10, (\d+) of (\d+) in the text"
    )
    names = (
        TABLE,
        "efficiency",
        "teacher_comparison",
        "transfer",
        "augmentation_ablation",
        "resolution",
        "token_similarity",
    )
    counts = [released.left_without_training(name) for name in names]
    assert said("docs/paper-scale.md", text) == tuple(one for both in counts for one in both)
    left, of = released.left_without_training("decision_agreement")
    assert left == of
    assert number(*said("docs/paper-scale.md", r"in place of training a network: (\w+) networks")) == len(
        released.specs.scale.released
    )


def test_the_images_of_every_data_set(paper: World) -> None:
    data = paper.specs.scale.data
    for name, folder in (("imagenet", "imagenet-1k"), ("flowers", "flowers102"), ("cars", "stanford-cars")):
        classes, train, test = said(
            "docs/paper-scale.md", rf"\| `{folder}` \|[^|]*\| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|"
        )
        facts = data[name]
        assert isinstance(facts, ImageData)
        assert (number(classes), number(train), number(test)) == (facts.classes, facts.train, facts.test)


ABOUT = 0.03
"""What "about" means at the head of a spec: two digits."""
BEYOND_TABLE_3 = (
    "teacher_comparison",
    "scratch_cifar10",
    "augmentation_ablation",
    "resolution",
    "token_similarity",
    "transfer",
)


def close(stated: str, value: float) -> bool:
    return abs(number(stated) - value) <= ABOUT * value


def test_the_heads_of_specs_state_what_they_cost(paper: World) -> None:
    table3 = paper.jobs_of(TABLE)
    own = trainings(table3.values())

    def teacher_hours(students: Iterable[Train]) -> float:
        runs = paper.specs.runs.runs
        return sum(teacher_seconds(paper.specs, runs[job.run], job.recipe.epochs) for job in students) / 3600

    taught = teacher_hours(own)
    teachers = hours(job for job in own if job.run.startswith("regnety"))
    students = hours(job for job in own if job.run.startswith("deit")) - taught
    whole, learning, teaching, live, stored = said(
        f"tables/{TABLE}.toml",
        r"about ([\d,]+) V100-hours for one seed, ([\d,]+) of them the students' .*? ([\d,]+) to train the teacher,"
        r" ([\d,]+) its answers while students of soft distillation train,\s+#?\s*([\d,]+) to store its answers",
    )
    saved = hours(table3.values()) - paper.hours_of(TABLE)
    soft = teacher_hours(job for job in own if job.run.endswith("/soft"))
    assert close(whole, paper.hours_of(TABLE))
    assert close(learning, students)
    assert close(teaching, teachers)
    assert close(live, soft)
    assert close(stored, taught - soft - saved)
    for name in BEYOND_TABLE_3:
        stated = said(f"tables/{name}.toml", r"about ([\d,]+) V100-hours(?! each)")
        assert close(*stated, paper.hours_beyond(name, TABLE)), name
    stated, claims = said(
        "tables/efficiency.toml",
        r"about ([\d,]+) V100-hours for one seed; those claims' three pre-trainings ([\d,]+) more",
    )
    for_claims = ("deit-b-224/none-400", "deit-b-224/soft-1000", "deit-b-224/hard-1000")
    efficiency = paper.jobs_of("efficiency").values()
    assert close(claims, hours(job for job in efficiency if job.run in for_claims and job.kind == "train"))
    others = (TABLE, "teacher_comparison")
    assert close(stated, paper.hours_beyond("efficiency", *others, of=lambda job: job.run not in for_claims))


@pytest.mark.torch
def test_how_many_parameters_the_miniatures_convnets_have(mini: World) -> None:
    pytest.importorskip("torch")
    from replicate.engine import models

    sizes = []
    for name in ("regnety-4gf", "regnety-8gf", "regnety-12gf", "regnety-16gf"):
        network = mini.plan.expander.untrained(name, 224, None, "imagenet")
        built = models.build(network.model, network.size, network.classes)
        sizes.append(sum(weights.numel() for weights in built.parameters()))
    words = r"RegNetY with (\d+), (\d+), (\d+) and (\d+) thousand parameters"
    assert [*map(number, said("docs/deviations.md", words))] == [round(size / 1000) for size in sizes]
    ratio = said("docs/deviations.md", r"ratio of the largest to the smallest is ([\d.]+) instead of 4")[0]
    assert float(ratio) == round(sizes[-1] / sizes[0], 1)
    assert number(*said("docs/deviations.md", r"a RegNetY of ([\d,]+) parameters")) == round(sizes[-1], -3)
