"""``claims``: what the paper says about its numbers, judged on them and on ours."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import click

from replicate.cli import DONE, FAILED, UNFINISHED
from replicate.cli.workspace import Workspace, table_id_option, with_workspace

if TYPE_CHECKING:
    from replicate.judge.table import Claim, Table


@click.command(name="claims")
@table_id_option(required=False)
@click.option("--check", is_flag=True, help="Let the exit code say how they stand.")
@click.option("--markdown", is_flag=True, help="Print docs/claims.md: the paper's side alone.")
@with_workspace
def command(workspace: Workspace, table_id: str | None, check: bool, markdown: bool) -> int:
    """Show every claim the paper makes about a table (or all of them), as it stands here and in the paper.

    The margin is left minus right with its standard error, the mean over the comparisons. Runs nothing.

    Exit code with --check: 0 all hold, 1 a claim fails, 3 some are undecided or not run. Claims that rest on
    numbers which nothing here makes do not count.
    """
    from replicate.judge.finish import Finisher
    from replicate.render import claims_page, format_json, format_txt

    specs = workspace.specs()
    names = [table_id] if table_id else specs.ordered
    plan = workspace.plan(names, specs)
    finisher = Finisher(plan, workspace.store())
    if markdown:
        pairs = [(specs.table(name), finisher.claims_of_paper(name)) for name in names]
        click.echo(claims_page.page(pairs), nl=False)
        return DONE
    tables = [finisher.finish(name) for name in names]
    claims = [claim for table in tables for claim in table.claims]
    if workspace.json:
        entries = [
            {"table": table.id, "seeds": len(table.seeds), **format_json.dump(claim)}
            for table in tables
            for claim in table.claims
        ]
        scale = specs.scale
        facts = {"scale": scale.id, "banner": scale.banner, "comparable": scale.comparable, "claims": entries}
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        _show(tables, claims, format_txt.console().width)
    return _code(claims) if check else DONE


def _show(tables: list[Table], claims: list[Claim], width: int) -> None:
    from replicate.render import claims_page, wording
    from replicate.render.overview import claims_said
    from replicate.text import plural

    if tables and tables[0].banner:
        click.echo(f"! {tables[0].banner}\n")
    for table in tables:
        if table.claims:
            click.echo("\n".join([*claims_page.lines(table, width), ""]))
    if not claims:
        click.echo("no claims")
        return
    here = Counter[str](claim.verdict for claim in claims)
    paper = Counter[str](claim.paper_verdict for claim in claims)
    never = sum(not claim.possible for claim in claims)
    total = plural(len(claims), "claim")
    click.echo(f"{total}. Here: {claims_said(here)}. On the paper's own numbers: {claims_said(paper)}.")
    if never:
        verbs = ("rests", "is") if never == 1 else ("rest", "are")
        click.echo(f"{never} {verbs[0]} on numbers that nothing here makes and {verbs[1]} never judged.")
    if not tables[0].comparable:
        click.echo(f"{wording.OTHER_EXPERIMENT} {wording.OTHER_MEANING}")


def _code(claims: list[Claim]) -> int:
    verdicts = {claim.verdict for claim in claims if claim.possible}
    if "fails" in verdicts:
        return FAILED
    return UNFINISHED if verdicts & {"undecided", "not run"} else DONE
