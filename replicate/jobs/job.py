"""A job: one thing to compute, named by a hash of what it computes. A kind of job is a class of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import import_module
from itertools import zip_longest
from operator import attrgetter
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, dataclass_transform

from pydantic import ConfigDict, TypeAdapter, ValidationError

from replicate import jobs
from replicate.errors import StoreFault, UnknownName
from replicate.jobs.key import NOTHING, Texts, canonical, mapping, plain, quoted, without_neutral
from replicate.specs.watch import Watch
from replicate.text import pairs

if TYPE_CHECKING:
    from replicate.jobs.expand import Expander

HOUR = 3600.0

NIGHTLY = 20 * HOUR
"""For `Job.stale_seconds`: twenty hours, since a night begins at two and is late now and then."""

TEACHER_SEED = 0
"""One teacher for all seeds of the students: their spread is then that of the student alone."""

FILES_MB = 0.03
"""What a job leaves beside its arrays: job.json, result.json, log.txt and a curve, in blocks of 4 kB."""

Line = tuple[str, str]
"""A word and what it is about."""


KEPT = object()
"""For `Layout`: no value of the field is neutral."""

Layout = tuple[tuple[str, Mapping[str, object], Any], ...]
"""For each name in the payloads of a kind, sorted: how its text begins, the neutral values within, and its own."""


class Outcome(Protocol):
    """What `Job.describe` is told of a stored result: its summary and where its files are."""

    @property
    def summary(self) -> Mapping[str, Any]: ...

    def path(self, name: str) -> Path: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """What all kinds have in common; a kind adds the fields that decide its result, and states what differs below.

    A kind is a subclass under ``@register``, in a module of its name. Its payload, which the key is a hash of, holds
    the kind, its version, the fields it adds and, where it has any, its inputs.
    """

    key: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """The keys of the results that it reads, by role."""
    run: str = ""
    """Its run in tables/runs.toml."""
    seed: int | None = None
    seconds: float = 0.0
    """The expected cost on one processor of the scale. It is no part of the key."""
    estimated: bool = True
    """Whether ``seconds`` is an estimate of it all: what its network costs may be known to nobody."""
    watch: Watch | None = None
    """When it counts as suspicious, for a kind that is watched. It is no part of the key."""

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised when the engine computes something else for the same payload; every key of the kind then moves."""
    neutral: ClassVar[Mapping[str, object]] = NOTHING
    """Fields that came later, nested as in the payload, with the value that means "as before".

    A field is left out of the hash while it has its neutral value, so adding one moves no published key.
    (A key of the values that differ from a default would collide as soon as the default is edited.)
    """
    seeded: ClassVar[bool] = False
    """Whether the seed decides the result itself; else it says beside which training the job stands."""
    engine: ClassVar[str] = ""
    """The module whose ``run`` computes it; empty is ``replicate.engine.<kind>``."""

    title: ClassVar[str] = ""
    """Its heading on a page; empty is the name of the kind."""

    source: ClassVar[bool] = False
    """Whether experiments begin with it, as with images: it is never made again to see if it still agrees."""
    starts_first: ClassVar[bool] = False
    """Whether it is an evaluation, started before others: it takes a second and fills a cell."""
    resumable: ClassVar[bool] = False
    """Whether it asks whether to stop, writes a checkpoint then, and goes on from it: the others have one life."""
    shared: ClassVar[bool] = False
    """Whether several processes share one job (`replicate.engine.ranks`)."""
    trains: ClassVar[bool] = False
    """Whether it trains a network: a night begins none unless it is asked to, or has begun it before."""
    timed: ClassVar[bool] = False
    """Whether its result is a time, which never comes out twice: `moved` compares two of them."""
    alone: ClassVar[bool] = False
    """Whether it has its node to itself, unless the profile says otherwise."""
    pack: ClassVar[int] = 1
    """How many of them share one task on a cluster, since they are short."""
    like: ClassVar[str] = ""
    """The kind whose section of a profile it takes where there is none of its own."""
    stale_seconds: ClassVar[float | None] = None
    """After how long a night computes a result again and compares; None: never by age."""

    _added: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that the kind adds."""
    _layout: ClassVar[Layout] = ()
    _values: ClassVar[Callable[[Any], tuple[Any, ...]] | None] = None
    """How the payloads of the kind are written (`_lay_out`)."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @classmethod
    def of_run(cls, expander: Expander, run: str, seed: int, on: str | None) -> Job:
        """Make the job for a number that is read from ``run``, of the seed, and given to ``expander.add``.

        on: the data set that it is about, where that is not the run's own.
        """
        raise NotImplementedError(f"nothing makes {cls.kind} jobs of runs")

    def own(self) -> dict[str, Any]:
        """The fields that this kind adds, as its payload has them."""
        return {name: plain(getattr(self, name)) for name in self._added}

    @property
    def payload(self) -> dict[str, Any]:
        """All that decides the result, as plain JSON: what job.json holds."""
        payload = {"kind": self.kind, "version": self.version, **self.own()}
        if self.seeded:
            payload["seed"] = self.seed
        return payload | ({"inputs": dict(self.inputs)} if self.inputs else {})

    def written(self, texts: Texts) -> bytes:
        """``canonical(without_neutral(payload, neutral))``, with the texts that shared parts have already."""
        values = type(self)._values
        if values is None:
            return canonical(without_neutral(self.payload, self.neutral))
        items, shared = [], texts.shared
        for (start, within, neutral), value in zip(self._layout, values(self), strict=True):
            if neutral is not KEPT and value == neutral:
                continue
            kind = type(value)
            if kind is int:
                items.append(f"{start}{value}")
            elif kind is str:
                items.append(start + quoted(value))
            elif kind is dict:
                items.append(start + mapping(value, within))
            else:
                # What `Texts.written` looks at first: nearly all parts were written before.
                written = shared.get(id(value))
                text = written[2] if written is not None and written[1] is within else texts.written(value, within)
                items.append(start + text)
        return f"{{{','.join(items)}}}".encode()

    @classmethod
    def read(cls, payload: Mapping[str, object]) -> Mapping[str, object]:
        """The fields that this kind adds, from a payload of `own`."""
        return payload

    @property
    def engine_module(self) -> str:
        return self.engine or f"replicate.engine.{self.kind}"

    @property
    def on_disk(self) -> str:
        """What it reads under ``$REPLICATE_DATA``; empty where nothing."""
        return ""

    def check_processes(self, processes: int) -> None:
        """Raises UserError where so many processes cannot share it."""

    def process_counts(self, most: int) -> tuple[int, ...]:
        """The numbers of processes up to ``most`` that share it without being asked to, the smallest first."""
        return (1,)

    def share(self, processes: int) -> int:
        """The images of a batch that each of ``processes`` computes; 0 where it cannot compute them in parts."""
        return 0

    def aids(self) -> Mapping[str, Job]:
        """Jobs, by role, whose results it reads where they are stored: they spare it work and change none of its bits.

        They are no inputs: no part of its key, and where one failed or is damaged it goes on without.
        """
        return {}

    @property
    def needs_gpu(self) -> bool:
        """Whether no CPU can run it."""
        return False

    def megabytes(self, jobs: Mapping[str, Job]) -> float:
        """Expected size of its result; ``jobs`` holds what it reads."""
        return FILES_MB

    def megabytes_meanwhile(self, jobs: Mapping[str, Job]) -> float:
        """What it needs on top while it runs."""
        return 0.0

    def moved(self, old: Outcome, new: Outcome) -> tuple[bool, str]:
        """Whether of a `timed` kind ``new`` is another result than ``old``, and how far apart the two are."""
        raise NotImplementedError(f"nothing compares the times of {self.kind} jobs")

    def describe(self, result: Outcome | None) -> Iterator[Line]:
        """What `explain` says of it, and of its result where there is one."""
        if self.run:
            yield "run", self.described_run
        yield self.kind, pairs(self.own())
        if result is not None:
            yield "result", pairs(result.summary)

    @property
    def described_run(self) -> str:
        return f"{self.run} (tables/runs.toml)" + ("" if self.seed is None else f", seed {self.seed}")


J = TypeVar("J", bound=Job)

_KINDS: dict[str, type[Job]] = {}


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=False)
def register(cls: type[J]) -> type[J]:
    """Make ``cls`` a kind of job. Its name is that of its module, unless it states ``kind`` itself.

    Raises ValueError for what cannot be one: a name that another class has, a field of all jobs, a bad number.
    """
    model = dataclass(frozen=True, slots=True, kw_only=True, eq=False)(cls)
    if "kind" not in vars(cls):
        model.kind = cls.__module__.rpartition(".")[2]
    kind, namesake = model.kind, _KINDS.get(model.kind)
    if namesake is not None and (namesake.__module__, namesake.__qualname__) != (model.__module__, model.__qualname__):
        raise ValueError(f"two kinds of job are called '{kind}': {namesake.__module__} and {model.__module__}")
    if not kind.isidentifier():
        raise ValueError(f"no kind of job can be called '{kind}': its name begins keys and names a module")
    taken = [name for name in vars(cls).get("__annotations__", {}) if hasattr(Job, name)]
    if taken or model.version < 1 or model.pack < 1:
        what = f"a field of all jobs: {', '.join(sorted(taken))}" if taken else "version and pack begin at 1"
        raise ValueError(f"the kind of job '{kind}' cannot be registered: {what}")
    common = {each.name for each in fields(Job)}
    model._added = tuple(each.name for each in fields(model) if each.name not in common)
    _lay_out(model)
    _KINDS[kind] = model
    return model


def kinds() -> Mapping[str, type[Job]]:
    """Every kind of job: those of the modules beside this one, then those registered from outside."""
    _import_all()
    return _KINDS


@cache
def _import_all() -> None:
    for module in iter_modules(jobs.__path__):
        import_module(f"{jobs.__name__}.{module.name}")


def kind_named(kind: str) -> type[Job]:
    """The class of the kind of job called ``kind``. Raises UnknownName where there is none."""
    cls = _KINDS.get(kind) or kinds().get(kind)
    if cls is None:
        raise UnknownName("kind of job", kind, kinds())
    return cls


def _lay_out(kind: type[Job]) -> None:
    """Note how payloads of ``kind`` are written, unless it makes them itself."""
    if kind.own is not Job.own:
        return
    neutral = {"inputs": {}, **kind.neutral}
    layout: list[tuple[str, Mapping[str, object], Any]] = []
    names, before = [], ""
    ordered = sorted({"kind", "version", "inputs", *kind._added} | ({"seed"} if kind.seeded else set()))
    for name, following in zip_longest(ordered, ordered[1:]):
        as_before = neutral.get(name, KEPT)
        within = as_before if isinstance(as_before, Mapping) and name != "inputs" else NOTHING
        if name == "kind" and following in kind._added and following not in neutral:
            # Not a field by itself: the same for all, and written with the next.
            before = f'"kind":{quoted(kind.kind)},'
            continue
        layout.append((f"{before}{quoted(name)}:", within, KEPT if within else as_before))
        names.append(name)
        before = ""
    kind._layout, kind._values = tuple(layout), attrgetter(*names)


def from_payload(
    payload: Mapping[str, Any],
    key: str = "",
    run: str = "",
    seed: int | None = None,
    seconds: float = 0.0,
    watch: Mapping[str, object] | None = None,
) -> Job:
    """The job that has ``payload``. Fields that came after it was written have their neutral values.

    Raises UnknownName for its kind, StoreFault for a payload that is none of that kind and version.
    """
    cls = kind_named(str(payload.get("kind")))
    if payload.get("version", cls.version) != cls.version:
        raise StoreFault(
            f"{key or cls.kind}: version {payload['version']} of {cls.kind}, this release has {cls.version}"
        )
    body = {name: value for name, value in payload.items() if name not in ("kind", "version", "inputs")}
    seed = body.pop("seed") if cls.seeded and "seed" in body else seed
    about = {"key": key, "run": run, "seed": seed, "seconds": seconds, "inputs": payload.get("inputs", {})}
    about["watch"] = watch
    try:
        # Through JSON, since the strict models take no list for a tuple.
        return TypeAdapter[Job](cls).validate_json(canonical({**cls.read(_completed(body, cls.neutral)), **about}))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise StoreFault(f"{key or cls.kind}: not the payload of a {cls.kind} job: {faults}") from error


def from_json(body: Mapping[str, Any]) -> Job:
    """The job that a ``job.json`` describes. Errors: those of `from_payload`, StoreFault where it describes none."""
    if not isinstance(body.get("payload"), Mapping):
        raise StoreFault(f"job.json has no payload, only {sorted(body)}")
    about = (body.get("key", ""), body.get("run", ""), body.get("seed"))
    return from_payload(body["payload"], *about, watch=body.get("watch"))


def to_json(job: Job) -> dict[str, object]:
    """What ``job.json`` holds of ``job``: enough to compute it again without any spec."""
    return {"key": job.key, "payload": job.payload, "inputs": dict(job.inputs), "run": job.run, "seed": job.seed}


def _completed(payload: Mapping[str, object], neutral: Mapping[str, object]) -> dict[str, object]:
    """``payload`` with what it lacks of ``neutral``, but for parts that it lacks altogether."""
    completed = dict(payload)
    for name, value in neutral.items():
        if not isinstance(value, Mapping):
            completed.setdefault(name, value)
        elif isinstance(part := completed.get(name), Mapping):
            completed[name] = _completed(part, value)
    return completed


def same_result(job: Job, payload: Mapping[str, object]) -> bool:
    """Whether the stored ``payload`` decides what that of ``job`` does: a field at its neutral value is none."""
    own = json.loads(json.dumps(job.payload))
    return without_neutral(payload, job.neutral) == without_neutral(own, job.neutral)
