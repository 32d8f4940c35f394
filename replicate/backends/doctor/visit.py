"""One small job on a node: whether it sees the shared folder, and what it is."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from replicate.backends.doctor import probe
from replicate.backends.doctor.files import Files, Finding, fail, ok, warn
from replicate.backends.slurm.client import Client
from replicate.backends.slurm.gpus import one_process
from replicate.backends.slurm.profile import Profile, file_system, python_command, srun_arguments
from replicate.backends.slurm.prologue import NO_EXPORTS, SetupFailure, note_of, prologue
from replicate.backends.slurm.sbatch import Value, arguments
from replicate.jobs.job import kinds
from replicate.store.provenance import PACKAGES

PROBE_MINUTES = 10
"""Longer than importing torch takes on a file system that nobody has read it from yet."""
LOOK = 5.0
"""Seconds between two questions to squeue; the answer itself is a file, which costs the controller nothing."""
NEEDED = ("torch", "torchvision", "timm", "numpy", "safetensors")
LOCAL_DISKS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "overlay", "f2fs")
MAX_SKEW = 60.0


def examine(profile: Profile, client: Client, files: Files, seconds: float) -> Iterator[Finding]:
    """The shared folder from here, then from a node; waits up to ``seconds`` for it to start. Leaves nothing behind."""
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
            yield from _from_node(profile, client, folder, nonce, files, seconds)
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


def _from_node(
    profile: Profile, client: Client, folder: Path, nonce: str, files: Files, seconds: float
) -> Iterator[Finding]:
    question = files.question(profile, nonce, [*PACKAGES, "submitit"])
    (folder / "question.json").write_text(json.dumps(asdict(question)), encoding="utf-8")
    shutil.copyfile(probe.__file__, folder / "probe.py")
    job = _submit(profile, client, folder)
    if isinstance(job, Finding):
        yield job
        return
    asked = time.monotonic()
    given = None
    try:
        given = _wait(client, job, folder, seconds)
    finally:
        if not isinstance(given, probe.Answer):
            client.call("scancel", job)
    if isinstance(given, Finding):
        yield given
        return
    if given.nonce != nonce:
        yield fail("node", f"the answer in {folder} is not the one asked for", "is the folder written by others?")
        return
    yield ok("shared folder", f"node {given.host} read and wrote {folder.parent} ({time.monotonic() - asked:.1f} s)")
    yield from _machine(given, question)
    yield from files.findings(profile, given)


def _submit(profile: Profile, client: Client, folder: Path) -> str | Finding:
    request = probe_request(profile)
    setup = prologue(profile, shlex.quote(str(note_of(folder, ""))), client.environment)
    # A kind of one process, whatever the request of the trainings is.
    srun = shlex.join(["srun", *srun_arguments(profile, "predict")])
    command = f"{srun} {python_command(profile)} {shlex.quote(f'{folder}/probe.py')} {shlex.quote(str(folder))}"
    script = folder / "job.sh"
    script.write_text("\n".join(["#!/bin/bash", *setup, command, ""]), encoding="utf-8")
    options = ["--job-name=replicate-doctor", f"--output={folder}/log", f"--chdir={folder}", "--parsable"]
    options.append(f"--export-file={NO_EXPORTS}")
    if profile.wckey:
        options.append(f"--wckey={profile.wckey}")
    answer = client.call("sbatch", *options, *arguments(request), str(script))
    if answer.code != 0:
        return fail("node", f"sbatch: {answer.said}", "see the requests above")
    return answer.out.strip().partition(";")[0]


def probe_request(profile: Profile) -> dict[str, Value]:
    """A request as a training has it, but for minutes, one process and one GPU, so that it starts soon.

    Memory and cores are the least that any kind asks for, in the words that trainings use.
    """
    asked = [profile.request(kind) for kind in kinds()]
    request = {
        **one_process(profile.request("train")),
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


def _wait(client: Client, job: str, folder: Path, seconds: float) -> probe.Answer | Finding:
    deadline, look, state = time.monotonic() + seconds, time.monotonic() + 2.0, ""
    ended = None
    while time.monotonic() < deadline:
        # Listing the folder makes a network file system look again instead of remembering that nothing was there.
        with suppress(OSError, ValueError):
            if "answer.json" in os.listdir(folder):
                return probe.Answer.parse((folder / "answer.json").read_text(encoding="utf-8"))
        if time.monotonic() > look:
            look = time.monotonic() + LOOK
            state = client.call("squeue", "-h", "--states=all", "-j", job, "-o", "%T (%r)").out.strip()
            over = not state or state.split()[0] not in ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING")
            if over and ended is not None:
                break
            ended = state if over else None
        time.sleep(0.3)
    if ended is None:
        words = f"no answer within {seconds:.0f} s: {state or 'unknown'}"
        return warn("node", words, "the cluster may be busy; try again with --wait SECONDS")
    if (setup := SetupFailure.read(note_of(folder, ""))) is not None:
        return fail("setup", f"{setup.what}: {_last_words(folder)}", setup.help)
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
    asked, seen = given.gpus_given, given.gpus_seen
    if asked and not seen:
        yield warn("node's GPUs", f"{host} gave {len(asked)} GPU, but nvidia-smi shows none", "training uses the CPU")
    elif seen:
        yield ok("node's GPUs", f"{len(asked)} of {len(seen)} given: {', '.join(sorted(set(seen)))}")
