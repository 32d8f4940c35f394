"""Decisions of a network on test images: what every accuracy of the tables is computed from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from replicate.jobs.data import Data
from replicate.jobs.job import FILES_MB, NIGHTLY, Job, Line, Outcome, register
from replicate.jobs.network import evaluation_seconds, has_seconds, label, tokens
from replicate.jobs.train import Train
from replicate.jobs.weights import Weights
from replicate.specs.recipe import Evaluation
from replicate.text import pairs

if TYPE_CHECKING:
    from replicate.jobs.expand import Expander

DECISIONS = "decisions.npz"
"""``labels`` int16 [N] and, for each head, int16 [N, min(5, K)]: the classes of the highest scores, best first."""


@register
class Predict(Job):
    """Inputs: ``network`` and ``data``."""

    size: int
    evaluation: Evaluation

    neutral = {"evaluation": {"attention": "fused"}}
    title = "Evaluation"
    starts_first = True
    pack = 8
    stale_seconds = NIGHTLY

    @classmethod
    def of_run(cls, expander: Expander, run: str, seed: int, on: str | None) -> Job:
        """The decisions of the run ``run`` on the test images of ``on``, its own data set if None."""
        spec = expander.specs.runs.runs[run]
        job = cls(
            inputs={"network": expander.network(run, seed).key, "data": expander.test_data(on or spec.data).key},
            run=run,
            seed=seed,
            seconds=evaluation_seconds(expander.specs, spec, on or spec.data),
            estimated=has_seconds(expander.specs, spec),
            size=expander.size(spec),
            evaluation=expander.evaluation(spec.weights),
        )
        where = label(spec) if on is None else f"{label(spec)}-on-{on}"
        return expander.add(job, f"{where}{expander.seeded(run, seed)}")

    def megabytes(self, jobs: Mapping[str, Job]) -> float:
        network, data = jobs[self.inputs["network"]], jobs[self.inputs["data"]]
        if not isinstance(data, Data) or not isinstance(network, Train | Weights):
            return FILES_MB
        # Each alone and two ways to join them (engine/predict.py); labels and classes are of 2 bytes.
        heads = 4 if tokens(network.distillation) == 2 else 1
        images = getattr(data.data, "test", 0)
        return FILES_MB + 2 * images * (1 + heads * min(5, data.data.classes)) / 1e6

    def describe(self, result: Outcome | None) -> Iterator[Line]:
        yield "evaluation", f"{pairs(self.evaluation.model_dump())}, {self.size} pixels"
        if result is not None:
            yield "result", pairs(result.summary)
