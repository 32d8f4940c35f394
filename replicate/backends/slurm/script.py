"""The sbatch script of an array, written by submitit.

submitit checks the options and writes the script. The command in the script is not
submitit's, though: that one loads a pickle which is moved to its place only after sbatch has answered, under a
name made of Slurm's number. A submitter killed in between leaves jobs that wait for a pickle and fail, and
numbers are used again after a controller lost its state. Ours reads the map that was written before (see
`replicate.backends.slurm.submission`), so no pickle is written or read.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from submitit.slurm.slurm import SlurmExecutor, _get_default_parameters

from replicate.backends.slurm.client import Client, number_of, pauses
from replicate.backends.slurm.profile import Profile, python_command, srun_arguments
from replicate.backends.slurm.prologue import NO_EXPORTS, note_of, prologue
from replicate.backends.slurm.queue import find
from replicate.backends.slurm.refusal import Refusal, perhaps_taken
from replicate.errors import ClusterDown, ClusterRefused, Unanswered
from replicate.store.lease import RESTART, TASK

ENTRY = "replicate.backends.slurm.node"


class _Executor(SlurmExecutor):
    @classmethod
    def affinity(cls) -> int:
        """Say that it can be used: a script is also written where Slurm is not, to be looked at (`plan --scripts`)."""
        return 2

    def text(self) -> str:
        return str(self._make_submission_file_text(f"{self.python} -u -m {ENTRY} {shlex.quote(str(self.folder))}", ""))


@dataclass(frozen=True, slots=True)
class Request:
    """All of one sbatch call.

    indices: of the array. comment: what squeue shows. throttle: see `Lanes`.

    exclude: nodes that it must not run on, in place of those that the profile names.
    """

    name: str
    kind: str
    folder: Path
    code: Path
    indices: Sequence[int]
    job_name: str
    comment: str
    dependency: str = ""
    throttle: int | None = None
    exclude: str = ""


def text(profile: Profile, request: Request) -> str:
    """The script. Raises ClusterRefused for an option that submitit refuses."""
    options = dict(profile.request(request.kind))
    if request.exclude:
        options["exclude"] = request.exclude
    defaults = set(_get_default_parameters())
    named = {name: value for name, value in options.items() if name in defaults and value is not False}
    others = {name: value for name, value in options.items() if name not in defaults and value is not False}
    throttle = f"%{request.throttle}" if request.throttle else ""
    # Slurm puts a job back on its own after a node failure or a preemption only with `requeue`.
    others |= {
        "array": _ranges(request.indices) + throttle,
        "chdir": str(request.code),
        "export-file": NO_EXPORTS,
        "kill-on-invalid-dep": "yes",
        "requeue": True,
    }
    if request.dependency:
        others["dependency"] = request.dependency
    try:
        executor = _Executor(request.folder, python=python_command(profile))
        executor.update_parameters(
            **named,
            job_name=request.job_name,
            comment=request.comment or None,
            wckey=profile.wckey,
            signal_delay_s=profile.signal_seconds,
            setup=_setup(profile, request),
            # Without its partners a process of a training would wait for them until its time is over.
            srun_args=["--kill-on-bad-exit=1", *srun_arguments(profile, request.kind)],
            additional_parameters=others,
        )
    except (ValueError, TypeError) as error:
        raise ClusterRefused(f"slurm/{profile.name}.toml: {error}") from error
    # Logs of arrays are named after array and index; which indices is said above.
    executor.parameters["map_count"] = len(request.indices)
    return executor.text()


def submit(client: Client, script: Path, name: str) -> str:
    """Slurm's number of the array of submission ``name``.

    Errors: `ClusterRefused` with sbatch's words; `ClusterDown` where it surely took nothing, `Unanswered` where it did
    not say and squeue does not show the array either (yet).
    """
    for pause in pauses(client.patience):
        answer = client.call("sbatch", "--parsable", str(script))
        number = number_of(answer.out)
        if number and answer.code == 0:
            return number
        if number or answer.code == 0 or perhaps_taken(answer.err or answer.out):
            return _looked_for(client, name, answer.said)
        if answer.refusal is not Refusal.OUTAGE:
            raise ClusterRefused(f"sbatch: {answer.said}\n  the script: {script}")
        time.sleep(pause)
    raise ClusterDown(f"sbatch: {answer.said}\n  the array was not submitted; the same command can be repeated")


def _looked_for(client: Client, name: str, words: str) -> str:
    """The number of an array that sbatch may have submitted, from squeue, by its name."""
    hasty = replace(client, patience=client.patience / 4)
    with suppress(ClusterDown):
        for pause in pauses(hasty.patience):
            if (number := find(hasty, name)) is not None:
                return number
            time.sleep(pause)
    raise Unanswered(f"sbatch: {words}\n  Slurm did not say whether it took the array; it is looked for by its name")


def _ranges(indices: Sequence[int]) -> str:
    """``0-3,7``."""
    parts: list[list[int]] = []
    for index in sorted(indices):
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _setup(profile: Profile, request: Request) -> list[str]:
    note = f'{shlex.quote(str(note_of(request.folder, "")))}"$SLURM_ARRAY_TASK_ID"'
    code = shlex.quote(str(request.code))
    return [
        *prologue(profile, request.kind, note, os.environ),
        # Python's -m looks into the current folder, too.
        f"cd {code}",
        # Packages that a module brings stay behind ours.
        f'export PYTHONPATH={code}"${{PYTHONPATH:+:$PYTHONPATH}}"',
        f'export {TASK}="{request.name}_$SLURM_ARRAY_TASK_ID"',
        f'export {RESTART}="${{SLURM_RESTART_COUNT:-0}}"',
        # srun of Slurm 22.05 to 23.02 does not take over --cpus-per-task by itself.
        '[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
    ]
