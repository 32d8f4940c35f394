"""A cluster profile: everything that names a partition, an account, a path (slurm/*.toml). Nothing else does."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from replicate.backends.slurm.choose import LOCAL
from replicate.backends.slurm.gpus import TASKS, Shape
from replicate.backends.slurm.sbatch import Plain, Sbatch, Value, joined, minutes, one_line
from replicate.errors import Fault, SpecError, suggestion
from replicate.jobs.job import kind_named, kinds
from replicate.specs.file import read_toml, shown_path, validated
from replicate.specs.recipe import Count, Strict
from replicate.store.lease import RESTART, TASK

V = TypeVar("V")

SIGNAL_SECONDS = 90

CLUSTERS = ("clusters", "cluster")
"""sbatch's names for the option that sends jobs to another cluster."""
_IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")

_PATH = re.compile(r"/[\w./+,@=:-]*")


def absolute(value: str) -> str:
    """Raises ValueError unless ``value`` is an absolute path of signs that neither a shell nor sbatch reads as its own.

    (sbatch replaces ``%`` in the names of logs.)
    """
    if not value.startswith("/"):
        raise ValueError("expected an absolute path (it is read on the nodes, where '~' and '.' are others)")
    if not _PATH.fullmatch(value) or ".." in PurePosixPath(value).parts:
        raise ValueError("expected a path of letters, digits and . / + , @ = : - _ only, without '..'")
    return value


def profile_name(value: str) -> str:
    """Raises ValueError for what cannot be the name of a profile."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", value) or value == LOCAL:
        raise ValueError(f"expected letters, digits, '.', '-' and '_' (and not '{LOCAL}')")
    return value


def _digest(value: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
        raise ValueError("expected 'sha256:' and 64 hexadecimal digits")
    return value


def _variable(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("expected the name of an environment variable")
    if value.startswith(("SLURM_", "SRUN_")) or value in (TASK, RESTART):
        raise ValueError(f"'{value}' is set by Slurm, or by replicate itself for every job; leave it out")
    return value


def _setting(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.isprintable():
        return value
    raise ValueError("expected text of one line, in quotes, or a whole number")


Absolute = Annotated[str, AfterValidator(absolute)]
Line = Annotated[str, AfterValidator(one_line)]
Variable = Annotated[str, AfterValidator(_variable)]
Setting = Annotated[str, BeforeValidator(_setting)]


class Match(Strict):
    """Where this profile is chosen by itself: globs of host names, names of clusters."""

    hostnames: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()


class Paths(Strict):
    """Absolute, as the nodes see them."""

    shared: Absolute
    """A folder that this machine and every node mount; results, logs and snapshots of the code live in it."""
    data: Absolute | None = None
    """What REPLICATE_DATA is on the nodes: the folder of the image folders."""
    log: Absolute | None = None
    """Default: ``<shared>/log``."""
    slurm_conf: Absolute | None = None
    """What SLURM_CONF is for sbatch, squeue and sacct, where it is not the site's default."""


class Container(Strict):
    """``image`` is a file (absolute path) or a name that the runtime knows; the digest goes into the record."""

    runtime: Literal["pyxis", "apptainer"]
    image: Plain
    digest: Annotated[str, AfterValidator(_digest)] | None = None


def _kind(name: str) -> str:
    if name not in kinds():
        near = "; ".join(suggestion(name, sorted(kinds()), "kinds"))
        raise ValueError(f"should be a kind of job ({near})")
    return name


def _packs() -> dict[str, int]:
    return {name: kind.pack for name, kind in kinds().items() if kind.pack > 1}


Kind = Annotated[str, AfterValidator(_kind)]


class Profile(Strict):
    """One file of slurm/. ``[kinds.KIND]`` changes ``[sbatch]`` option by option."""

    name: Annotated[str, AfterValidator(profile_name)]
    match: Match = Match()
    paths: Paths
    python: Absolute
    """The interpreter on the nodes."""
    setup: tuple[Line, ...] = ()
    """Shell lines that run on the node before Python, echoed in the log. The one place where a profile is code.

    One that fails stops the job. They run when the environment is made, so what they export holds.
    """
    environment: dict[Variable, Setting] = {}
    """What the environment of a job has besides what the node itself gives it; nothing of the submitter's shell."""
    pass_environment: tuple[Variable, ...] = ()
    """Variables that a job gets from whoever submits it, where they are set."""
    sbatch: Sbatch = Sbatch()
    kinds: dict[Kind, Sbatch] = {}
    srun_args: tuple[Line, ...] = ()
    max_running: Count | None = None
    """How many tasks of one kind run at once, over all arrays (`replicate.backends.slurm.lanes`)."""
    pack: dict[Kind, Count] = Field(default_factory=_packs)
    """How many short jobs share one task; 1 where a kind is not named."""
    requeue: Annotated[int, Field(ge=0)] = 3
    """How often one job may be started again after a time limit, or after a life in which it got no further."""
    signal_seconds: Annotated[int, Field(ge=10)] = SIGNAL_SECONDS
    """How long before the time limit a job is told to write its checkpoint."""
    chain: bool = True
    """Whether waves are submitted at once with dependencies; False: one wave a call (where a site limits depth)."""
    lost_after_minutes: Count = 10
    """Without a sign of life for so long, and unknown to Slurm, a job is lost."""
    poll_seconds: Annotated[float, Field(gt=0)] = 30.0
    """How often ``--wait`` asks Slurm; it asks ever less often while nothing changes."""
    visible_seconds: Annotated[float, Field(ge=0)] = 60.0
    """How long a file may take to be seen from another machine, before it counts as missing."""
    container: Container | None = None
    group: Plain | None = None
    """The file group that may read the results; without it they are for the user alone."""
    wckey: Plain | None = None
    comment: bool = True
    """False where the site sets or refuses the comment of a job: jobs are then told by their names alone."""
    shared_is_local: bool = False
    """True on a one-machine testbed only, where every node sees the same local disk."""

    def request(self, kind: str) -> dict[str, Value]:
        """Options of one job of ``kind``: sbatch's names with underscores -> values, ``time`` in minutes.

        A kind that asks for it has its node to itself unless the profile says otherwise. One task on each node always
        stands there: srun would start as many as fit on a node that is asked for alone. A kind whose jobs are one
        process each asks for no more, whatever ``[sbatch]`` says.
        """
        section = _of_kind(self.kinds, kind) or Sbatch()
        alone: dict[str, Value] = {"exclusive": True} if kind_named(kind).alone else {}
        request = joined({**alone, **self.sbatch.request()}, section.request(), section.unset)
        if not kind_named(kind).shared:
            request = {name: value for name, value in request.items() if name not in (*TASKS, "nodes")}
        return request if request.keys() & set(TASKS) else {**request, "ntasks_per_node": 1}

    def packed(self, kind: str) -> int:
        """How many jobs of ``kind`` one task runs, one after the other."""
        return _of_kind(self.pack, kind) or 1

    def processes(self, kind: str) -> int:
        """How many processes share one job: a kind that they can share is started once for each of srun's tasks."""
        return Shape.of(self.request(kind)).processes

    @property
    def cluster(self) -> str:
        """Another cluster than the login node's own, where ``extra`` of [sbatch] names one (``clusters``)."""
        return str(next((self.sbatch.extra[name] for name in CLUSTERS if name in self.sbatch.extra), ""))

    @property
    def log(self) -> Path:
        return Path(self.paths.log or f"{self.paths.shared}/log")

    def client_environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What sbatch, squeue and sacct are started with: no SBATCH_* or SLURM_* of the caller but SLURM_CONF."""
        foreign = ("SBATCH_", "SLURM_", "SQUEUE_", "SACCT_", "SRUN_", "SINFO_", "SCANCEL_", "SCONTROL_")
        kept = {name: value for name, value in environ.items() if name == "SLURM_CONF" or not name.startswith(foreign)}
        if self.paths.slurm_conf:
            kept["SLURM_CONF"] = self.paths.slurm_conf
        return kept


def load_profile(path: Path) -> Profile:
    """Read and check one profile. Raises SpecError with every fault of the file."""
    faults: list[Fault] = []
    raw = read_toml(path, faults)
    profile = validated(path, Profile, raw, faults) if raw is not None else None
    if raw is not None:
        faults += _check(shown_path(path), path.stem, raw)
    if faults or profile is None:
        raise SpecError(sorted(set(faults)))
    return profile


def python_command(profile: Profile) -> str:
    """The interpreter, quoted for a shell; with apptainer, the command that starts it inside the image."""
    python = shlex.quote(profile.python)
    box = profile.container
    if box is None or box.runtime == "pyxis":
        return python
    # Where setup copied the images, the copy.
    data = ['--bind "$REPLICATE_DATA"'] if profile.paths.data else []
    mounts = " ".join([f"--bind {shlex.quote(profile.paths.shared)}", *data])
    return f"apptainer exec --nv {mounts} {shlex.quote(box.image)} {python}"


def srun_arguments(profile: Profile, kind: str) -> list[str]:
    """Arguments of srun, not yet quoted: the number of processes, pyxis' where it is the runtime, the profile's own."""
    shape, box = Shape.of(profile.request(kind)), profile.container
    tasks = [f"--nodes={shape.nodes}", f"--ntasks={shape.processes}"]
    inside: list[str] = []
    if box is not None and box.runtime == "pyxis":
        paths = [profile.paths.shared, *([profile.paths.data] if profile.paths.data else [])]
        mounts = ",".join(f"{path}:{path}" for path in paths)
        inside = [f"--container-image={box.image}", f"--container-mounts={mounts}"]
    # Where --export of sbatch is named, srun would hand on no more than that: not what setup exported.
    return [*tasks, "--export=ALL", *inside, *profile.srun_args]


def _of_kind(found: Mapping[Any, V], kind: str) -> V | None:
    """What a section by kind of job has for ``kind``."""
    return found.get(kind, found.get(kind_named(kind).like))


def _check(where: str, stem: str, raw: dict[str, Any]) -> list[Fault]:
    """Faults of the raw file that no single field shows, so that they stand beside those of its fields."""
    faults = [*_check_times(where, raw), *_check_unset(where, raw), *_check_clusters(where, raw)]
    if isinstance(raw.get("name"), str) and raw["name"] != stem:
        help = f"--cluster looks for slurm/NAME.toml: call the file {raw['name']}.toml or write name = '{stem}'"
        faults.append(Fault(f"{where}: name", f"expected the file's own name '{stem}', got {raw['name']!r}", (help,)))
    paths, container = raw.get("paths"), raw.get("container")
    shared = paths.get("shared") if isinstance(paths, dict) else None
    if isinstance(shared, str) and shared.startswith("/") and raw.get("shared_is_local") is not True:
        kind = file_system(Path(shared))
        reason = kind if kind in _IN_MEMORY else "/tmp is each machine's own" if _in_tmp(shared) else ""
        if reason:
            what = f"'{shared}' is not on a shared file system ({reason})"
            help = "jobs would find no files and leave no log; use a directory all nodes mount"
            faults.append(Fault(f"{where}: paths.shared", what, (help,)))
    image = container.get("image") if isinstance(container, dict) else None
    if isinstance(image, str) and image.startswith("/") and not Path(image).exists():
        faults.append(
            Fault(f"{where}: container.image", f"no such image, got '{image}'", ("build it, or name one that exists",))
        )
    return faults


def _check_clusters(where: str, raw: dict[str, Any]) -> list[Fault]:
    """All jobs go to one cluster: one that waits for another cannot be on a second cluster, where numbers differ."""
    kinds = raw.get("kinds")
    sections = {"sbatch": raw.get("sbatch")}
    sections |= {f"kinds.{name}": section for name, section in (kinds if isinstance(kinds, dict) else {}).items()}
    faults = []
    for place, section in sections.items():
        extra = section.get("extra") if isinstance(section, dict) else None
        if not isinstance(extra, dict):
            continue
        for name in CLUSTERS:
            if name not in extra:
                continue
            what = ""
            if place != "sbatch":
                what, help = "all kinds run on one cluster", "write it in [sbatch.extra], or make a profile of its own"
            elif not re.fullmatch(r"[A-Za-z0-9][\w.-]*", str(extra[name])):
                what, help = f"expected the name of one cluster, got {extra[name]!r}", "jobs wait for each other there"
            if what:
                faults.append(Fault(f"{where}: {place}.extra.{name}", what, (help,)))
    return faults


def _in_tmp(shared: str) -> bool:
    return any(PurePosixPath(shared).is_relative_to(folder) for folder in ("/tmp", "/var/tmp", "/dev/shm"))


def shortest_minutes(signal_seconds: int) -> int:
    """Return the least time limit under which a training gets on: half of it lies before the signal to stop."""
    return -(-2 * signal_seconds // 60)


def _check_times(where: str, raw: dict[str, Any]) -> list[Fault]:
    faults, missing = [], []
    sbatch, sections = raw.get("sbatch"), raw.get("kinds")
    common = sbatch.get("time") if isinstance(sbatch, dict) else None
    lead = raw.get("signal_seconds", SIGNAL_SECONDS)
    shortest = shortest_minutes(lead if type(lead) is int else SIGNAL_SECONDS)
    for kind in sorted(kinds()):
        own = _of_kind(sections, kind) if isinstance(sections, dict) else None
        value = own.get("time", None if "time" in own.get("unset", ()) else common) if isinstance(own, dict) else common
        if value is None:
            missing.append(kind)
            continue
        try:
            limit = minutes(value)
        except ValueError:
            continue
        if kind_named(kind).resumable and limit < shortest:
            place = f"kinds.{kind}.time" if isinstance(own, dict) and "time" in own else "sbatch.time"
            what = f"too short, got {value!r}: {kind} jobs are told to stop {lead} seconds before it"
            help = f"use {shortest} minutes or more, or a smaller signal_seconds"
            faults.append(Fault(f"{where}: {place}", what, (help,)))
    if missing:
        help = f"needed for {', '.join(missing)} jobs; without it submitit would ask for 5 minutes"
        faults.append(Fault(f"{where}: sbatch.time", "this key is required", (help,)))
    return faults


def _check_unset(where: str, raw: dict[str, Any]) -> list[Fault]:
    """Faults of names in ``unset`` that are no options which a kind would have otherwise."""
    sections = raw.get("kinds")
    sbatch = raw.get("sbatch")
    common = sbatch if isinstance(sbatch, dict) else {}
    if "unset" in common:
        help = "an option that nobody writes is not sent"
        return [Fault(f"{where}: sbatch.unset", "this key has a meaning in [kinds.KIND] only", (help,))]
    extra = common.get("extra")
    written = {*common, *(extra if isinstance(extra, dict) else ()), "exclusive"} - {"extra"}
    known = {name.replace("-", "_") for name in written}
    faults = []
    for kind, section in sections.items() if isinstance(sections, dict) else ():
        names = section.get("unset") if isinstance(section, dict) else None
        for name in names if isinstance(names, list) else ():
            if not isinstance(name, str) or name.replace("-", "_") not in known:
                what = f"[sbatch] does not set {name!r}"
                faults.append(Fault(f"{where}: kinds.{kind}.unset", what, (f"it sets {', '.join(sorted(known))}",)))
    return faults


def file_system(folder: Path) -> str:
    """Type of the file system (``nfs4``, ``ext4``, ``tmpfs``) that holds ``folder`` or will; empty where unknown.

    Read from /proc/self/mountinfo, so it is empty on systems without one.
    """
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    real = folder.resolve()
    best, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(_unescaped(before.split()[4]))
        # Of two mounts on one point the later hides the earlier.
        if (real == point or point in real.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split()[0]
    return kind


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
