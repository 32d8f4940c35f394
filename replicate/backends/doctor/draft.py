"""A first profile, written from what a cluster says of itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from replicate.backends.doctor.site import Partition, partitions
from replicate.backends.slurm.client import Client, user
from replicate.backends.slurm.profile import SHORTEST_MINUTES, file_system
from replicate.errors import UserError

SHARED_DISKS = ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph", "wekafs", "cifs", "orangefs", "9p")
PLACES = ("SCRATCH", "WORK", "PROJECT", "HOME")
"""Variables in which sites name large shared folders, best first."""
MOST_MINUTES = 2880
MOST_CORES = 8


def draft(client: Client, hostname: str, environ: Mapping[str, str]) -> str:
    """Write the TOML of a profile that `load_profile` takes. Raises ClusterDown without an answer."""
    limits = client.limits()
    cluster = limits.get("ClusterName", "")
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", cluster).lstrip("-._") or "cluster"
    offered = partitions(client)
    if not offered:
        raise UserError("sinfo lists no partitions\n  ask the site which of them you may use")
    with_gpus = [partition for partition in offered.values() if partition.gpus and partition.up]
    chosen = next((partition for partition in with_gpus if partition.default), (with_gpus or [*offered.values()])[0])
    alone = _one_machine(client, hostname)
    lines = [
        f"# Draft for the cluster {json.dumps(cluster)}, from its own answers; slurm/example.toml explains every line.",
        f"# Save it as slurm/{name}.toml, check the lines marked CHECK, then: doctor --cluster {name}",
        f"name   = {json.dumps(name)}",
        f"python = {json.dumps(sys.executable)}    # CHECK: must exist on the nodes",
        "setup  = []    # CHECK: such as module load lines",
    ]
    if alone:
        lines.append("shared_is_local = true    # every node is this machine")
    lines += ["", "[match]", f"hostnames = [{json.dumps(hostname)}]"]
    if cluster:
        lines.append(f"clusters  = [{json.dumps(cluster)}]")
    lines += ["", "[paths]", _shared(environ)]
    if environ.get("REPLICATE_DATA"):
        lines.append(f"data   = {json.dumps(environ['REPLICATE_DATA'])}")
    if environ.get("SLURM_CONF"):
        lines.append(f"slurm_conf = {json.dumps(environ['SLURM_CONF'])}")
    return "\n".join([*lines, "", *_requests(client, chosen, [*offered.values()]), ""])


def _shared(environ: Mapping[str, str]) -> str:
    """The first of the usual places that lies on a network file system; else the home folder, to be checked."""
    places = [Path(environ[name]) for name in PLACES if environ.get(name, "").startswith("/")] or [Path.home()]
    network = [path for path in places if file_system(path) in SHARED_DISKS]
    best = network[0] if network else places[-1]
    kind = file_system(best) or "unknown"
    return f"shared = {json.dumps(str(best / 'deit-replicate'))}    # CHECK: {kind} here; every node must mount it"


def _requests(client: Client, chosen: Partition, known: list[Partition]) -> list[str]:
    gpus = sum(chosen.gpus.values()) and max(chosen.gpus.values())
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
    lines += ["", "[kinds.train]", f"time = {max(longest, SHORTEST_MINUTES)}"]
    if gpus:
        lines += ["", "[kinds.data]", "gpus_per_node = 0"]
    lines += ["", "[kinds.measure]", "exclusive = true"]
    types = sorted(kind for kind in chosen.gpus if kind)
    if types:
        others = f"    # one type for all measurements; here: {', '.join(types)}"
        lines.append(f"gpus_per_node = {json.dumps(types[0] + ':1')}{others}")
    return lines


def _account(client: Client) -> str:
    if not shutil.which("sacctmgr", path=client.environment.get("PATH", os.defpath)):
        return ""
    answer = client.call("sacctmgr", "-n", "-P", "show", "user", user(), "format=DefaultAccount")
    return answer.out.strip() if answer.code == 0 else ""


def _one_machine(client: Client, hostname: str) -> bool:
    names = set(re.findall(r"NodeHostName=(\S+)", client.ask("scontrol", "show", "node", "-o")))
    return names == {hostname.partition(".")[0]}
