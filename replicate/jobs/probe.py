"""Similarity of the two tokens of a network, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

from replicate.jobs.job import NIGHTLY, Job, Line, Outcome, register
from replicate.jobs.network import evaluation_seconds, has_seconds, label
from replicate.metrics.stated import CosineErrors, Cosines, stored_as
from replicate.text import number, plural

if TYPE_CHECKING:
    from replicate.jobs.expand import Expander

PROBE_IMAGES = 2000
"""Test images that token similarities are averaged over."""

SIMILARITY = "similarity.json"
"""The summary, once more as a file of its own."""


@register
class Probe(Job):
    """Inputs: ``network`` and ``data``. The first ``images`` test images are averaged over."""

    size: int
    images: int

    title = "Similarity of the tokens"
    starts_first = True
    pack = 8
    stale_seconds = NIGHTLY

    @classmethod
    def of_run(cls, expander: Expander, run: str, seed: int, on: str | None) -> Job:
        """The similarity of the tokens of the run ``run``."""
        specs = expander.specs
        spec = specs.runs.runs[run]
        job = cls(
            inputs={"network": expander.network(run, seed).key, "data": expander.test_data(spec.data).key},
            run=run,
            seed=seed,
            seconds=evaluation_seconds(specs, spec, spec.data),
            estimated=has_seconds(specs, spec),
            size=expander.size(spec),
            images=min(PROBE_IMAGES, getattr(specs.scale.data[spec.data], "test", PROBE_IMAGES)),
        )
        return expander.add(job, f"{label(spec)}{expander.seeded(run, seed)}")

    def describe(self, result: Outcome | None) -> Iterator[Line]:
        yield "run", self.described_run
        yield "probe", f"cosine of the two tokens, {plural(self.images, 'test image')}, {self.size} pixels"
        if result is None:
            return
        cosines = stored_as(Cosines, result.summary)
        yield "input", f"{number(cosines.input)}, with position {number(cosines.input_with_position)}"
        errors = cosines.errors or CosineErrors()
        layers = zip_longest(cosines.layers, errors.layers)
        yield "layers", ", ".join(_with_error(value, error) for value, error in layers)
        yield "output", _with_error(cosines.last, errors.last)


def _with_error(value: float, error: float | None) -> str:
    return number(value) if error is None else f"{number(value)} ± {number(error, 2)}"
