"""One small job on a node: whether it sees the shared folder, and what it is."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from replicate.backends.doctor import probe
from replicate.backends.doctor.files import Files, Finding, fail, ok, warn
from replicate.backends.slurm.client import Client, number_of
from replicate.backends.slurm.gpus import Shape, one_process
from replicate.backends.slurm.profile import Profile, file_system, python_command, srun_arguments
from replicate.backends.slurm.prologue import DOCTOR, NO_EXPORTS, SetupFailure, note_of, prologue
from replicate.backends.slurm.sbatch import Value, arguments
from replicate.jobs.job import kinds
from replicate.store.provenance import PACKAGES

PROBE_MINUTES = 10
"""Longer than importing torch takes on a file system that nobody has read it from yet."""
_PLACE = ("partition", "account", "qos", "reservation", "constraint", "nodelist")
"""Options that decide on which nodes a job may run, and whether it may."""
LOOK = 5.0
"""Seconds between two questions to squeue; the answer itself is a file, which costs the controller nothing."""
NEEDED = ("torch", "torchvision", "timm", "numpy", "safetensors")
LOCAL_DISKS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "overlay", "f2fs")
MAX_SKEW = 60.0


def examine(
    profile: Profile, client: Client, files: Files, seconds: float, needs_gpu: bool = False
) -> Iterator[Finding]:
    """The shared folder from here, then from nodes; waits up to ``seconds`` for them to answer. Leaves nothing behind.

    needs_gpu: whether there are jobs that no CPU runs.
    """
    shared = Path(profile.paths.shared)
    nonce = secrets.token_hex(8)
    # Jobs of another user could be led elsewhere by a folder whose name they can guess.
    folder = shared / f".doctor-{nonce}"
    existed = shared.exists()
    try:
        shared.mkdir(mode=0o750 if profile.group else 0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        yield fail("shared folder", f"{shared}: {error.strerror}", "create it, or name another in paths.shared")
        return
    try:
        yield from _from_here(profile, shared)
        if seconds > 0:
            question = files.question(profile, nonce, [*PACKAGES, "submitit"])
            visits = [Visit(profile, client, folder / str(index), kinds) for index, kinds in enumerate(places(profile))]
            yield from _from_nodes(visits, question, files, time.monotonic() + seconds, needs_gpu)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not existed:
            with suppress(OSError):
                shared.rmdir()


def _from_here(profile: Profile, shared: Path) -> Iterator[Finding]:
    kind = file_system(shared)
    if kind in LOCAL_DISKS and not profile.shared_is_local:
        yield warn("shared folder", f"{shared} is on {kind} here, usually a local disk", "the node's answer decides")
    mode = shared.stat().st_mode
    if mode & 0o002 or (mode & 0o020 and not profile.group):
        yield warn("shared folder", f"others can write {shared}", f"chmod go-w {shlex.quote(str(shared))}")
    free = shutil.disk_usage(shared).free / 1e9
    if free < 10:
        yield warn("shared folder", f"{free:.1f} GB are free", "a full disk stops every job")


def places(profile: Profile) -> list[tuple[str, ...]]:
    """Kinds of job by where they run, that of trainings first: a partition may have other nodes than the next."""
    found: dict[tuple[Value | None, ...], list[str]] = {}
    for kind in ("train", *kinds()):
        request = profile.request(kind)
        found.setdefault(tuple(request.get(name) for name in _PLACE), []).append(kind)
    return [tuple(dict.fromkeys(names)) for names in found.values()]


@dataclass(slots=True)
class Visit:
    """A small job on a node where jobs of ``kinds`` run."""

    profile: Profile
    client: Client
    folder: Path
    kinds: Sequence[str]
    job: str = ""

    @property
    def gpus(self) -> int | None:
        return Shape.of(self.profile.request(self.kinds[0])).gpus

    def submit(self, question: probe.Question) -> Finding | None:
        """Queue it; what sbatch says against it."""
        profile, folder = self.profile, self.folder
        folder.mkdir(mode=0o700)
        (folder / "question.json").write_text(json.dumps(asdict(question)), encoding="utf-8")
        shutil.copyfile(probe.__file__, folder / "probe.py")
        setup = prologue(profile, DOCTOR, shlex.quote(str(note_of(folder, ""))), self.client.environment)
        # A kind of one process, whatever the request of the trainings is.
        srun = shlex.join(["srun", *srun_arguments(profile, "predict")])
        command = f"{srun} {python_command(profile)} {shlex.quote(f'{folder}/probe.py')} {shlex.quote(str(folder))}"
        script = folder / "job.sh"
        script.write_text("\n".join(["#!/bin/bash", *setup, command, ""]), encoding="utf-8")
        options = ["--job-name=replicate-doctor", f"--output={folder}/log", f"--chdir={folder}", "--parsable"]
        options.append(f"--export-file={NO_EXPORTS}")
        if profile.wckey:
            options.append(f"--wckey={profile.wckey}")
        answer = self.client.call("sbatch", *options, *arguments(probe_request(profile, self.kinds[0])), str(script))
        if answer.code != 0:
            return fail("node", f"sbatch: {answer.said}", "see the requests above")
        number = number_of(answer.out)
        if number is None:
            words = f"sbatch gives no number: {answer.said}"
            return fail("node", words, "ask the site what its sbatch prints with --parsable")
        self.job = number
        return None


def _from_nodes(
    visits: Sequence[Visit], question: probe.Question, files: Files, deadline: float, needs_gpu: bool
) -> Iterator[Finding]:
    """What each node says; all are asked before the first is waited for."""
    asked = time.monotonic()
    try:
        for number, visit in enumerate(visits):
            gpu = bool(visit.gpus) or (visit.gpus is None and needs_gpu and "train" in visit.kinds)
            asked_here = replace(question, torch=True, gpu=gpu)
            if number > 0:
                # Files are the same everywhere, or nothing that one node says of them holds for others.
                asked_here = replace(asked_here, data=(), files={})
            if refusal := visit.submit(asked_here):
                yield replace(refusal, subject=_subject(number, visit))
        for number, visit in enumerate(visits):
            if not visit.job:
                continue
            given = _wait(visit.client, visit.job, visit.folder, deadline)
            if isinstance(given, Finding):
                yield replace(given, subject=given.subject if number == 0 else _subject(number, visit))
                continue
            visit.job = ""
            shared = visit.profile.paths.shared
            if given.nonce != question.nonce:
                what = f"the answer in {visit.folder} is not the one asked for"
                yield fail("node", what, "is the folder written by others?")
                continue
            machine = [*_machine(given, question), *_torch(given, visit.gpus, needs_gpu and "train" in visit.kinds)]
            if number == 0:
                yield ok(
                    "shared folder", f"node {given.host} read and wrote {shared} ({time.monotonic() - asked:.1f} s)"
                )
                yield from machine
                yield from files.findings(visit.profile, given)
                continue
            wrong = [finding for finding in machine if finding.level != "ok"]
            for finding in wrong:
                yield replace(finding, subject=f"{_subject(number, visit)}, {finding.subject}")
            if not wrong:
                words = f"{given.host} read and wrote {shared}; python, packages and torch as on the first"
                yield ok(_subject(number, visit), words)
    finally:
        for job in [visit.job for visit in visits if visit.job]:
            visits[0].client.call("scancel", job)


def _subject(number: int, visit: Visit) -> str:
    return "node" if number == 0 else f"node of {', '.join(visit.kinds)}"


def probe_request(profile: Profile, kind: str) -> dict[str, Value]:
    """A request as ``kind`` has it, but for minutes, one process and one GPU, so that it starts soon.

    Memory and cores are the least that any kind asks for, in the words that this one uses.
    """
    asked = [profile.request(each) for each in kinds()]
    request = {
        **one_process(profile.request(kind)),
        "time": min(PROBE_MINUTES, *(int(each["time"]) for each in asked)),
    }
    for name in ("mem", "mem_per_cpu", "mem_per_gpu", "cpus_per_task"):
        if name in request:
            request[name] = min((each[name] for each in asked if name in each), key=_size)
    request.pop("licenses", None)
    return request


def _size(value: Value) -> float:
    """Megabytes of ``40G``, or a plain number."""
    text = str(value)
    return float(text.rstrip("KMGT")) * {"K": 1e-3, "G": 1e3, "T": 1e6}.get(text[-1:], 1.0)


def _wait(client: Client, job: str, folder: Path, deadline: float) -> probe.Answer | Finding:
    seconds, look, state = deadline - time.monotonic(), time.monotonic() + 2.0, ""
    ended = None
    while time.monotonic() < deadline:
        # Listing the folder makes a network file system look again instead of remembering that nothing was there.
        with suppress(OSError, ValueError):
            if "answer.json" in os.listdir(folder):
                return probe.Answer.parse((folder / "answer.json").read_text(encoding="utf-8"))
        if (setup := SetupFailure.read(note_of(folder, ""))) is not None:
            return fail("setup", f"{setup.what}: {_last_words(folder)}", setup.help)
        if time.monotonic() > look:
            look = time.monotonic() + LOOK
            state = client.call("squeue", "-a", "-h", "--states=all", "-j", job, "-o", "%T (%r)").out.strip()
            over = not state or state.split()[0] not in ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING")
            if over and ended is not None:
                break
            ended = state if over else None
        time.sleep(0.3)
    if ended is None:
        words = f"no answer within {seconds:.0f} s: {state or 'unknown'}"
        return warn("node", words, "the cluster may be busy; try again with --wait SECONDS")
    if not (folder / "log").exists():
        return fail(
            "shared folder",
            f"the job ended ({ended or 'forgotten'}), and {folder.parent} has neither its log nor its answer",
            "name a folder in paths.shared that all nodes mount",
        )
    words = f"the job ended without an answer ({ended or 'forgotten'}): {_last_words(folder)}"
    return fail("node", words, "see python and setup")


def _last_words(folder: Path) -> str:
    """The last line of the job's log that a program of the site wrote."""
    with suppress(OSError):
        text = (folder / "log").read_text(encoding="utf-8", errors="replace")
        lines = [line for line in text.splitlines() if line.strip() and "Python is not started" not in line]
        # srun ends with a line of its own that only counts the failure.
        own = [line for line in lines if "Exited with exit code" not in line]
        return (own or lines or ["nothing in its log"])[-1]
    return "it has no log"


def _machine(given: probe.Answer, question: probe.Question) -> Iterator[Finding]:
    host, here = given.host, probe.answer(replace(question, data=(), files={}))
    skew = abs(given.time - time.time())
    if skew > MAX_SKEW:
        yield warn("clock", f"{host} is {skew:.0f} s off", "ages of files mislead; tell the site (ntp)")
    if given.python != here.python:
        yield warn("python", f"{given.python} on {host}, {here.python} here", "plans and renders may differ")
    else:
        yield ok("python", f"{given.python} on {host}, the same as here ({given.executable})")
    there, ours = given.packages, here.packages
    missing = [name for name in NEEDED if not there.get(name)]
    differing = [
        f"{name} {there[name]} ({ours[name] or 'none'} here)" for name in ours if there.get(name) != ours[name]
    ]
    if missing:
        yield fail("packages", f"not on {host}: {', '.join(missing)}", "python names an environment without them")
    elif differing:
        yield warn("packages", f"on {host}: {', '.join(differing)}", "results are recorded with the node's versions")
    else:
        yield ok("packages", f"the same versions on {host} as here (torch {there.get('torch')})")


def _torch(given: probe.Answer, gpus: int | None, needed: bool) -> Iterator[Finding]:
    """Whether torch computes there. gpus: that the request asks for, None where it does not say."""
    host, torch = given.host, given.torch
    if torch.error:
        if given.packages.get("torch"):
            yield fail("torch", f"cannot be imported on {host}: {torch.error}", "see python and setup")
        return
    build = f"torch {torch.version} ({f'CUDA {torch.cuda}' if torch.cuda else 'without CUDA'})"
    if torch.gpu:
        yield ok("node's GPUs", f"{build} computed on {torch.gpu}")
    elif not gpus and needed:
        asked = "asks for none" if gpus == 0 else "does not say how many"
        what = f"{host} has none that {build} can use, and the request {asked}"
        yield fail("node's GPUs", what, "set gpus_per_node: no CPU trains in fp16")
    elif gpus:
        # The first sentence; the next ones send people to addresses.
        said = torch.gpu_error.partition(". ")[0]
        words = f"{build} cannot compute on the GPU that {host} gave: {said}"
        if given.gpus_seen:
            words += f"; nvidia-smi shows {', '.join(sorted(set(given.gpus_seen)))}"
            help = "install a torch built for a CUDA version of the site's driver (pytorch.org, previous versions)"
        else:
            help = "training uses the CPU" if not needed else "no CPU trains in fp16; ask the site"
        yield (fail if needed else warn)("node's GPUs", words, help)
    else:
        yield ok("torch", f"{build} is imported on {host}")
