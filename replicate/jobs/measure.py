"""Throughput and dimensions of a network: untrained weights are as fast."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ConfigDict

from replicate.jobs.job import NIGHTLY, Job, Line, Outcome, register
from replicate.jobs.key import plain
from replicate.jobs.network import Network, Untrained, described
from replicate.metrics.stated import TIMES, Ratio, Throughput, stored_as
from replicate.specs.recipe import Attention
from replicate.text import number, pairs, said

if TYPE_CHECKING:
    from replicate.jobs.expand import Expander


@dataclass(frozen=True, slots=True)
class Protocol:
    """How throughput is measured (`replicate.specs.scale.Measure`), with the whole of the reference network."""

    name: Literal["paper", "paired"]
    batches: tuple[int, ...]
    runs: int
    windows: int
    window_seconds: float
    reference: Untrained | None = None
    attention: Attention = "fused"

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class _Conditions:
    precision: str


@dataclass(frozen=True, slots=True)
class _Times:
    """What is told of `TIMES`."""

    conditions: _Conditions


@register
class Measure(Job):
    """Of the network ``model`` for images of ``size`` x ``size``."""

    model: Network
    size: int
    classes: int
    protocol: Protocol

    neutral = {"protocol": {"reference": None, "attention": "fused"}}
    title = "Throughput and dimensions"
    alone = True
    timed = True
    stale_seconds = NIGHTLY

    @classmethod
    def of_run(cls, expander: Expander, run: str, seed: int, on: str | None) -> Job:
        """Throughput and dimensions of the network of the run ``run``."""
        spec, how = expander.specs.runs.runs[run], expander.specs.scale.measure
        reference = None
        if how.reference is not None:
            reference = expander.untrained(how.reference, how.reference_resolution, None, "imagenet")
        network = expander.untrained(spec.model, spec.resolution, spec.distillation, spec.data)
        job = cls(
            run=run,
            seconds=how.job_seconds,
            model=network.model,
            size=network.size,
            classes=network.classes,
            protocol=Protocol(
                how.name, how.batches, how.runs, how.windows, how.window_seconds, reference, how.attention
            ),
        )
        return expander.add(job, f"{spec.model}-{spec.resolution}")

    def own(self) -> dict[str, object]:
        protocol = plain(self.protocol)
        if self.protocol.reference is None:
            # Not written since before it was a field.
            protocol.pop("reference")
        return {"model": plain(self.model), "size": self.size, "classes": self.classes, "protocol": protocol}

    def moved(self, old: Outcome, new: Outcome) -> tuple[bool, str]:
        return stored_as(Throughput, old.summary).moved(stored_as(Throughput, new.summary))

    @property
    def network(self) -> Untrained:
        return Untrained(self.model, self.size, self.classes)

    def describe(self, result: Outcome | None) -> Iterator[Line]:
        how = self.protocol
        yield "model", f"{described(self.model)}, {self.size} pixels, {self.classes} classes"
        if how.reference is not None:
            yield "reference", f"{described(how.reference.model)}, {how.reference.size} pixels"
        timed = (
            f"{how.windows} windows of {said(how.window_seconds)} s of each, in turn"
            if how.name == "paired"
            else f"mean of {how.runs} runs"
        )
        batches = f"batches of {' / '.join(map(str, how.batches))}"
        largest = ", the largest that fits" if len(how.batches) > 1 else ""
        yield "protocol", f"{how.name}: {timed}; {batches}{largest}; {how.attention} attention"
        if result is None:
            return
        measured = stored_as(Throughput, result.summary)
        attention = f", {measured.attention} attention" if measured.attention else ""
        yield "device", f"{measured.device}, {_precision(result)}{attention}, batches of {measured.batch}"
        yield "measured", f"{number(measured.images_per_second)} images/s"
        yield "ratio", _ratio(measured.ratio)
        yield "network", pairs({"parameters": measured.parameters, **measured.architecture})


def _precision(result: Outcome) -> str:
    with suppress(OSError, ValueError):
        return stored_as(_Times, json.loads(result.path(TIMES).read_text(encoding="utf-8"))).conditions.precision
    return "precision not recorded"


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return "none: this protocol times the network alone"
    steadiness = "steady" if ratio.steady else "unsteady, its interval is wider than ±2 %"
    interval = f"95 % interval {number(ratio.low, 3)} to {number(ratio.high, 3)}"
    half = f"±{ratio.half_width_percent:.1f} %"
    return f"{number(ratio.median, 3)} times as fast as the reference ({interval}, {half}): {steadiness}"
