"""``plan``: what would run and why; changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import click

from replicate.cli import DONE
from replicate.cli.workspace import Workspace, table_id_option, with_workspace
from replicate.errors import UserError
from replicate.text import duration, plural

if TYPE_CHECKING:
    from replicate.actions.estimate import RunEstimate
    from replicate.backends.slurm.dry_run import Call
    from replicate.judge.table import Claim


@click.command(name="plan")
@table_id_option(required=False)
@click.option("--no-train", is_flag=True, help="Only what needs no training that is still to be done.")
@click.option("--claims", is_flag=True, help="Also what these seeds can decide of each claim.")
@click.option("--scripts", is_flag=True, help="With --cluster: what sbatch would be given, without asking Slurm.")
@with_workspace
def command(workspace: Workspace, table_id: str | None, no_train: bool, claims: bool, scripts: bool) -> int:
    """Show what would run for a table (or all tables and figures), why, for how many cells, how long, how much disk.

    With --claims: the 95 % interval that these seeds are to give each claim, over seeds alone until its numbers are
    there, and how many seeds decide it in 80 % of cases if its margin is the paper's. With --scripts: each call of
    sbatch of a step that finds nothing queued, and the script of each kind of job. Nothing is run or written.
    """
    from replicate.actions.estimate import estimate_run

    estimate = estimate_run(workspace, table_id, train=not no_train)
    # Judging needs numpy, which takes as long to load as planning takes.
    power = _power(estimate) if claims else []
    calls = _calls(workspace, estimate, table_id) if scripts else []
    graph, missing, scale = estimate.graph, estimate.missing, estimate.plan.specs.scale
    served, at_once = estimate.plan.served(estimate.graph), estimate.capacity.at_once
    if workspace.json:
        jobs = [
            {
                "key": job.key,
                "kind": job.kind,
                "state": estimate.states[job.key],
                "why": estimate.why(job),
                "cells": served.get(job.key, 0),
                "seconds": None if (seconds := estimate.expected(job)) is None else round(seconds, 1),
                "inputs": dict(job.inputs),
                "aids": list(graph.aids.get(job.key, ())),
            }
            for job in graph
        ]
        total = {
            "jobs": len(graph),
            "missing": len(missing),
            "for_figures_alone": estimate.for_figures,
            "processor_seconds": round(estimate.seconds, 1),
            "processor": estimate.processor,
            "unknown": estimate.unknown,
            "learned_from": estimate.learned.jobs,
            "wall_seconds": round(estimate.wall_seconds, 1),
            "at_once": at_once,
            "disk_mb": round(estimate.megabytes, 1),
            "disk_running_mb": round(estimate.meanwhile, 1),
            "trainings": {"together": estimate.together, "one_by_one": estimate.one_by_one},
            "answers": {
                "missing": estimate.answers.jobs,
                "saved_seconds": round(estimate.answers.saved, 1),
                "disk_mb": round(estimate.answers.megabytes, 1),
            },
        }
        tables = {
            name: {"missing": lacking.jobs, "processor_seconds": round(lacking.seconds, 1), "unknown": lacking.unknown}
            for name, lacking in estimate.tables.items()
        }
        facts: dict[str, object] = {"scale": scale.id, "total": total, "tables": tables, "jobs": jobs}
        if claims:
            facts["claims"] = [
                {"table": table, "text": claim.text, "half": claim.half_planned, "seeds_needed": claim.seeds_needed}
                for table, claim in power
            ]
        if scripts:
            facts["scripts"] = [{**asdict(call), "explained": list(call.explained())} for call in calls]
        click.echo(json.dumps(facts, indent=1))
        return DONE
    alone = f" ({estimate.for_figures} for figures alone)" if estimate.for_figures else ""
    checkpoints = f", and up to {_size(estimate.meanwhile)} of checkpoints while they run" if estimate.meanwhile else ""
    on = f"{duration(estimate.wall_seconds)} on {'as many as are ready at once' if at_once is None else at_once}"
    if estimate.capacity.no_gpu:
        on = "and this machine has no GPU"
    click.echo(
        f"{scale.title}\n"
        f"{len(graph)} jobs{alone}, {len(graph) - len(missing)} done, {len(missing)} to run: "
        f"about {duration(estimate.seconds)} of one {estimate.processor}, {on}{_and_unknown(estimate.unknown)}\n"
        f"{_size(estimate.megabytes)} on disk{checkpoints}"
    )
    if estimate.answers.megabytes:
        stored = plural(estimate.answers.jobs, "job stores", "jobs store") if estimate.answers.jobs else "stored before"
        click.echo(
            f"teachers' answers once for all students of the same images: {stored}, "
            f"{duration(estimate.answers.saved)} of one {scale.processor} less than live, "
            f"{_size(estimate.answers.megabytes)} on disk"
        )
    for line in estimate.assumptions():
        click.echo(line)
    if power:
        click.echo(f"\nWhat {plural(len(estimate.plan.seeds), 'seed')} can decide:")
    for table, claim in power:
        half = "unknown" if claim.half_planned is None else f"±{claim.half_planned:.2g}"
        click.echo(f"{half:>8}  {table}: {claim.text}: needs {claim.needs or 'no seeds'}")
    count = len(estimate.plan.cells)
    if count > 1 and not no_train:
        click.echo(
            f"{estimate.together} trainings serve all {count} tables; one by one they would need {estimate.one_by_one}"
        )
    if count > 1:
        _echo_tables(estimate)
    width = max((len(job.key) for job in missing), default=0)
    if missing:
        click.echo()
    for job in missing:
        readers = plural(served[job.key], "cell") if served[job.key] else "figures"
        takes = "unknown" if (seconds := estimate.expected(job)) is None else duration(seconds)
        click.echo(f"{job.key:<{width}}  {takes:>8}  {readers:>8}  {estimate.why(job)}")
    if scripts:
        _echo_scripts(calls)
    return DONE


def _and_unknown(jobs: int) -> str:
    return f"; and {plural(jobs, 'job')} of which nobody knows" if jobs else ""


def _echo_tables(estimate: RunEstimate) -> None:
    """What each table lacks, if only it were wanted: what they share counts for each."""
    width = max(map(len, estimate.tables))
    click.echo("\nBy table; jobs that several tables share count in each:")
    for name, lacking in estimate.tables.items():
        takes = f"about {duration(lacking.seconds)}" if lacking.jobs else ""
        jobs = f"{plural(lacking.jobs, 'job')} to run" if lacking.jobs else "done"
        click.echo(f"{name:<{width}}  {jobs:>15}  {takes}{_and_unknown(lacking.unknown)}".rstrip())


def _calls(workspace: Workspace, estimate: RunEstimate, table_id: str | None) -> list[Call]:
    from replicate.backends.slurm.dry_run import dry_run

    if workspace.profile is None:
        raise UserError("--scripts needs a cluster\n  name its profile: --cluster NAME (slurm/NAME.toml)")
    return dry_run(
        estimate.graph,
        estimate.store,
        workspace.profile,
        workspace.root,
        [table_id or "all"],
        partial(click.echo, err=True),
    )


def _echo_scripts(calls: Sequence[Call]) -> None:
    """Each call in words, and the script of the first of each kind; the others differ in array and names only."""
    click.echo(
        f"\n{plural(len(calls), 'call')} of sbatch, if nothing of this is queued. Slurm was not asked: job numbers"
        "\nstand for those it gives, names of submissions are random, and a site's limits may cut arrays shorter."
    )
    shown: set[str] = set()
    for call in calls:
        click.echo(f"\n{call.number}. {call.command}")
        for line in call.explained():
            click.echo(f"   {line}")
        if call.kind not in shown:
            click.echo("\n" + "\n".join(f"    {line}".rstrip() for line in call.script.splitlines()))
        shown.add(call.kind)


def _power(estimate: RunEstimate) -> list[tuple[str, Claim]]:
    """The claims that something here can judge, with their tables."""
    from replicate.judge.finish import Finisher

    finisher = Finisher(estimate.plan, estimate.store)
    claims = [(table, claim) for table in estimate.plan.cells for claim in finisher.claims_of_paper(table)]
    return [(table, claim) for table, claim in claims if claim.possible and claim.paper_margin_shown]


def _size(megabytes: float) -> str:
    if megabytes < 1000:
        return f"{megabytes:,.0f} MB" if megabytes >= 10 else f"{megabytes:.1f} MB"
    return f"{megabytes / 1000:,.1f} GB"
