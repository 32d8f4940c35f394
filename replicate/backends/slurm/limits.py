"""How many jobs a site lets a user have queued at once: whose limit it is, and how much of it is left.

A limit may stand at the user's association, at the account and all accounts above it, at the QOS of the job, and at
that of the partition. All of them hold. Each element of an array counts as a job.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from replicate.backends.slurm.client import Client, user
from replicate.backends.slurm.queue import Queue
from replicate.backends.slurm.sbatch import Value
from replicate.errors import ClusterDown
from replicate.text import plural

_ASSOCIATION = "Cluster,Account,User,Partition,ParentName,DefaultQOS,MaxSubmitJobs,GrpSubmitJobs"
_ALIASES = {
    "defqos": "defaultqos",
    "maxsubmit": "maxsubmitjobs",
    "grpsubmit": "grpsubmitjobs",
    "parname": "parentname",
    "maxsubmitpu": "maxsubmitjobsperuser",
    "maxsubmitjobspu": "maxsubmitjobsperuser",
    "maxsubmitpa": "maxsubmitjobsperaccount",
    "maxsubmitjobspa": "maxsubmitjobsperaccount",
}
"""Columns are headed by other words in other versions, and by others than those that they are asked for with."""
_DEEPEST = 8
"""Accounts above one another that are asked about."""


@dataclass(frozen=True, slots=True)
class Limit:
    """``owner``: what sets it, for people. name: as administrators call it.

    qos, account: whose jobs count; empty: all.
    """

    count: int
    owner: str
    name: str
    qos: str = ""
    account: str = ""

    def __str__(self) -> str:
        return f"{self.owner} allows {plural(self.count, 'job')} at once ({self.name})"

    def left(self, queue: Queue) -> int:
        """How many more jobs fit, as far as this user's own show it: others' count for some limits, too."""
        return max(0, self.count - queue.counted(self.qos, self.account))


@dataclass(slots=True)
class Limits:
    """What Slurm's database says, each question asked once. Where it does not answer no limit is known."""

    client: Client
    _answers: dict[tuple[str, ...], list[dict[str, str]]] = field(default_factory=dict)
    _partitions: list[dict[str, str]] | None = None
    _known: dict[tuple[str, ...], tuple[Limit, ...]] = field(default_factory=dict)

    def of(self, request: Mapping[str, Value]) -> tuple[Limit, ...]:
        """All that hold for a job that asks for ``request``, smallest first."""
        asked = tuple(str(request.get(name, "")) for name in ("partition", "account", "qos"))
        if asked not in self._known:
            self._known[asked] = self._look_up(request)
        return self._known[asked]

    def _look_up(self, request: Mapping[str, Value]) -> tuple[Limit, ...]:
        found = [self._controller(), *(self._database(request) if self._enforced else ())]
        return tuple(sorted((limit for limit in found if limit), key=lambda limit: limit.count))

    @property
    def _enforced(self) -> bool:
        said = self.client.limits().get("AccountingStorageEnforce")
        return said is None or bool({"limits", "safe", "all"} & set(said.lower().split(",")))

    def _controller(self) -> Limit | None:
        count = _count(self.client.limits().get("MaxJobCount", ""))
        return Limit(count, "this cluster", "MaxJobCount, of all users") if count else None

    def _database(self, request: Mapping[str, Value]) -> Iterator[Limit | None]:
        partition = str(request.get("partition", "")).split(",")[0]
        own = self._own(str(request.get("account", "")), partition)
        account = own.get("account", "") or str(request.get("account", ""))
        yield _limit(own, "maxsubmitjobs", f"the account {account}", "MaxSubmitJobs of the user", account=account)
        yield _limit(own, "grpsubmitjobs", f"the account {account}", "GrpSubmitJobs of the user", account=account)
        above = account
        for _ in range(_DEEPEST):
            row = self._account(above) if above else {}
            yield _limit(row, "grpsubmitjobs", f"the account {above}", "GrpSubmitJobs", account=account)
            above = row.get("parentname", "")
        named = str(request.get("qos", "")) or own.get("defaultqos", "") or "normal"
        for name, scope in ((named, named), (self._of_partition(partition), "")):
            row = next((row for row in self._rows("qos") if row.get("name") == name), {})
            for column, word in (
                ("maxsubmitjobsperuser", "MaxSubmitJobsPerUser"),
                ("maxsubmitjobsperaccount", "MaxSubmitJobsPerAccount"),
                ("grpsubmitjobs", "GrpSubmitJobs"),
            ):
                yield _limit(row, column, f"QOS {name}", word, qos=scope)

    def _own(self, account: str, partition: str) -> dict[str, str]:
        """This user's association with ``account``, else with the default account."""
        rows = [row for row in self._associations(f"user={user()}") if row.get("user")]
        if not account and len({row.get("account") for row in rows}) > 1:
            (default,) = self._rows("user", user(), "format=DefaultAccount")[:1] or [{}]
            account = default.get("defaultaccount", default.get("defacct", ""))
        fitting = [row for row in rows if not account or row.get("account") == account]
        fitting = [row for row in fitting if row.get("partition", "") in ("", partition)]
        return max(fitting, key=lambda row: bool(row.get("partition")), default={})

    def _account(self, name: str) -> dict[str, str]:
        rows = self._associations(f"account={name}")
        return next((row for row in rows if not row.get("user") and row.get("account") == name), {})

    def _associations(self, which: str) -> list[dict[str, str]]:
        rows = self._rows("assoc", which, f"format={_ASSOCIATION}") or self._rows("assoc", which)
        name = self.client.limits().get("ClusterName", "")
        here = [row for row in rows if row.get("cluster", "") in ("", self.client.cluster or name)]
        return here or rows

    def _of_partition(self, name: str) -> str:
        """The QOS of partition ``name``, or of the default one."""
        if self._partitions is None:
            try:
                said = self.client.ask("scontrol", "-a", "-o", "show", "partition")
            except ClusterDown:
                said = ""
            self._partitions = [dict(word.partition("=")[::2] for word in line.split()) for line in said.splitlines()]
        for words in self._partitions:
            if words.get("PartitionName") == name or (not name and words.get("Default") == "YES"):
                return "" if words.get("QoS", "N/A") == "N/A" else words["QoS"]
        return ""

    def _rows(self, *question: str) -> list[dict[str, str]]:
        """The table that ``sacctmgr show`` prints, by the words in its head."""
        if question not in self._answers:
            head, *lines = (self.client.optional("sacctmgr", "-P", "show", *question) or "").splitlines() or [""]
            names = [re.sub(r"\W", "", word).lower() for word in head.split("|")]
            names = [_ALIASES.get(name, name) for name in names]
            self._answers[question] = [dict(zip(names, line.split("|"), strict=False)) for line in lines]
        return self._answers[question]


def _limit(
    row: Mapping[str, str], column: str, owner: str, name: str, qos: str = "", account: str = ""
) -> Limit | None:
    count = _count(row.get(column, ""))
    return None if count is None else Limit(count, owner, name, qos, account)


def _count(text: str) -> int | None:
    """None where no limit is set, which is an empty column; -1 says so, too."""
    return int(text) if re.fullmatch(r"\s*[0-9]{1,9}\s*", text) else None


@dataclass(slots=True)
class Room:
    """How many more jobs a step may submit, by what the database says and by what sbatch has refused so far."""

    limits: Limits
    queue: Queue
    _taken: dict[Limit, int] = field(default_factory=dict)
    _longest: int | None = None
    _words: str = ""

    def of(self, request: Mapping[str, Value], wanted: int) -> int:
        """How many of ``wanted`` jobs to ask sbatch for at once."""
        left = [limit.left(self.queue) - self._taken.get(limit, 0) for limit in self.limits.of(request)]
        return max(0, min([wanted, *left, *([] if self._longest is None else [self._longest])]))

    def take(self, request: Mapping[str, Value], count: int) -> None:
        for limit in self.limits.of(request):
            self._taken[limit] = self._taken.get(limit, 0) + count

    def refused(self, count: int, words: str) -> None:
        """sbatch takes no array of ``count``: the next ones of this step are at most half as long."""
        self._longest, self._words = count // 2, words

    def why_full(self, request: Mapping[str, Value]) -> str:
        """Whose limit it is that no more jobs of ``request`` fit; empty where they do."""
        if self.of(request, 1):
            return ""
        for limit in self.limits.of(request):
            if limit.left(self.queue) <= self._taken.get(limit, 0):
                return str(limit)
        return f"sbatch takes no more now: {self._words}"

    @property
    def shortened(self) -> str:
        """What sbatch said where it took shorter arrays only."""
        return self._words if self._longest else ""
