"""The claims: that there are enough, that the paper bears them out, how they are shown, and what the exit code says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import ROOT, TABLE, Call

from replicate.judge.finish import Finisher
from replicate.judge.table import Claim
from replicate.plan.cells import plan_tables
from replicate.render import claims_page
from replicate.specs.load import Specs, load
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


def test_there_are_at_least_forty_each_with_its_place(specs: Specs, claims: dict[str, tuple[Claim, ...]]) -> None:
    assert sum(map(len, claims.values())) >= 40
    assert {name for name, found in claims.items() if not found} == {"datasets", "ingredients"}
    for spec in specs.tables.values():
        for claim in spec.claims:
            assert claim.see, f"{spec.table.id}: {claim.text}"


def test_the_papers_own_numbers_bear_its_claims_out(claims: dict[str, tuple[Claim, ...]]) -> None:
    wrong = [claim.text for found in claims.values() for claim in found if claim.paper_verdict == "fails"]
    unknown = [claim.text for found in claims.values() for claim in found if claim.paper_verdict == "not run"]
    assert not wrong
    assert unknown == ["a second class token brings nothing to the accuracy"]


def test_throughput_ratios_are_the_papers(claims: dict[str, tuple[Claim, ...]]) -> None:
    assert [claim.paper_margin_shown for claim in claims["model_variants"]] == ["×8.68", "×3.22"]


def test_a_claim_on_numbers_that_are_never_made_says_so(claims: dict[str, tuple[Claim, ...]]) -> None:
    impossible = {claim.text for found in claims.values() for claim in found if not claim.possible}
    assert "DeiT-B transfers better than ViT-B/16, the same network" in impossible
    assert len(impossible) == 4


def folders(results: Path, tables: Path) -> tuple[str, ...]:
    return ("--results", str(results), "--tables", str(tables))


def test_claims_are_shown_with_both_sides_and_never_as_replicated(replicate: Call, results: Path, tables: Path) -> None:
    done = replicate("claims", *folders(results, tables))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("! miniature: tests the pipeline, not the paper\n")
    assert "paper†: holds (+1.3)" in done.stdout
    assert "±" in done.stdout
    assert "n = 1 seed" in done.stdout
    for word in ("replicated", "reproduced"):
        assert word not in done.stdout.lower()


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
        assert claim["error"] > 0
        assert claim["comparisons"]


def test_an_unknown_table_is_named_with_the_nearest(replicate: Call) -> None:
    done = replicate("claims", "--id", "eficiency")
    assert done.returncode == 2
    assert "did you mean 'efficiency'?" in done.stderr
