"""Every error this package raises on purpose.

    ReplicateError                 exit 1
    ├── UserError                  exit 2: something the user can put right
    │   ├── SpecError              faults of tables/*.toml, all of them together
    │   ├── UnknownName            a table, row, column or job that does not exist
    │   ├── NotAvailable           known, but not possible here (no torch, no ImageNet)
    │   ├── StoreUnusable          the results folder cannot be written
    │   ├── ClusterRefused         Slurm will not run what a profile asks for
    │   └── ClusterDown            exit 3: Slurm does not answer now; the same call can be repeated
    │       ├── Unanswered         sbatch did not say whether it took a job
    │       └── NoSlurm            exit 2: Slurm's programs are not on this machine
    ├── StoreFault                 a stored result is damaged
    │   └── Unreadable             it cannot be read just now, so nobody knows whether it is
    └── JobError                   a job ended without a result
        ├── Diverged               a loss or a weight stopped being finite
        └── RankGone               another process of the training is gone, or does not answer

The house form: in the first five words what is wrong (after its place, where a file is at fault), then what was given
and what is allowed, then the one thing to do, on a line of its own (docs/style.md).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class ReplicateError(Exception):
    exit_code = 1


class UserError(ReplicateError):
    exit_code = 2


class NotAvailable(UserError):
    pass


class StoreUnusable(UserError):
    pass


class ClusterRefused(UserError):
    pass


class ClusterDown(UserError):
    """Nothing is wrong with the call, as nothing is with one that has not finished yet."""

    exit_code = 3


class Unanswered(ClusterDown):
    pass


class NoSlurm(ClusterDown):
    exit_code = 2


class StoreFault(ReplicateError):
    pass


class Unreadable(StoreFault):
    """Nothing may be redone because of it: what cannot be read now may be whole."""


class JobError(ReplicateError):
    pass


class Diverged(JobError):
    pass


class RankGone(JobError):
    pass


class UnknownName(UserError):
    """A name that is not among the known ones; the message offers the nearest."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        lines = [f"unknown {what} '{name}'"]
        lines += [f"  {line}" for line in suggestion(name, names, _plural(what))]
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong in a spec file: ``where`` is ``file: dotted.path``, ``help`` is printed indented."""

    where: str
    what: str
    help: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([f"{self.where}: {self.what}", *(f"  {line}" for line in self.help)])


def unknown_name(where: str, what: str, name: str, known: Iterable[str], fault: str = "") -> list[Fault]:
    """The fault of ``name``, a ``what``, with the nearest of ``known``; empty if it is one of them."""
    names = sorted(known)
    if name in names:
        return []
    return [Fault(where, fault or f"there is no {what} '{name}'", tuple(suggestion(name, names, _plural(what))))]


def _plural(what: str) -> str:
    return f"{what}es" if what.endswith("s") else f"{what}s"


class SpecError(UserError):
    """All faults of the spec files, reported together."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n\n".join(str(fault) for fault in self.faults))


def suggestion(name: str, known: Sequence[str], plural: str) -> list[str]:
    """Lines that help with a mistyped name: the nearest known one, then (up to 20 of) all."""
    # Where only the case differs there is nothing nearer, and difflib would see no likeness ('oom', 'OOM').
    near = [candidate for candidate in known if candidate.casefold() == name.casefold()]
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    lines = [f"did you mean '{near[0]}'?"] if near else []
    if known:
        more = ", ..." if len(known) > 20 else ""
        lines.append(f"{plural}: {', '.join(known[:20])}{more}")
    return lines
