"""What a job asks of Slurm: sbatch's own long names with underscores, checked before sbatch sees them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, model_validator

from replicate.specs.recipe import Count, Strict

Value = str | int | bool

# fmt: off
OWNED = frozenset({
    "array", "chdir", "comment", "dependency", "error", "export", "export_file", "input", "job_name",
    "kill_on_invalid_dep", "no_requeue", "open_mode", "output", "parsable", "requeue", "signal", "test_only",
    "wait", "wckey", "wrap",
})
# fmt: on
"""Options that are set for every job here; a profile that set them too would break restarts."""

_MEMORIES = frozenset({"mem", "mem_per_cpu", "mem_per_gpu"})
_GPUS = frozenset({"gpus", "gpus_per_node", "gpus_per_task", "gpus_per_socket"})
_INSTEAD = (
    _MEMORIES,
    frozenset({"cpus_per_task", "cpus_per_gpu"}),
    frozenset({"ntasks", "ntasks_per_node", "ntasks_per_gpu"}),
    _GPUS,
)
"""Options that say the same in other words: one of them, written for a kind, replaces those of ``[sbatch]``."""

_PLAIN = re.compile(r"[\w.,:+@=/][\w.,:+@=/-]*")
_NODES = re.compile(r"[\w.,/][\w.,/\[\]-]*")
_FEATURES = re.compile(r"[\w(\[][\w.:=*&|()\[\]-]*")
_OPTION = re.compile(r"[a-z][a-z0-9_-]*")
_MEMORY = re.compile(r"[0-9]+[KMGT]?")
_GPU_GRES = re.compile(r"gpu(:[A-Za-z][\w.-]*)?(:[0-9]+)?")
_COUNTED = re.compile(r"([A-Za-z][\w.-]*:)?[0-9]+(,[A-Za-z][\w.-]*:[0-9]+)*")
_TIMES = (
    re.compile(r"(?P<m>[0-9]+)"),
    re.compile(r"(?P<m>[0-9]+):(?P<s>[0-9][0-9])"),
    re.compile(r"(?P<h>[0-9]+):(?P<m>[0-9][0-9]):(?P<s>[0-9][0-9])"),
    re.compile(r"(?P<d>[0-9]+)-(?P<h>[0-9]+)(:(?P<m>[0-9][0-9])(:(?P<s>[0-9][0-9]))?)?"),
)


def minutes(value: object) -> int:
    """A time limit in minutes, from minutes or sbatch's notation (``D-HH:MM:SS``); a started minute counts whole.

    Raises ValueError.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str):
        for pattern in _TIMES:
            if found := pattern.fullmatch(value):
                part = {name: int(digits or 0) for name, digits in found.groupdict().items()}
                seconds = part.get("s", 0)
                whole = part.get("d", 0) * 1440 + part.get("h", 0) * 60 + part.get("m", 0) + (seconds > 0)
                if whole > 0:
                    return whole
    raise ValueError("expected a time: minutes, 'HH:MM:SS' or 'D-HH:MM:SS'")


def plain(value: str) -> str:
    """Names and lists of names; no blank, quote or sign that a shell or sbatch would read as its own.

    Raises ValueError.
    """
    return _only(value, _PLAIN, "letters, digits and . , : + @ = / _ -")


def _nodes(value: str) -> str:
    return _only(value, _NODES, "names of nodes, such as 'gpu[01-16],gpu20'")


def _features(value: str) -> str:
    return _only(value, _FEATURES, "names of features joined by & or |, such as 'a100&nvlink'")


def _only(value: str, pattern: re.Pattern[str], expected: str) -> str:
    if not pattern.fullmatch(value):
        raise ValueError(f"expected {expected}")
    return value


def one_line(value: str) -> str:
    """Raises ValueError where ``value`` has a line break or another control character (it would end a directive)."""
    if not value.isprintable():
        raise ValueError("expected one line without control characters")
    return value


def _memory(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and _MEMORY.fullmatch(value):
        return value
    raise ValueError("expected megabytes or a number with K, M, G or T, such as '40G'")


def _counted(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    if isinstance(value, str) and _COUNTED.fullmatch(value):
        return value
    raise ValueError("expected a number or 'type:number', such as 4 or 'a100:4'")


def _exclusive(value: object) -> bool | str:
    if isinstance(value, bool) or value in ("user", "mcs"):
        return value
    raise ValueError("expected true, false, 'user' or 'mcs'")


def _extra(value: dict[str, Value]) -> dict[str, Value]:
    for name, item in value.items():
        flat = name.replace("-", "_")
        if not _OPTION.fullmatch(name):
            raise ValueError(f"expected sbatch's long names without the dashes, not {name!r}")
        if flat in OWNED:
            raise ValueError(f"'{name}' is set by replicate itself for every job; leave it out")
        if flat in Sbatch.model_fields:
            raise ValueError(f"'{name}' is checked; write it as a key of its own, outside extra")
        if isinstance(item, str):
            one_line(item)
    return value


Plain = Annotated[str, AfterValidator(plain)]
Nodes = Annotated[str, AfterValidator(_nodes)]
Features = Annotated[str, AfterValidator(_features)]
Minutes = Annotated[int, BeforeValidator(minutes)]
Memory = Annotated[str, BeforeValidator(_memory)]
Counted = Annotated[str, BeforeValidator(_counted)]


class Sbatch(Strict):
    """One request. Nothing is sent that is not written: sites differ in what they refuse."""

    partition: Plain | None = None
    account: Plain | None = None
    qos: Plain | None = None
    reservation: Plain | None = None
    time: Minutes | None = None
    """Minutes."""
    mem: Memory | None = None
    mem_per_cpu: Memory | None = None
    mem_per_gpu: Memory | None = None
    cpus_per_task: Count | None = None
    cpus_per_gpu: Count | None = None
    nodes: Count | None = None
    ntasks_per_node: Count | None = None
    gpus_per_node: Counted | None = None
    gpus_per_task: Counted | None = None
    gres: Plain | None = None
    constraint: Features | None = None
    exclusive: Annotated[bool | Literal["user", "mcs"], BeforeValidator(_exclusive)] | None = None
    exclude: Nodes | None = None
    nodelist: Nodes | None = None
    licenses: Plain | None = None
    nice: int | None = None
    mail_type: Plain | None = None
    mail_user: Plain | None = None
    extra: Annotated[dict[str, Value], AfterValidator(_extra)] = {}
    """Any other option of sbatch, passed on word for word."""
    unset: tuple[str, ...] = ()
    """In ``[kinds.KIND]``: options of ``[sbatch]`` that jobs of this kind do not ask for."""

    @model_validator(mode="after")
    def _one_memory(self) -> Self:
        written = sorted(_MEMORIES & self.request().keys())
        if len(written) > 1:
            raise ValueError(f"should have one of {', '.join(written)}: sbatch takes no two of them")
        return self

    def request(self) -> dict[str, Value]:
        """The options that were written, ``extra`` among them: name with underscores -> value."""
        named = self.model_dump(exclude={"extra", "unset"}, exclude_none=True)
        return {**named, **{name.replace("-", "_"): value for name, value in self.extra.items()}}


def joined(common: Mapping[str, Value], own: Mapping[str, Value], unset: Collection[str] = ()) -> dict[str, Value]:
    """``common`` changed option by option: without ``unset``, and without what ``own`` says in other words."""
    left_out = {name.replace("-", "_") for name in unset}
    for same in _INSTEAD:
        if same & own.keys():
            left_out |= same
    if own.keys() & _GPUS and _GPU_GRES.fullmatch(str(common.get("gres", ""))):
        left_out.add("gres")
    if "gpu" in str(own.get("gres", "")):
        left_out |= _GPUS
    return {**{name: value for name, value in common.items() if name not in left_out}, **own}


def arguments(request: Mapping[str, Any]) -> list[str]:
    """``request`` as arguments of a program (no shell in between): ``--gpus-per-node=2``; True is a bare flag."""
    flags = []
    for name, value in sorted(request.items()):
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            flags.append(flag)
        elif value is not False:
            flags.append(f"{flag}={value}")
    return flags
