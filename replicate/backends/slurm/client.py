"""The commands of Slurm: how they are called, and what is done while Slurm does not answer."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from replicate.backends.slurm.refusal import Refusal, refusal
from replicate.errors import ClusterDown, NoSlurm
from replicate.text import leading_number

PATIENCE = 60.0
"""Seconds that a controller may take to come back: a restart takes a few, and cron should not fail for it."""
_LONGEST_PAUSE = 30.0
_OPTIONAL = 6
"""Programs that a site may lack are waited for this many times shorter."""
_ERRORS = re.compile(r"^(?:\w+: )?(?:error|fatal)\b.*|.*\bslurm_\w+ error\b.*", re.M | re.I)
"""Lines of errors; others are warnings, and what a site tells everybody."""
_ORDERS = ("sbatch", "scancel")
_TOLD_WHERE = ("squeue", "sacct", "scancel", "scontrol", "sinfo")
"""Programs that ask another cluster than this machine's own with ``-M``."""


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: str
    err: str
    order: bool = False
    """Whether it was told to do something: its exit code then says enough, and other words are a site's own."""

    @property
    def said(self) -> str:
        """What it complained about, without the programs' own prefix: ``Invalid account or account/...``."""
        lines = (self.err or self.out).strip().splitlines()
        return "; ".join(re.sub(r"^\w+: (error: )?", "", line).strip() for line in lines) or f"exit code {self.code}"

    @property
    def refusal(self) -> Refusal | None:
        """Why it did not do what it was asked for; None where it did.

        Programs that wrap squeue, and squeue itself under load, end with 0 although they have nothing to say.
        """
        if self.code:
            return refusal(self.err or self.out)
        if self.order:
            return None
        errors = _ERRORS.findall(self.err)
        passing = refusal("\n".join(errors)) is Refusal.OUTAGE or any("slurm_" in line for line in errors)
        return Refusal.OUTAGE if passing or (errors and not self.out.strip()) else None


@dataclass(slots=True)
class Client:
    """Calls with a clean environment (see `Profile.client_environment`).

    seconds: limit of one call. patience: how long a question is asked again while nobody answers. cluster: another one
    than this machine's own, as ``clusters`` of a profile names it. Errors: `NoSlurm` where a program is missing.
    """

    environment: Mapping[str, str]
    seconds: float = 60.0
    patience: float = PATIENCE
    cluster: str = ""
    _limits: dict[str, str] = field(default_factory=dict)

    @property
    def asks(self) -> str:
        """As whom, and where: ``as kim, on cluster b``."""
        return f"as {user()}" + (f", on cluster {self.cluster}" if self.cluster else "")

    def call(self, *command: str) -> Answer:
        """One call, whatever it says; one that does not end in time counts as an outage."""
        program = command[0]
        where = ["-M", self.cluster] if self.cluster and program in _TOLD_WHERE else []
        try:
            done = subprocess.run(
                [program, *where, *command[1:]],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.seconds,
                check=False,
            )
        except FileNotFoundError as error:
            raise NoSlurm(
                f"{program}: no such program on this machine\n"
                "  run this where Slurm's client programs are, usually a login node"
            ) from error
        except OSError as error:
            return Answer(126, "", f"{error.strerror}; it is asked again later: try again")
        except subprocess.TimeoutExpired as error:
            words = f"no answer within {self.seconds:.0f} s: timed out"
            return Answer(124, _text(error.stdout), f"{_text(error.stderr)}\n{words}".strip())
        return Answer(done.returncode, _text(done.stdout), _text(done.stderr), program in _ORDERS)

    def ask(self, *command: str) -> str:
        """The answer of a call that may be repeated, asked for again while Slurm does not answer.

        Errors: `ClusterDown` when patience ends, or Slurm answers that it will not.
        """
        answer = self._patiently(self.patience, *command)
        if answer.refusal is not None:
            raise ClusterDown(f"{command[0]}: {answer.said}\n  nothing was changed; the same command can be repeated")
        return answer.out

    def optional(self, *command: str) -> str | None:
        """As `ask`, of a program that a site may lack (sacct, sacctmgr); None where it does not answer."""
        try:
            answer = self._patiently(self.patience / _OPTIONAL, *command)
        except NoSlurm:
            return None
        return answer.out if answer.refusal is None and "disabled" not in answer.err else None

    def test(self, *command: str) -> Answer:
        """The answer of a call that changes nothing, once Slurm answers. Errors: `ClusterDown` when patience ends."""
        answer = self._patiently(self.patience, *command)
        if answer.refusal is Refusal.OUTAGE:
            raise ClusterDown(f"{command[0]}: {answer.said}\n  nothing was changed; the same command can be repeated")
        return answer

    def _patiently(self, patience: float, *command: str) -> Answer:
        for pause in pauses(patience):
            answer = self.call(*command)
            if answer.refusal is not Refusal.OUTAGE:
                break
            time.sleep(pause)
        return answer

    def limits(self) -> Mapping[str, str]:
        """``scontrol show config``, asked once."""
        if not self._limits:
            answer = self.test("scontrol", "show", "config")
            # A site that tells users nothing has Slurm's own limits, as far as is known.
            for line in answer.out.splitlines() if answer.code == 0 else ():
                name, equals, value = line.partition("=")
                if equals:
                    self._limits[name.strip()] = value.strip()
            # So that one that was refused is not asked again.
            self._limits.setdefault("", "")
        return self._limits

    @property
    def longest_array(self) -> int:
        """Elements that one array may have; indices stay below it."""
        return max(1, leading_number(self.limits().get("MaxArraySize", ""), 1001) - 1)


def user() -> str:
    # Not $USER: it is absent in cron, and somebody else's under sudo.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


_ANSWER = re.compile(r"(?:Submitted batch job )?([1-9][0-9]{0,9})(?:;[\w.-]*| on cluster [\w.-]+)?", re.ASCII)


def number_of(said: str) -> str | None:
    """The number in the last line that is an answer of sbatch; sites and their wrappers print others around it."""
    found = [match[1] for line in said.splitlines() if (match := _ANSWER.fullmatch(line.strip()))]
    return found[-1] if found else None


def pauses(patience: float) -> Iterator[float]:
    """How long to wait after each try, ever longer, until ``patience`` seconds have passed; 0 after the last one."""
    deadline, pause = time.monotonic() + patience, 1.0
    while (left := deadline - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(2 * pause, _LONGEST_PAUSE)
    yield 0.0


def _text(printed: bytes | str | None) -> str:
    # A site's banner may be in any encoding.
    return printed.decode(errors="replace") if isinstance(printed, bytes) else printed or ""
