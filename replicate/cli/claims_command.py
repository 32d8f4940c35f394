"""``claims``: what the paper says about its numbers, judged on them and on ours."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

import click

from replicate.cli import DONE, FAILED, UNFINISHED
from replicate.cli.workspace import Workspace, table_id_option, with_workspace
from replicate.errors import UserError
from replicate.judge.table import ClaimVerdict

if TYPE_CHECKING:
    from rich.console import Console

    from replicate.judge.table import Table
    from replicate.render.claims_page import Entry

WORDS: dict[str, ClaimVerdict] = {verdict.replace(" ", "-"): verdict for verdict in get_args(ClaimVerdict)}


@click.command(name="claims")
@table_id_option(required=False)
@click.option(
    "--verdict",
    "words",
    multiple=True,
    type=click.Choice([*WORDS]),
    metavar="WORD",
    help=f"Only these: {', '.join(WORDS)}; may be repeated.",
)
@click.option("--sentences/--readings", "sentences", default=None, help="Only what the paper says, or only readings.")
@click.option("--check", is_flag=True, help="Let the exit code say how they stand.")
@click.option("--markdown", is_flag=True, help="Print docs/claims.md: the paper's side alone.")
@with_workspace
def command(
    workspace: Workspace,
    table_id: str | None,
    words: tuple[str, ...],
    sentences: bool | None,
    check: bool,
    markdown: bool,
) -> int:
    """Show the claims about a table (or all), as they stand here and in the paper: what is not borne out first.

    The margin is left minus right with half of its 95 % interval: the mean over the comparisons, or of a claim about
    each of them the weakest. Sentences are the paper's own, readings what its tables show and no sentence says. Runs
    nothing.

    Exit code with --check: 0 all hold, 1 a claim fails, 3 some are undecided or not run. Claims that rest on
    numbers which nothing here makes do not count, nor do claims that are not shown.
    """
    from replicate.judge.finish import Finisher
    from replicate.render import claims_page, format_json, format_txt

    specs = workspace.specs()
    names = [table_id] if table_id else specs.ordered
    plan = workspace.plan(names, specs)
    finisher = Finisher(plan, workspace.store())
    if markdown:
        if words or sentences is not None:
            raise UserError("--markdown prints every claim\n  leave out --verdict, --sentences and --readings")
        pairs = [(specs.table(name), finisher.claims_of_paper(name)) for name in names]
        click.echo(claims_page.page(pairs), nl=False)
        return DONE
    tables = [finisher.finish(name) for name in names]
    readings = None if sentences is None else not sentences
    entries = claims_page.chosen(tables, [WORDS[word] for word in words], readings)
    if workspace.json:
        listed = [{"table": table.id, "seeds": len(table.seeds), **format_json.dump(claim)} for table, claim in entries]
        scale = specs.scale
        facts = {"scale": scale.id, "banner": scale.banner, "comparable": scale.comparable, "claims": listed}
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        _show(tables[0], entries, format_txt.console())
    return _code(entries) if check else DONE


def _show(first: Table, entries: Sequence[Entry], console: Console) -> None:
    """Print the claims with how they stand in all; scale and seeds are those of the ``first`` table, and of all."""
    from replicate.render import claims_page, format_txt, wording
    from replicate.render.overview import claims_said, claims_said_apart
    from replicate.text import plural

    if first.banner:
        format_txt.paragraph(console, f"! {first.banner}", "bold yellow", "  ")
        console.print()
    if not entries:
        click.echo("no claims")
        return
    claims_page.show(entries, console)
    claims = [entry.claim for entry in entries]
    paper = Counter[str](claim.as_printed for claim in claims)
    here = f"Here, n = {plural(len(first.seeds), 'seed')}, {claims_said_apart(claims)}."
    format_txt.paragraph(console, f"{plural(len(claims), 'claim')}. {here}")
    format_txt.paragraph(console, f"On the paper's numbers as printed: {claims_said(paper)}.")
    for sentence in wording.claims_below(claims):
        format_txt.paragraph(console, sentence)
    if not first.comparable:
        format_txt.paragraph(console, f"{wording.OTHER_EXPERIMENT} {wording.OTHER_MEANING}", "dim", "  ")


def _code(entries: Sequence[Entry]) -> int:
    verdicts = {entry.claim.verdict for entry in entries if entry.claim.possible}
    if "fails" in verdicts:
        return FAILED
    return UNFINISHED if verdicts & {"undecided", "not decidable", "not run"} else DONE
