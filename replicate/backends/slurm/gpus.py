"""How many processes a request starts and how many GPUs it gives them; and which GPU each process takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate.backends.slurm.sbatch import Value
from replicate.errors import Fault, UserError
from replicate.jobs.job import Job, kind_named
from replicate.text import leading_number, plural

if TYPE_CHECKING:
    from replicate.backends.slurm.profile import Profile

TASKS = ("ntasks", "ntasks_per_node", "ntasks_per_gpu")
"""Options of sbatch that say how many processes there are; the first two may stand together."""
_COUNT = re.compile(r"(?:^|[:=])(\d+)(?:\(.*\))?$")


@dataclass(frozen=True, slots=True)
class Shape:
    """``processes`` and ``gpus`` of all ``nodes`` together; ``gpus`` is None where the request does not say."""

    nodes: int
    processes: int
    gpus: int | None

    @classmethod
    def of(cls, request: Mapping[str, Value]) -> Shape:
        """The shape of ``request``, in sbatch's own terms: without a number of tasks there is one on each node."""
        nodes = _number(request.get("nodes", 1))
        gpus = _gpus_by_node(request, nodes)
        per_task = _per_task(request)
        if "ntasks" in request:
            processes = _number(request["ntasks"])
        elif "ntasks_per_gpu" in request and gpus:
            processes = gpus * _number(request["ntasks_per_gpu"])
        else:
            processes = nodes * _number(request.get("ntasks_per_node", 1))
        if per_task is not None:
            gpus = processes * per_task
        return cls(nodes, max(1, processes), gpus)


def typed_count(text: str) -> int:
    """The GPUs that ``4``, ``a100:4`` or ``a100:2,v100:2`` stand for."""
    return sum(int(match[1]) if (match := _COUNT.search(part)) else 1 for part in text.split(","))


def names_type(request: Mapping[str, Value]) -> bool:
    """Whether it says which type of GPU: ``a100:4``, ``gpu:a100``."""
    counted = [str(request.get(name, "")) for name in ("gpus", "gpus_per_node", "gpus_per_task")]
    return any(":" in text for text in counted) or bool(re.search(r"\bgpu:[A-Za-z]", str(request.get("gres", ""))))


def _gpus_by_node(request: Mapping[str, Value], nodes: int) -> int | None:
    if "gpus" in request:
        return typed_count(str(request["gpus"]))
    if "gpus_per_node" in request:
        return nodes * typed_count(str(request["gpus_per_node"]))
    # gres is counted by node: gpu, gpu:4, gpu:a100:4, gres/gpu:4, beside others such as lustre:1.
    found = _in_list(str(request.get("gres", "")))
    return None if found is None else nodes * found


def _per_task(request: Mapping[str, Value]) -> int | None:
    if "gpus_per_task" in request:
        return typed_count(str(request["gpus_per_task"]))
    return _in_list(str(request.get("tres_per_task", "")))


def _in_list(text: str) -> int | None:
    entries = [re.sub(r"^gres[:/]", "", entry) for entry in text.split(",")]
    gpus = [entry for entry in entries if re.match(r"gpu\b", entry)]
    return sum(typed_count(entry) for entry in gpus) if gpus else None


def _number(value: Value) -> int:
    return leading_number(str(value), 1)


def one_process(request: Mapping[str, Value]) -> dict[str, Value]:
    """``request`` cut to one process and, where it asks for GPUs, one of them; a GPU keeps its type."""
    shape = Shape.of(request)
    left_out = {*TASKS, "nodes", "gpus_per_task", "gpus_per_socket", "tres_per_task", "cpus_per_gpu", "exclusive"}
    cut = {name: value for name, value in request.items() if name not in left_out}
    cut |= {"nodes": 1, "ntasks_per_node": 1}
    for name in ("gpus", "gpus_per_node"):
        if name in cut and shape.gpus:
            cut[name] = _one(str(cut[name]))
    if "gres" in cut and shape.gpus:
        cut["gres"] = ",".join(_one(entry) if "gpu" in entry else entry for entry in str(cut["gres"]).split(","))
    if shape.gpus and not {"gpus", "gpus_per_node", "gres"} & cut.keys():
        cut["gpus_per_node"] = _one(str(request.get("gpus_per_task", 1)))
    return cut


def _one(text: str) -> str:
    first = text.split(",")[0]
    return _COUNT.sub(lambda match: match[0][: match.start(1) - match.start()] + "1", first)


@dataclass(frozen=True, slots=True)
class Idle:
    """Jobs of one kind that leave GPUs or processes idle, and what to write instead."""

    kind: str
    what: str
    help: str

    def __str__(self) -> str:
        return f"{self.kind} jobs: {self.what}\n  {self.help}"


def misfits(jobs: Sequence[Job], profile: Profile) -> Iterator[Fault | Idle]:
    """How processes and GPUs of the profile's requests do not fit together, by kind of the jobs.

    A `Fault` where jobs would fail or most of a node would idle for days; `Idle` where GPUs are wasted for minutes.
    """
    for kind in dict.fromkeys(job.kind for job in jobs):
        like = [job for job in jobs if job.kind == kind]
        shape = Shape.of(profile.request(kind))
        yield from _misfits(kind, like, shape, f"slurm/{profile.name}.toml: {kind} jobs")


def _misfits(kind: str, jobs: Sequence[Job], shape: Shape, where: str) -> Iterator[Fault | Idle]:
    processes, gpus = shape.processes, shape.gpus
    numbers = f"{plural(processes, 'process', 'processes')}, {plural(gpus or 0, 'GPU')}"
    section = f"[kinds.{kind}]"
    if not kind_named(kind).shared:
        if (gpus or 0) > 1:
            yield Idle(kind, f"{numbers}: a job of this kind uses one", f"write gpus_per_node = 1 in {section}")
        return
    on_gpus = [job for job in jobs if job.needs_gpu]
    if gpus is None or not on_gpus:
        if (gpus or 0) > processes:
            yield Idle(kind, f"{numbers}: {(gpus or 0) - processes} idle", _balanced(shape, section))
        return
    if gpus == 0:
        what = f"{numbers}: {plural(len(on_gpus), 'job')} cannot run on a CPU (fp16)"
        yield Fault(where, what, (f"write gpus_per_node = 1 or more in {section}, or remove the line that says 0",))
    elif gpus < processes:
        yield Fault(where, f"{numbers}: each process needs a GPU of its own", (_balanced(shape, section),))
    elif gpus > processes:
        what = f"{numbers}: {gpus - processes} would idle, since each process uses one"
        yield Fault(where, what, (_balanced(shape, section),))


def _balanced(shape: Shape, section: str) -> str:
    gpus = shape.gpus or 0
    by_node = gpus // shape.nodes
    if gpus > shape.processes and by_node:
        fewer = -(-shape.processes // shape.nodes)
        return f"write ntasks_per_node = {by_node} in {section} (one process a GPU), or gpus_per_node = {fewer}"
    return (
        f"write ntasks_per_node = {max(1, by_node)} in {section}, or gpus_per_node = {shape.processes // shape.nodes}"
    )


def device_of(environ: Mapping[str, str], local_rank: int, local_size: int, present: Sequence[str]) -> str | None:
    """What CUDA_VISIBLE_DEVICES has to be for one process of ``local_size`` on a node; None: leave it as it is.

    present: the GPUs that the node's driver lists; without one there is nothing to share, and jobs run on the CPU.
    Raises UserError where the processes are more than the GPUs.
    """
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    given = [name.strip() for name in listed.split(",") if name.strip()] if listed is not None else list(present)
    if local_size == 1 or not given:
        return None
    if len(given) >= local_size:
        return given[local_rank]
    if len(given) == 1 and _bound(environ, local_size):
        # Slurm has given each process its own already, and every one calls it 0.
        return None
    if not present:
        return None
    raise UserError(
        f"GPUs are fewer than processes: {plural(local_size, 'process', 'processes')} on this node, "
        f"{plural(len(given), 'GPU')} (CUDA_VISIBLE_DEVICES={listed or ''})\n"
        "  set gpus_per_node = ntasks_per_node in the profile, and leave --gpu-bind out"
    )


def _bound(environ: Mapping[str, str], processes: int) -> bool:
    """Whether Slurm bound one GPU to each process: an option says so, or the node gave as many to them all."""
    options = ("SLURM_GPUS_PER_TASK", "SLURM_NTASKS_PER_GPU", "SLURM_TRES_PER_TASK")
    count = environ.get("SLURM_GPUS_ON_NODE", "")
    return any(environ.get(name) for name in options) or (count.isdigit() and int(count) >= processes)
