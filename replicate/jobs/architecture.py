"""Dimensions of a network: facts that need no clock, and so wait for no measurement.

A file by itself, as every kind of job.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from replicate.jobs.job import NIGHTLY, Job, Line, Outcome, register
from replicate.jobs.measure import Measure
from replicate.jobs.network import Network, Untrained, described
from replicate.metrics.stated import Dimensions, stored_as
from replicate.text import pairs

if TYPE_CHECKING:
    from replicate.jobs.expand import Expander


@register
class Architecture(Job):
    """Of the network ``model`` for images of ``size`` x ``size``."""

    model: Network
    size: int
    classes: int

    title = "Dimensions"
    starts_first = True
    pack = 8
    like = "data"
    stale_seconds = NIGHTLY

    @classmethod
    def of_run(cls, expander: Expander, run: str, seed: int, on: str | None) -> Job:
        """The dimensions of the network of the run ``run``, from its measurement where the results have only that."""
        spec, stored = expander.specs.runs.runs[run], expander.specs.stored
        network = expander.untrained(spec.model, spec.resolution, spec.distillation, spec.data)
        # Looked at before one of the two is kept.
        aside = replace(expander, keep=lambda job: job)
        job = aside.add(
            cls(
                run=run,
                seconds=expander.specs.scale.job_seconds,
                model=network.model,
                size=network.size,
                classes=network.classes,
            ),
            f"{spec.model}-{spec.resolution}",
        )
        # Until a measurement was all that said so.
        if not stored(job.key) and stored(Measure.of_run(aside, run, seed, on).key):
            return expander.job("measure", run)
        return expander.keep(job)

    @property
    def network(self) -> Untrained:
        return Untrained(self.model, self.size, self.classes)

    def describe(self, result: Outcome | None) -> Iterator[Line]:
        yield "model", f"{described(self.model)}, {self.size} pixels, {self.classes} classes"
        if result is not None:
            found = stored_as(Dimensions, result.summary)
            yield "network", pairs({"parameters": found.parameters, **found.architecture})
