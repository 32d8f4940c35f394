"""``doctor``: whether a cluster can do what its profile asks."""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import util
from pathlib import Path

import click

from replicate.backends.doctor import here, site, visit
from replicate.backends.doctor.draft import draft
from replicate.backends.doctor.files import Files, Finding, fail, ok, warn
from replicate.backends.slurm.bad_nodes import bad_nodes
from replicate.backends.slurm.choose import LOCAL, VARIABLE
from replicate.backends.slurm.client import Client
from replicate.backends.slurm.gpus import Idle, misfits
from replicate.backends.slurm.profile import Profile, profile_name
from replicate.backends.slurm.waves import longest_waves, over_time_limit, unsplittable_batches
from replicate.cli import DONE, MISTAKE
from replicate.cli.workspace import Amount, Workspace, with_workspace
from replicate.errors import UserError
from replicate.jobs.job import Job
from replicate.plan.graph import Graph
from replicate.specs import toml_files
from replicate.specs.scale import PublishedFile
from replicate.specs.sources.imagefolder import FolderData
from replicate.store.files import write_text
from replicate.text import plural


@click.command(name="doctor")
@click.option(
    "--draft",
    "draft_name",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[NAME]",
    help="Write slurm/NAME.toml, a first profile from what the cluster says; without NAME, print it.",
)
@click.option("--overwrite", is_flag=True, help="With --draft NAME: also where that profile exists.")
@click.option(
    "--wait",
    "seconds",
    type=Amount(min=0),
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="How long the small job on a node may take to answer; 0: no job.",
)
@with_workspace
def command(workspace: Workspace, draft_name: str | None, overwrite: bool, seconds: float) -> int:
    """Check a cluster against its profile: programs, limits, requests, the shared folder, a node, images, weights.

    With --cluster local, check this machine: its GPUs, and whether torch computes on them.

    One line a finding: ok, warn (costs time), fail (jobs would not run). Exit code: 0 without a fail, else 2.
    """
    if draft_name is not None:
        return draft_profile(workspace, draft_name, overwrite)
    profile = workspace.profile
    chosen = click.get_current_context().params["cluster"] or os.environ.get(VARIABLE)
    if profile is None and chosen != LOCAL:
        clusters = ", ".join(path.stem for path in toml_files(workspace.root / "slurm")) or "none yet"
        raise UserError(
            f"no cluster is chosen: no --cluster, no {VARIABLE}, and no profile matches this machine\n"
            f"  clusters: {clusters}; this machine: --cluster {LOCAL}\n"
            "  a first profile: python -m replicate doctor --draft NAME"
        )
    specs = workspace.specs()
    scale = specs.scale
    graph = workspace.plan(specs.ordered, specs).graph
    data = [entry for entry in scale.data.values() if isinstance(entry, FolderData)]
    files = Files(data, [PublishedFile.of(text) for text in scale.released.values()])
    name = LOCAL if profile is None else profile.name
    if profile is None:
        found = here.examine(scale, list(graph), workspace.gpus, import_torch=seconds > 0)
    else:
        found = _findings(profile, graph, files, scale.id, seconds, workspace.store().root)
    findings = []
    for finding in found:
        findings.append(finding)
        if not workspace.json:
            click.echo(str(finding))
    counts = Counter(finding.level for finding in findings)
    if workspace.json:
        entries = [finding.to_dict() for finding in findings]
        click.echo(json.dumps({"cluster": name, "findings": entries}, indent=1, ensure_ascii=False))
    else:
        warned, failed = plural(counts["warn"], "warning"), plural(counts["fail"], "failure")
        click.echo(f"\n{name}: {counts['ok']} ok, {warned}, {failed}")
    return MISTAKE if counts["fail"] else DONE


def draft_profile(workspace: Workspace, name: str, overwrite: bool) -> int:
    """Print a first profile, or write slurm/``name``.toml, which the next command finds."""
    path = workspace.root / "slurm" / f"{name}.toml"
    if name:
        try:
            profile_name(name)
        except ValueError as error:
            raise UserError(f"--draft: {error}, got '{name}'\n  it is what --cluster will take") from error
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists\n  write over it with --overwrite, or give another name")
    specs = workspace.specs()
    jobs = list(workspace.plan(specs.ordered, specs).graph)
    text = draft(Client({**os.environ}, patience=0.0), socket.gethostname(), os.environ, name, jobs)
    if not name:
        click.echo(text, nl=False)
        return DONE
    path.parent.mkdir(exist_ok=True)
    write_text(path, text)
    click.echo(f"wrote {path}\ncheck its lines marked CHECK:\n")
    for number, line in enumerate(text.splitlines(), 1):
        if "CHECK" in line and not line.startswith("# It belongs"):
            click.echo(f"  line {number}: {line}")
    click.echo(f"\nthen: python -m replicate doctor --cluster {name}")
    return DONE


def _findings(
    profile: Profile, graph: Graph, files: Files, scale: str, seconds: float, results: Path
) -> Iterator[Finding]:
    jobs = list(graph)
    client = Client(profile.client_environment(os.environ), patience=0.0, cluster=profile.cluster)
    if util.find_spec("submitit") is None:
        yield fail("submitit", "not installed here", "pip install 'deit-replicate[slurm]'")
    usable = True
    for finding in site.examine(profile, client, longest_waves(graph, profile.packed)):
        usable = (usable and finding.subject not in ("programs", "controller")) or finding.level == "ok"
        yield finding
    for node in bad_nodes(results):
        yield warn(f"node {node.name}", str(node), "tell the site; jobs of yours run elsewhere until then")
    yield from _room(profile, jobs, scale)
    # Without a controller a job cannot be sent, but the folder can still be looked at.
    needs_gpu = any(job.needs_gpu for job in jobs)
    yield from visit.examine(profile, client, files, seconds if usable else 0.0, needs_gpu)
    if not files.data:
        yield ok("data", f"scale '{scale}' draws its own images")


def _room(profile: Profile, jobs: Sequence[Job], scale: str) -> Iterator[Finding]:
    """Whether all tables' jobs can run and end as the profile has them: a step would say so only when it submits."""
    for fault in unsplittable_batches(jobs, profile):
        yield fail("processes of train jobs", f"{fault.where.partition(': ')[2]}: {fault.what}", "; ".join(fault.help))
    for misfit in misfits(jobs, profile):
        if isinstance(misfit, Idle):
            yield warn(f"GPUs of {misfit.kind} jobs", misfit.what, misfit.help)
        else:
            yield fail(f"GPUs of {misfit.where.partition(': ')[2]}", misfit.what, "; ".join(misfit.help))
    strains = list(over_time_limit(jobs, profile))
    for strain in strains:
        yield warn(f"time of {strain.kind} jobs", strain.what, strain.help)
    if not strains:
        yield ok("time", f"every job of scale '{scale}' is expected to end within its limit and restarts")
