"""Published weights: they stand where the training of their run would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from replicate.jobs.job import FILES_MB, Job, Line, Outcome, register
from replicate.jobs.network import Network, described, label, parameters
from replicate.specs.recipe import Distillation
from replicate.specs.scale import PublishedFile
from replicate.specs.sources import AnyData
from replicate.text import pairs

if TYPE_CHECKING:
    from replicate.jobs.expand import Expander


@register
class Weights(Job):
    """``data`` is the entry of the data set that they were trained on, ``file`` an entry of ``[released]``."""

    model: Network
    size: int
    distillation: Distillation | None
    data: AnyData
    file: str

    title = "Published weights"
    source = True
    like = "data"

    @classmethod
    def of_run(cls, expander: Expander, run: str, seed: int, on: str | None) -> Job:
        """``seed`` is that of what is trained beside them: the seed of published weights is unknown."""
        spec, scale = expander.specs.runs.runs[run], expander.specs.scale
        job = cls(
            run=run,
            seed=seed,
            seconds=scale.job_seconds,
            model=expander.model(spec.model, spec.distillation),
            size=expander.size(spec),
            distillation=expander.distillation(spec.distillation),
            data=scale.data[spec.data],
            file=scale.released[run],
        )
        return expander.add(job, label(spec))

    @property
    def on_disk(self) -> str:
        """The file under ``$REPLICATE_DATA`` that it is read from; empty where it has an address."""
        published = PublishedFile.of(self.file)
        return "" if published.url else published.file

    def megabytes(self, jobs: Mapping[str, Job]) -> float:
        return FILES_MB + 4 * parameters(self.model, self.size, self.data.classes, self.distillation) / 1e6

    def describe(self, result: Outcome | None) -> Iterator[Line]:
        yield "run", f"{self.run} (tables/runs.toml), published weights in place of its training, {self.size} pixels"
        yield "model", described(self.model)
        yield "file", self.file
        if result is not None:
            yield "result", pairs(result.summary)
