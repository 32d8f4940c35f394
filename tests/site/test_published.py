"""What the site says of published weights: no seed, no recipe of ours, and commands that lead back to them."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path

import click
import pytest
from command_line import TABLE
from filled_store import Report

from replicate.cli.workspace import Workspace, with_workspace
from replicate.figures.load import figures_of
from replicate.plan.cells import Plan
from replicate.site.addresses import command
from replicate.site.checklist import Item, checklist

pytestmark = pytest.mark.drawn

STUDENT, TRAINED = "deit-b-224/none", "deit-b-224/soft"


def text_of(path: Path) -> str:
    """What a reader sees of a page, spaces as one."""
    source = path.read_text(encoding="utf-8")
    seen = re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", source, flags=re.DOTALL)
    return " ".join(html.unescape(seen).split())


def commands(report: Report) -> set[str]:
    """Every command that a page prints."""
    pages = (path.read_text(encoding="utf-8") for path in report.folder.rglob("*.html"))
    found = (re.findall(r">\s*(python -m replicate [^<]+)<", page) for page in pages)
    return {html.unescape(one) for page in found for one in page}


def read_as(line: str, tables: Path) -> tuple[tuple[str, ...], Workspace]:
    """The words of a printed command and what the command line makes of its options."""
    found: list[tuple[tuple[str, ...], Workspace]] = []

    @click.command()
    @click.argument("words", nargs=-1)
    @click.option("--id", "table_id")
    @click.option("--again", is_flag=True)
    @with_workspace
    def parsed(workspace: Workspace, words: tuple[str, ...], table_id: str | None, again: bool) -> None:
        found.append(((*words, *([table_id] if table_id else [])), workspace))

    parsed.main([*shlex.split(line)[3:], "--tables", str(tables)], standalone_mode=False)
    return found[0]


@pytest.mark.parametrize("which", ["report", "paper_report", "published_report"])
def test_every_command_finds_what_the_page_shows(which: str, request: pytest.FixtureRequest) -> None:
    report: Report = request.getfixturevalue(which)
    book = report.book
    specs = book.plan.specs
    plans: dict[tuple[object, ...], Plan] = {}
    seen: set[str] = set()
    for line in commands(report):
        words, workspace = read_as(line, specs.folder)
        assert (workspace.scale, workspace.released) == (specs.scale.id, bool(specs.scale.released)), line
        if words[0] == "run":
            if workspace.seeds not in plans:
                plans[workspace.seeds] = workspace.plan([TABLE])
            assert words[1] in plans[workspace.seeds].graph.jobs, line
        else:
            assert workspace.seeds == book.plan.seeds, line
        seen.add(words[-1])
    assert seen == {*book.jobs, TABLE, "report"}


def test_a_figure_is_made_again_at_its_scale(whole: Report, published_report: Report) -> None:
    figures = {line for line in commands(whole) if " figure " in line}
    assert figures == {f"python -m replicate figure {name}" for name in figures_of(whole.book.plan.specs).specs}
    options = "--scale paper --from released --seeds 7"
    assert command(published_report.book.plan, "figure", "curves") == f"python -m replicate figure curves {options}"


def run_page(report: Report, name: str) -> str:
    return text_of(report.folder / report.book.addresses.run(name))


def test_no_seed_is_shown_of_a_published_network(published_report: Report) -> None:
    book = published_report.book
    published, trained = run_page(published_report, STUDENT), run_page(published_report, TRAINED)
    assert "Published weights done" in published
    assert "Evaluation done" in published
    assert "seed 7" not in published.replace("1 seed (7)", "")
    assert "Training, seed 7 done" in trained
    jobs = text_of(published_report.folder / "jobs.html")
    # Kind, run, seed.
    for name, seed in ((STUDENT, "–"), (TRAINED, "7")):
        assert f"predict {name} {seed} " in jobs
    counts = text_of(published_report.folder / book.addresses.table(TABLE))
    assert re.search(r"released weights \d+ of 200 ", counts)
    assert re.search(r"trained here seed 7: \d+ of 200 ", counts)
    assert not re.search(r"released weights seed", counts)


def test_a_recipe_that_nothing_here_was_trained_with_says_so(published_report: Report) -> None:
    said = "Nothing here was trained with these values: the weights were published."
    published, trained = run_page(published_report, "deit-b-224/token"), run_page(published_report, TRAINED)
    assert published.count(said) == 2  # the recipe and the distillation, not the evaluation
    assert "epochs – 300 T9 –" in published
    assert "in the paper, teacher regnety-16gf" in published
    assert said not in trained
    assert "epochs 300 300 T9 –" in trained


def item(report: Report, question: str) -> Item:
    (found,) = [one for one in checklist(report.book) if question in one.question]
    return found


def test_the_checklist_tells_published_weights_from_trained_ones(published_report: Report) -> None:
    book = published_report.book
    trained = len(book.jobs_of("train"))
    available = item(published_report, "trained networks available")
    assert available.facts[0] == f"the weights of {trained} trainings are stored, each file with its SHA-256"
    assert available.facts[2].startswith("8 networks of published weights, 8 of them read here: ")
    assert ("deit-ti-224/none", True) in [(name, "a1311bcf" in text) for name, text in available.listed]
    assert len(available.listed) == 8
    assert item(published_report, "test images").facts[2] == (
        "8 networks of published weights: by what their trainings were stopped or picked is not known here"
    )
    # The teacher is published; its fine-tuning at 384 is a training of its own, of one seed.
    assert item(published_report, "which seeds").facts == (
        "1 seed: 7",
        "n = 1 for every number that depends on a seed",
        "students of every seed learn from the teacher of seed 0, so their spread is their own",
        "8 networks of published weights: one training each, and its seed is not known here",
    )
    runs = set(book.runs) - book.plan.specs.scale.released.keys()
    parameters = item(published_report, "hyper-parameter")
    assert f"in the recipes of {len(runs)} runs" in parameters.facts[0]
    assert "nothing here was trained with their recipes" in parameters.facts[3]
    assert "trains what no published weights stand for" in item(published_report, "command").facts[0]


def test_where_all_is_trained_nothing_is_said_of_published_weights(paper_report: Report) -> None:
    for one in checklist(paper_report.book):
        assert "published weights" not in " ".join(one.facts)
    assert "with published weights" not in text_of(paper_report.folder / "index.html")


def test_images_that_are_only_evaluated_on_are_named_after_their_data_set(published_report: Report) -> None:
    pages = {
        key: text_of(published_report.folder / published_report.book.addresses.data_set(key))
        for key in published_report.book.addresses.data
    }
    (validation,) = [page for key, page in pages.items() if key.startswith("data-imagefolder-val-")]
    (images,) = [page for key, page in pages.items() if not key.startswith("data-imagefolder-val-")]
    assert " Validation images imagenet " in validation
    assert "train 0" not in validation
    assert validation.count("test 50,000") == 2  # as it was asked for, and as it was found
    assert " Data imagenet " in images
    assert "train 1,281,167" in images
