"""Loss, validation accuracy and learning rate of trainings by epoch, and the accuracy they end at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field

from replicate.errors import Fault, UnknownName, UserError
from replicate.figures.spec import FigureSpec, Names, register
from replicate.jobs.job import Job
from replicate.plan.cells import Plan
from replicate.specs.cell import CellRef
from replicate.specs.load import Specs
from replicate.specs.recipe import Strict
from replicate.specs.run import RunsFile
from replicate.specs.scale import Scale

if TYPE_CHECKING:
    from replicate.figures.model import Panel, Series
    from replicate.figures.source import Source

PANELS = (
    ("loss", "training loss, on augmented images", "loss"),
    ("validation", "validation, on at most 256 test images", "top-1 (%)"),
    ("lr", "learning rate", "rate at the batch used"),
)
"""Field of an epoch, title, and label of the axis."""


class Curves(Strict):
    """``reference`` is drawn behind ``runs``."""

    runs: tuple[str, ...] = Field(min_length=1, max_length=6)
    reference: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All runs that are drawn, each once, the reference last."""
        return tuple(dict.fromkeys([*self.runs, *([self.reference] if self.reference else [])]))


@register
class CurvesFigure(FigureSpec):
    kind: ClassVar[str] = "curves"
    curves: Curves

    def cells(self, specs: Specs) -> list[CellRef]:
        return []

    def jobs(self, plan: Plan) -> list[Job]:
        # Published weights have no curve, and their accuracy without one would be a label of nothing.
        trained = [name for name in self.curves.names if name not in plan.specs.scale.released]
        both = [(name, seed) for name in trained for seed in plan.expander.seeds_of(name, plan.seeds)]
        return [job for pair in both for job in (plan.expander.network(*pair), plan.expander.job("predict", *pair))]

    def faults(self, names: Names) -> Iterator[Fault]:
        reference = [self.curves.reference] if self.curves.reference is not None else []
        named = [("curves.runs", name) for name in self.curves.runs] + [
            ("curves.reference", name) for name in reference
        ]
        for where, name in named:
            yield from names.run(where, name)
            if name in names.runs.runs and not names.runs.runs[name].trainable:
                yield Fault(where, f"the network of run '{name}' is never trained")

    def of_runs(self, runs: tuple[str, ...], known: RunsFile) -> Self:
        for name in runs:
            if name not in known.runs:
                raise UnknownName("run", name, known.runs)
            if not known.runs[name].trainable:
                raise UserError(f"run {name} is never trained\n  name a run that runs.toml trains")
        return self.model_copy(update={"curves": self.curves.model_copy(update={"runs": runs})})

    def _published(self, scale: Scale) -> list[str]:
        """Runs whose training nobody here saw: their weights were published."""
        return [name for name in self.curves.names if name in scale.released]

    def notes(self, scale: Scale) -> tuple[str, ...]:
        names = self._published(scale)
        return (f"Published weights, which have no curve: {', '.join(names)}.",) if names else ()

    def panels(self, source: Source) -> tuple[Panel, ...]:
        """A panel each; names say the accuracy at the end. Runs whose published weights are read are left out."""
        from replicate.figures.model import Axis, Series, XYPanel

        published = self._published(source.specs.scale)
        drawn: dict[str, list[Series]] = {field: [] for field, _, _ in PANELS}
        for family, name in enumerate(self.curves.names):
            if name in published:
                continue
            reference = name == self.curves.reference and name not in self.curves.runs
            accuracy = source.accuracy(name)
            end = [] if accuracy is None else [f"test top-1 {accuracy} %"]
            label = ", ".join([name, *(["reference"] if reference else []), *end])
            curves = source.curves(name)
            for field, series in drawn.items():
                points = source.epochs(curves, field)
                series.append(Series(label, "here", family, points, marked=False, faint=reference))
        return tuple(XYPanel(title, Axis("epoch"), Axis(y), tuple(drawn[field])) for field, title, y in PANELS)
