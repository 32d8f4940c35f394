"""The figures, drawn for the site; where there is nothing to draw them with, the site says so and has none."""

from __future__ import annotations

from importlib.util import find_spec

from replicate.figures.finish import finish_figure
from replicate.figures.load import figures_of
from replicate.figures.plan import plan_figure
from replicate.plan.cells import Plan
from replicate.site.book import Picture
from replicate.store.store import Store

NEEDED = ("matplotlib", "seaborn")


def draw_all(plan: Plan, store: Store) -> tuple[list[Picture], str]:
    """All figures of the specs as they stand now, and why there are none although there could be."""
    specs = plan.specs
    figures = figures_of(specs).specs
    if not figures:
        return [], ""
    if absent := [name for name in NEEDED if find_spec(name) is None]:
        return [], f"the figures are left out: {' and '.join(absent)} not installed"
    from replicate.figures.draw import render

    pictures = []
    for figure_id in sorted(figures, key=lambda name: (figures[name].figure.number or 99, name)):
        planned = plan_figure(specs, figure_id, plan.seeds)
        figure = finish_figure(planned, store)
        pictures.append(Picture(figure, render(figure, "svg"), planned))
    return pictures, ""
