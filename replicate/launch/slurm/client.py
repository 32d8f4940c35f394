"""Slurm's own programs: sbatch, squeue, sacct, scontrol, sacctmgr, scancel. Nobody else starts them."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from replicate.errors import ClusterDown

PATIENCE = 60.0
"""Seconds that a controller may take to come back: a restart takes a few, and cron should not fail for it."""
_ABSENT = re.compile(r"Unable to contact|Connection refused|Connection timed out|Socket timed out|Zero Bytes", re.I)


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """What it complained about, without the programs' own prefix: ``Invalid account or account/...``."""
        lines = (self.err or self.out).strip().splitlines()
        return "; ".join(re.sub(r"^\w+: (error: )?", "", line).strip() for line in lines) or f"exit code {self.code}"


@dataclass(slots=True)
class Client:
    """Calls with a clean environment (see `Profile.client_environment`).

    seconds: limit of one call. Errors: `ClusterDown` where a program is missing or no controller answers.
    """

    environment: Mapping[str, str]
    seconds: float = 60.0
    patience: float = PATIENCE
    _limits: dict[str, str] = field(default_factory=dict)

    def call(self, *command: str) -> Answer:
        """One call, whatever it says."""
        try:
            done = subprocess.run(
                command, env=dict(self.environment), capture_output=True, text=True, timeout=self.seconds, check=False
            )
        except FileNotFoundError as error:
            raise ClusterDown(
                f"{command[0]}: no such program on this machine\n"
                "  run this where Slurm's client programs are, usually a login node"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ClusterDown(f"{command[0]}: no answer within {self.seconds:.0f} s\n  try again later") from error
        return Answer(done.returncode, done.stdout, done.stderr)

    def ask(self, *command: str) -> str:
        """The answer of a call that only reads, tried again while the controller restarts."""
        deadline = time.monotonic() + self.patience
        while True:
            answer = self.call(*command)
            if answer.code == 0 and not _ABSENT.search(answer.err):
                return answer.out
            if not _ABSENT.search(answer.err) or time.monotonic() > deadline:
                raise ClusterDown(
                    f"{command[0]}: {answer.said}\n  nothing was changed; the same command can be repeated"
                )
            time.sleep(2)

    def limits(self) -> Mapping[str, str]:
        """``scontrol show config``, asked once."""
        if not self._limits:
            for line in self.ask("scontrol", "show", "config").splitlines():
                name, equals, value = line.partition("=")
                if equals:
                    self._limits[name.strip()] = value.strip()
        return self._limits

    @property
    def longest_array(self) -> int:
        """Elements that one array may have; indices stay below it."""
        return max(1, _number(self.limits().get("MaxArraySize", ""), 1001) - 1)

    def most_jobs(self) -> int | None:
        """How many jobs this user may have queued, by accounting and by the controller; None where nothing says."""
        found = [_number(self.limits().get("MaxJobCount", ""), 0)]
        answer = self.call("sacctmgr", "-n", "-P", "show", "assoc", f"user={user()}", "format=MaxSubmitJobs")
        if answer.code == 0:
            found += [_number(line, 0) for line in answer.out.split()]
        known = [count for count in found if count > 0]
        return min(known) if known else None


def user() -> str:
    # Not $USER: it is absent in cron, and somebody else's under sudo.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _number(text: str, default: int) -> int:
    found = re.match(r"\d+", text.strip())
    return int(found[0]) if found else default
