"""A metric: one entry that holds everything the package must know of it, and the registry that finds it by name.

A metric reads what jobs stored through `Reading`, so it needs neither a store nor a plan. Adding one::

    metrics.register(metrics.from_decisions("top3", "Share of test images whose label is among the first three.",
                                            lambda reading: reading.decisions.among(reading.head, 3)))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    # Listing and planning need no arrays.
    import numpy as np
    from numpy.typing import NDArray

Head = Literal["class", "distillation", "softmax-sum", "logit-mean", "truth"]
"""``truth`` is no head: the label itself, for disagreement with the ground truth (Table 4)."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """``labels`` [N] and, by head, the ``top5`` classes [N, 5], best first (int16)."""

    labels: NDArray[np.int16]
    top5: Mapping[str, NDArray[np.int16]]

    def choice(self, head: Head) -> NDArray[np.int16]:
        """[N]: the class chosen at ``head``; the label itself for ``truth``."""
        return self.labels if head == "truth" else self.top5[head][:, 0]

    def among(self, head: Head, count: int) -> NDArray[np.bool_]:
        """[N]: whether the label is among the first ``count`` choices at ``head``, of which five are stored."""
        choices = self.labels[:, None] if head == "truth" else self.top5[head][:, :count]
        hits: NDArray[np.bool_] = (choices == self.labels[:, None]).any(axis=1)
        return hits


class Stored(Protocol):
    """The stored result of a job. What cannot be read raises StoreFault."""

    @property
    def key(self) -> str: ...

    @property
    def summary(self) -> Mapping[str, Any]: ...

    def decisions(self) -> Decisions: ...

    def array(self, file: str) -> NDArray[Any]: ...

    def document(self, file: str) -> Any:
        """The JSON of ``file``; None where the job stored no such file."""


class RateOfBatch(Protocol):
    """A recipe, as far as its learning rate goes."""

    @property
    def lr(self) -> float: ...

    @property
    def lr_batch(self) -> int: ...

    @property
    def batch(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What one value is read from, of one seed.

    result, other: of the first job and of the second one, which is the first where the metric needs no second.
    recipe: of the run that is read.
    """

    head: Head
    field: str
    other_head: Head
    results: tuple[Stored, ...]
    recipe: Callable[[], RateOfBatch]

    @property
    def result(self) -> Stored:
        return self.results[0]

    @property
    def other(self) -> Stored:
        return self.results[-1]

    @property
    def decisions(self) -> Decisions:
        return self.result.decisions()


@dataclass(frozen=True, slots=True)
class Number:
    """``error``: its standard error, over images or over time; 0 if neither moves it, None if nobody knows it."""

    value: Fraction
    error: float | None
    steady: bool = True
    """Of a throughput: its interval is narrow enough."""
    attention: str | None = None
    """Of a throughput: how the network computed attention, where it has any."""


@dataclass(frozen=True, slots=True)
class Metric:
    """Everything there is to know of a metric. ``doc`` says what the number is, in one sentence."""

    name: str
    doc: str
    read: Callable[[Reading], NDArray[np.bool_] | Number | str | None]
    """To [N], whether each test image counts; or a number; or words; or None where the network has no such dimension.
    """
    job: str = ""
    """The kind of job it is read from; empty for what stands in the specs themselves."""
    second: Literal["none", "labels", "reference", "network"] = "none"
    """The second job: corrected ``labels`` of the data set ``on``; the measurement of the scale's ``reference``
    network; the same of the column's ``network``, so that row and column name one each."""
    unit: str = ""
    digits: int = 1
    """``unit`` and ``digits`` of a table that reads this metric and says neither."""
    scale: int = 1
    """A count is printed as its share times this: 100 for percent."""
    trained: bool = False
    """Needs a trained network, so that every seed has its own value."""
    headed: bool = False
    """Read at a head of the network."""
    two_tokens: bool = False
    """Needs a network with a class and a distillation token."""
    fields: tuple[str, ...] = ()
    """What ``field`` may be; empty where the metric takes none."""
    layers: bool = False
    """``field`` may also be the number of a layer, counted from 1."""
    on: bool = False
    """Needs the data set ``on``."""
    origin: Literal["measured here", "counted here", "set in the recipe", ""] = ""
    """Where the value comes from. Empty if ``trained``: from the network, which was trained here or published."""
    accuracy: bool = False
    """Published weights reproduce it almost exactly."""
    plain: bool = False
    """The paper prints a plain number, so that text in quotes is a slip."""
    timed: bool = False
    """Measured against a clock: numbers of two devices are not compared."""
    rate: bool = False
    """Has no unit that two devices share: claims compare it by ratio."""
    may_move: Literal["tolerance"] | float = 0.0
    """What a night allows: the table's tolerance, or so large a share of the number itself."""

    @property
    def of_data(self) -> bool:
        """About a data set and not about a network."""
        return self.job == "data"

    @property
    def of_recipe(self) -> bool:
        return not self.job

    def takes(self, field: str | None) -> bool:
        """Whether ``field`` is one that the metric has; any is, where it needs none."""
        return not self.fields or field in self.fields or (self.layers and (field or "").isdigit())


_METRICS: dict[str, Metric] = {}
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def register(metric: Metric) -> Metric:
    """Make ``metric`` known by its name. Raises ValueError for one that contradicts itself or another."""
    name = f"metric '{metric.name}'"
    if not _NAME.fullmatch(metric.name):
        raise ValueError(f"{name}: a name has small letters, digits and '_', a letter first")
    if metric.name in _METRICS:
        raise ValueError(f"{name}: another metric has this name already: {_METRICS[metric.name].doc}")
    if not metric.doc.strip():
        raise ValueError(f"{name}: 'doc' is empty; say in a sentence what the number is")
    if metric.second != "none" and not metric.job:
        raise ValueError(f"{name}: a second job ('{metric.second}') needs a first one; name its kind as 'job'")
    if (metric.headed or metric.accuracy or metric.two_tokens) and not metric.trained:
        raise ValueError(f"{name}: what is read of a network's answers needs 'trained'")
    if metric.trained == bool(metric.origin):
        raise ValueError(f"{name}: 'origin' is wanted of what needs no trained network, and of nothing else")
    if metric.second == "labels" and not metric.on:
        raise ValueError(f"{name}: corrected labels are those of a data set; set 'on'")
    _METRICS[metric.name] = metric
    return metric


def find(name: str) -> Metric:
    """The metric of that name. Raises KeyError: specs are checked to name known ones only."""
    return _METRICS[name]


def names() -> tuple[str, ...]:
    return tuple(_METRICS)


def from_decisions(
    name: str,
    doc: str,
    hits: Callable[[Reading], NDArray[np.bool_]],
    *,
    unit: str = "%",
    digits: int = 1,
    scale: int = 100,
    second: Literal["none", "labels", "network"] = "none",
    on: bool = False,
    accuracy: bool = True,
) -> Metric:
    """A metric that counts test images by the stored decisions of a trained network: ``hits`` [N] says which count."""
    return Metric(
        name, doc, hits, job="predict", second=second, unit=unit, digits=digits, scale=scale, trained=True, headed=True,
        on=on, accuracy=accuracy, plain=True, may_move="tolerance",
    )  # fmt: skip
