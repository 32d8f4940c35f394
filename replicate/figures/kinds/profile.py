"""The similarity of the two tokens of a network, from its input through its blocks to its output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from replicate.errors import Fault
from replicate.figures.spec import FigureSpec, Names, Place, register
from replicate.jobs.job import Job
from replicate.plan.cells import Plan
from replicate.specs.cell import TOKEN_HEADS, CellRef, heads_of
from replicate.specs.load import Specs
from replicate.specs.recipe import Strict

if TYPE_CHECKING:
    from replicate.figures.model import Panel
    from replicate.figures.source import Source


class ProfileSeries(Strict):
    """The network of ``run``. The paper prints the two ends only, of networks with 12 blocks: in these cells."""

    label: str
    run: str
    paper_input: Place | None = None
    paper_last: Place | None = None


class Profile(Strict):
    label: str
    series: tuple[ProfileSeries, ...] = Field(min_length=1)


@register
class ProfileFigure(FigureSpec):
    kind: ClassVar[str] = "profile"
    profile: Profile

    def cells(self, specs: Specs) -> list[CellRef]:
        return []

    def printed(self) -> list[CellRef]:
        return [place for spec in self.profile.series for place in (spec.paper_input, spec.paper_last) if place]

    def jobs(self, plan: Plan) -> list[Job]:
        return [plan.expander.job("probe", spec.run, seed) for spec in self.profile.series for seed in plan.seeds]

    def faults(self, names: Names) -> Iterator[Fault]:
        for index, spec in enumerate(self.profile.series):
            where = f"profile.series[{index}]"
            yield from names.run(f"{where}.run", spec.run)
            run = names.runs.runs.get(spec.run)
            if run is not None and heads_of(run, names.runs) != TOKEN_HEADS:
                what = f"the network of run '{spec.run}' has one token only, so nothing to compare"
                yield Fault(f"{where}.run", what)
            yield from names.cell(f"{where}.paper_input", spec.paper_input)
            yield from names.cell(f"{where}.paper_last", spec.paper_last)

    def panels(self, source: Source) -> tuple[Panel, ...]:
        from replicate.figures.model import Axis, Series, XYPanel

        layers = [source.layers(spec.run) for spec in self.profile.series]
        # Of a network that is not there nothing is known; the others say how many blocks there are.
        depth = max([0, *(len(points) - 2 for points in layers)])
        end = float(depth + 1)
        here = [
            Series(spec.label, "here", family, points)
            for family, (spec, points) in enumerate(zip(self.profile.series, layers, strict=True))
        ]
        paper = []
        for family, spec in enumerate(self.profile.series):
            ends = ((0.0, spec.paper_input), (end, spec.paper_last))
            points = [source.point("paper", x, place) for x, place in ends if place]
            printed = tuple(point for point in points if point is not None)
            paper.append(Series(spec.label, "paper", family, printed, joined=False))
        ticks = [(0.0, "input"), *((float(layer), str(layer)) for layer in range(1, depth + 1)), (end, "output")]
        x, y = Axis("after block", ticks=tuple(ticks)), Axis(self.profile.label)
        return (XYPanel("", x, y, (*here, *paper), dodged=True),)
