"""A first profile, written from what a cluster says of itself."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

from replicate.backends.doctor.site import Partition, partitions
from replicate.backends.slurm.client import Client, user
from replicate.backends.slurm.profile import SIGNAL_SECONDS, file_system, shortest_minutes
from replicate.errors import UserError
from replicate.jobs.job import Job

SHARED_DISKS = ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph", "wekafs", "cifs", "orangefs", "9p")
PLACES = ("SCRATCH", "WORK", "PROJECT", "HOME")
"""Variables in which sites name large shared folders, best first."""
_MODULES = ("/etc/profile.d/modules.sh", "/etc/profile.d/z00_lmod.sh", "/etc/profile.d/lmod.sh")
MOST_MINUTES = 2880
MOST_CORES = 8


def draft(client: Client, hostname: str, environ: Mapping[str, str], name: str = "", jobs: Sequence[Job] = ()) -> str:
    """Write the TOML of a profile that `load_profile` takes. Raises ClusterDown without an answer.

    name: of the profile; empty is the cluster's own. jobs: those that it is to fit, of one scale.
    """
    limits = client.limits()
    cluster = limits.get("ClusterName", "")
    name = name or re.sub(r"[^A-Za-z0-9_.-]", "-", cluster).lstrip("-._") or "cluster"
    offered = partitions(client)
    if not offered:
        raise UserError("sinfo lists no partitions\n  ask the site which of them you may use")
    with_gpus = [partition for partition in offered.values() if partition.gpus and partition.up]
    chosen = next((partition for partition in with_gpus if partition.default), (with_gpus or [*offered.values()])[0])
    alone = _one_machine(client, hostname)
    lines = [
        f"# Draft for the cluster {json.dumps(cluster)}, from its own answers; slurm/example.toml explains every line.",
        f"# It belongs into slurm/{name}.toml. Check the lines marked CHECK, then: doctor --cluster {name}",
        f"name   = {json.dumps(name)}",
        f"python = {json.dumps(sys.executable)}    # CHECK: must exist on the nodes",
        _setup(),
    ]
    if alone:
        lines.append("shared_is_local = true    # every node is this machine")
    lines += [_requeue(chosen, jobs), "", "[match]", f"hostnames = [{json.dumps(hostname)}]"]
    if cluster:
        lines.append(f"clusters  = [{json.dumps(cluster)}]")
    lines += ["", "[paths]", _shared(environ)]
    if environ.get("REPLICATE_DATA"):
        lines.append(f"data   = {json.dumps(environ['REPLICATE_DATA'])}")
    else:
        lines.append('# data = "/..."    # CHECK: the folder of imagenet-1k/{train,val}, for --scale paper')
    if environ.get("SLURM_CONF"):
        lines.append(f"slurm_conf = {json.dumps(environ['SLURM_CONF'])}")
    lines += ["", "[environment]    # of every job; nothing of your shell comes along"]
    lines.append('# NCCL_SOCKET_IFNAME = "ib0"    # for trainings on several nodes (nodes = 2): their common interface')
    lines.append('# NCCL_IB_HCA = "mlx5"          # and their InfiniBand cards, where nccl finds neither by itself')
    return "\n".join([*lines, "", *_requests(client, chosen, [*offered.values()], jobs), ""])


def _setup() -> str:
    known = next((path for path in _MODULES if Path(path).exists()), None)
    if known is None:
        return "setup  = []    # CHECK: such as module load lines"
    return f'setup  = ["source {known}"]    # CHECK: batch shells know no `module` without it; add module load lines'


def _requeue(chosen: Partition, jobs: Sequence[Job]) -> str:
    """Lives enough for the longest training, and half as many again for preemptions and slower GPUs."""
    limit = 60 * min(chosen.longest or MOST_MINUTES, MOST_MINUTES)
    longest = max((job.seconds for job in jobs if job.resumable), default=0.0) / processes_for(chosen, jobs)
    return f"requeue = {max(3, ceil(1.5 * longest / limit))}    # so often a training goes on after its time limit"


def processes_for(chosen: Partition, jobs: Sequence[Job]) -> int:
    """The most processes, of one node's GPUs each one, that can share the batches of every training."""
    for count in range(max(chosen.gpus.values(), default=1), 1, -1):
        try:
            for job in jobs:
                if job.shared:
                    job.check_processes(count)
        except UserError:
            continue
        return count
    return 1


def _shared(environ: Mapping[str, str]) -> str:
    """The first of the usual places that lies on a network file system; else the home folder, to be checked."""
    places = [Path(environ[name]) for name in PLACES if environ.get(name, "").startswith("/")] or [Path.home()]
    network = [path for path in places if file_system(path) in SHARED_DISKS]
    best = network[0] if network else places[-1]
    kind = file_system(best) or "unknown"
    return f"shared = {json.dumps(str(best / 'deit-replicate'))}    # CHECK: {kind} here; every node must mount it"


def _requests(client: Client, chosen: Partition, known: list[Partition], jobs: Sequence[Job]) -> list[str]:
    gpus = max(chosen.gpus.values(), default=0)
    share = max(gpus, 1)
    cores = max(1, min(MOST_CORES, chosen.cores // share))
    # A tenth is left to the system; sites often refuse a node's whole memory.
    memory = max(500, min(chosen.memory * 9 // 10 // share, 4000 * cores))
    longest = min(chosen.longest or MOST_MINUTES, MOST_MINUTES)
    others = ", ".join(partition.name for partition in known if partition is not chosen)
    lines = ["[sbatch]", f"partition = {json.dumps(chosen.name)}" + (f"    # also: {others}" if others else "")]
    account = _account(client)
    if account:
        lines.append(f"account = {json.dumps(account)}")
    lines += [f"time = {min(60, longest)}", f"cpus_per_task = {cores}", f'mem = "{memory}M"']
    if gpus:
        lines.append("gpus_per_node = 1")
    lines += ["", "[kinds.train]", f"time = {max(longest, shortest_minutes(SIGNAL_SECONDS))}"]
    if gpus:
        count = processes_for(chosen, jobs)
        lines += [
            f"ntasks_per_node = {count}    # CHECK: processes, one a GPU; as many as can share a batch of this --scale",
            f"gpus_per_node = {count}",
        ]
        if count > 1:
            lines.append(f'mem = "{memory * count}M"    # of all processes of the node')
        lines += _without_gpus(chosen, known, any(job.needs_gpu for job in jobs))
    lines += ["", "[kinds.measure]", "exclusive = true    # the whole node is billed; false: beside the jobs of others"]
    types = sorted(kind for kind in chosen.gpus if kind)
    if types:
        others = f"    # one type for all measurements; here: {', '.join(types)}"
        lines.append(f"gpus_per_node = {json.dumps(types[0] + ':1')}{others}")
    return lines


def _without_gpus(chosen: Partition, known: list[Partition], needs_gpu: bool) -> list[str]:
    """Sections of the kinds that no GPU is needed for, in a partition without GPUs where there is one."""
    of_cpus = [partition for partition in known if partition.up and not partition.gpus]
    # The default may be for logging in or for trying things out: short and small.
    cpu = max(of_cpus, key=lambda each: (min(each.longest or 60, 60), each.default, each.cores), default=None)
    if cpu is None:
        check = "    # CHECK: some sites refuse jobs without a GPU here"
        return ["", "[kinds.data]", f'unset = ["gpus_per_node"]{check}']
    section = [f"partition = {json.dumps(cpu.name)}", 'unset = ["gpus_per_node"]']
    if cpu.longest is not None and cpu.longest < min(60, chosen.longest or 60):
        section.append(f"time = {cpu.longest}")
    lines = ["", "[kinds.data]", *section]
    for kind in ("predict", "probe"):
        # Evaluations of networks that no CPU trains take an hour there, and a minute on a GPU.
        lines += ["", *(f"{'# ' if needs_gpu else ''}{line}" for line in (f"[kinds.{kind}]", *section))]
    return lines


def _account(client: Client) -> str:
    out = client.optional("sacctmgr", "-n", "-P", "show", "user", user(), "format=DefaultAccount")
    return (out or "").strip()


def _one_machine(client: Client, hostname: str) -> bool:
    names = set(re.findall(r"NodeHostName=(\S+)", client.ask("scontrol", "show", "node", "-o")))
    return names == {hostname.partition(".")[0]}
