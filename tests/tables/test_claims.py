"""The claims: that there are enough, that the paper bears them out, how they are shown, and what the exit code says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import ROOT, TABLE, Call

from replicate.judge.finish import Finisher
from replicate.judge.table import Claim
from replicate.plan.cells import plan_tables
from replicate.render import claims_page
from replicate.specs.cell import REFERENCE, CellRef, pairs, resolve_source
from replicate.specs.load import Specs, load
from replicate.specs.table import ClaimSpec, TableSpec
from replicate.store.store import Store


@pytest.fixture(scope="module")
def specs() -> Specs:
    return load(ROOT / "tables", "paper")


@pytest.fixture(scope="module")
def claims(specs: Specs) -> dict[str, tuple[Claim, ...]]:
    finisher = Finisher(plan_tables(specs, specs.ordered, (0,)), Store(Path("there-is-none")))
    return {name: finisher.claims_of_paper(name) for name in specs.ordered}


def test_docs_claims_is_current(specs: Specs, claims: dict[str, tuple[Claim, ...]]) -> None:
    page = claims_page.page((specs.table(name), found) for name, found in claims.items())
    assert (ROOT / "docs" / "claims.md").read_text() == page, "run: make claims"


EVERY = re.compile(r"\b(every|each|all|whatever|any)\b")
"""Words of a claim that speaks of each of its comparisons."""


def written(specs: Specs) -> Iterator[tuple[TableSpec, ClaimSpec]]:
    return ((spec, claim) for spec in specs.tables.values() for claim in spec.claims)


def test_every_table_of_measurements_has_claims(specs: Specs, claims: dict[str, tuple[Claim, ...]]) -> None:
    assert sum(map(len, claims.values())) == len([*written(specs)])
    assert {name for name, found in claims.items() if not found} == {"datasets", "ingredients"}


def test_a_claim_speaks_of_each_comparison_where_its_words_do(specs: Specs) -> None:
    for spec, claim in written(specs):
        if len(pairs(spec, claim)) > 1:
            assert (claim.scope == "every") == bool(EVERY.search(claim.text)), claim.text


def test_a_reading_names_no_section_alone(specs: Specs) -> None:
    """What no sentence says stands in a table or figure, or is a number of the text."""
    for _, claim in written(specs):
        assert not claim.reading or re.search(r"(Table|Figure) \d|: [\d.]+ and", claim.see), claim.text


def test_the_papers_own_numbers_contradict_two_of_its_sentences(claims: dict[str, tuple[Claim, ...]]) -> None:
    """Table 3 has 74.5 for both embeddings of Ti and 74.6 for one; Table 4 has 0.107 below 0.109, not between."""
    wrong = {claim.text for found in claims.values() for claim in found if claim.as_printed == "fails"}
    assert wrong == {
        "both embeddings together are better than the distillation embedding alone",
        "the joint classifier is between the two: further from DeiT without distillation than the class embedding",
    }


def test_only_what_the_paper_prints_no_number_for_is_not_judged_on_it(
    specs: Specs, claims: dict[str, tuple[Claim, ...]]
) -> None:
    printed = {
        (spec.table.id, row.key, column) for spec in specs.tables.values() for row in spec.rows for column in row.paper
    } | {
        (spec.table.id, REFERENCE, reference.key)
        for spec in specs.tables.values()
        for reference in spec.references
        if reference.paper is not None
    }
    for found in claims.values():
        for claim in found:
            cells = [
                side for each in claim.comparisons for side in (each.left, each.right) if isinstance(side, CellRef)
            ]
            assert (claim.as_printed == "not run") == any(side not in printed for side in cells), claim.text


def test_throughput_ratios_are_the_papers(claims: dict[str, tuple[Claim, ...]]) -> None:
    shown = [claim.paper_margin_shown for claim in claims["model_variants"]]
    assert shown == ["×2.70", "×3.22", "×8.68", "×3.22"]


def test_a_claim_on_numbers_that_are_never_made_says_so(specs: Specs, claims: dict[str, tuple[Claim, ...]]) -> None:
    """Rows whose accuracies are other papers', and references with a reason why nothing makes them."""
    never = {
        (spec.table.id, row.key, column.key)
        for spec in specs.tables.values()
        for row in spec.rows
        for column in spec.table.columns
        if row.not_run and not column.text and resolve_source(spec.table, row, column) is None
    } | {
        (spec.table.id, REFERENCE, reference.key)
        for spec in specs.tables.values()
        for reference in spec.references
        if reference.not_run
    }
    assert never
    for found in claims.values():
        for claim in found:
            cells = {side for each in claim.comparisons for side in (each.left, each.right)}
            assert claim.possible == cells.isdisjoint(never), claim.text


def test_the_accuracy_of_a_network_trained_on_private_images_is_printed_as_it_stands(specs: Specs) -> None:
    plan = plan_tables(specs, ["efficiency"], (0,))
    cell = Finisher(plan, Store(Path("there-is-none"))).finish("efficiency").cell(REFERENCE, "vit_b_jft")
    assert (cell.paper_shown, cell.state, cell.reason) == ("84.15", "paper-only", "JFT-300M is not public")


def folders(results: Path, tables: Path) -> tuple[str, ...]:
    return ("--results", str(results), "--tables", str(tables))


def test_claims_are_shown_with_both_sides_and_never_as_replicated(replicate: Call, results: Path, tables: Path) -> None:
    done = replicate("claims", *folders(results, tables))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("! miniature: tests the pipeline, not the paper\n")
    assert "paper†: holds (+1.3)" in " ".join(done.stdout.split())
    assert "±" in done.stdout
    assert "n = 1 seed" in done.stdout
    for word in ("replicated", "reproduced"):
        assert word not in done.stdout.lower()


def test_what_is_not_borne_out_comes_first(replicate: Call, results: Path, tables: Path) -> None:
    """Groups in one order, each claim in its own; those not borne out with the paper's words, the others in a line."""
    said = replicate("claims", *folders(results, tables)).stdout
    found = json.loads(replicate("claims", "--json", *folders(results, tables)).stdout)["claims"]
    headings = [
        line
        for line in said.splitlines()
        if re.match(r"(Fail|Undecided|Not decidable|Hold|Not run|Never judged) here", line)
    ]
    order = ["Fail", "Undecided", "Not decidable", "Hold", "Not run", "Never judged"]
    assert [order.index(line.partition(" here")[0]) for line in headings] == sorted(
        order.index(line.partition(" here")[0]) for line in headings
    )
    assert sum(int(re.search(r"\((\d+)\)$", line)[1]) for line in headings) == len(found)  # type: ignore[index]
    plain = " ".join(said.split())
    for claim in found:
        words = f"“{claim['quote']}” ({claim['see']})" if claim["quote"] else f"a reading of {claim['see']}"
        assert (words in plain) == (claim["verdict"] in ("fails", "undecided", "not decidable")), claim["text"]
    sentences, readings = (sum(claim["reading"] == reading for claim in found) for reading in (False, True))
    assert f"of {sentences} sentences " in plain
    assert f"of {readings} readings " in plain


def test_claims_are_chosen_by_verdict_and_kind(replicate: Call, results: Path, tables: Path) -> None:
    def chosen(*options: str) -> list[dict[str, object]]:
        found = replicate("claims", "--json", *options, *folders(results, tables))
        return list(json.loads(found.stdout)["claims"])

    every = chosen()
    undecided = [claim for claim in every if claim["verdict"] == "not decidable"]
    assert chosen("--verdict", "not-decidable") == undecided != every
    both = [claim for claim in every if claim["verdict"] in ("not decidable", "not run")]
    assert chosen("--verdict", "not-decidable", "--verdict", "not-run") == both
    assert chosen("--readings") == [claim for claim in every if claim["reading"]]
    assert chosen("--sentences") == [claim for claim in every if claim["quote"]]
    assert chosen("--verdict", "not-decidable", "--readings") == [claim for claim in undecided if claim["reading"]]
    refused = replicate("claims", "--markdown", "--readings")
    assert refused.returncode == 2
    assert "--markdown prints every claim" in refused.stderr
    # The exit code is of what is shown.
    assert replicate("claims", "--check", "--verdict", "not-decidable", *folders(results, tables)).returncode == 3


def test_the_exit_code_follows_with_check(replicate: Call, results: Path, tables: Path, tmp_path: Path) -> None:
    """The decisions of these results are drawn by lot, so something fails or stays open; with none nothing is run."""
    found = json.loads(replicate("claims", "--json", *folders(results, tables)).stdout)
    verdicts = {claim["verdict"] for claim in found["claims"]}
    expected = 1 if "fails" in verdicts else 3
    assert replicate("claims", "--check", *folders(results, tables)).returncode == expected
    assert replicate("claims", "--check", *folders(tmp_path / "none", tables)).returncode == 3


def test_the_json_holds_what_a_program_needs(replicate: Call, results: Path, tables: Path) -> None:
    done = replicate("claims", "--id", TABLE, "--json", *folders(results, tables))
    facts = json.loads(done.stdout)
    assert facts["banner"]
    assert facts["comparable"] is False
    for claim in facts["claims"]:
        assert claim["table"] == TABLE
        assert claim["seeds"] == 1
        assert claim["error"] is None if not claim["possible"] else claim["error"] > 0
        assert claim["comparisons"]
    assert any(claim["possible"] for claim in facts["claims"])


def test_an_unknown_table_is_named_with_the_nearest(replicate: Call) -> None:
    done = replicate("claims", "--id", "eficiency")
    assert done.returncode == 2
    assert "did you mean 'efficiency'?" in done.stderr


def test_the_averaged_weights_of_a_network_are_another_reading_of_it(claims: dict[str, tuple[Claim, ...]]) -> None:
    """Table 8: 81.9 and 81.8 of one network and head are not one number, so the margin is within seed noise."""
    (averaged,) = [claim for claim in claims["augmentation_ablation"] if "before fine-tuning" in claim.text]
    assert (averaged.as_printed, averaged.paper_verdict, averaged.paper_note) == ("holds", "undecided", "")
