"""Planned figures and stored results to finished figures."""

from __future__ import annotations

from hashlib import sha256
from typing import get_args

from replicate.figures.load import figures_of
from replicate.figures.model import Figure
from replicate.figures.plan import FigurePlan
from replicate.figures.source import Source
from replicate.jobs.key import canonical
from replicate.judge.cell import network_origin
from replicate.judge.table import Origin
from replicate.store.store import Store


def finish_figure(plan: FigurePlan, store: Store) -> Figure:
    """The figure as it stands now; values that are not there are counted, not drawn."""
    source = Source(plan, store)
    head, scale = plan.spec.figure, source.specs.scale
    panels = plan.spec.panels(source)
    wanted, pending = progress(plan, store)
    return Figure(
        id=head.id,
        number=head.number,
        kind=plan.spec.kind,
        caption=head.caption,
        scale=scale.id,
        banner=scale.banner,
        comparable=scale.comparable,
        panels=panels,
        wanted=wanted,
        pending=pending,
        paper_only=sum(source.cell(place).state == "paper-only" for place in plan.cells),
        seeds=plan.tables.seeds,
        source=head.source,
        origins=_origins(source),
        notes=(*head.notes, *plan.spec.notes(scale)),
        spec=f"figures/{figures_of(source.specs).files[head.id].name}",
        digest=_digest(plan, store),
    )


def _origins(source: Source) -> tuple[Origin, ...]:
    """Where the values that are there come from, in the order of `Origin`."""
    plan, scale = source.plan, source.specs.scale
    read = [plan.tables.graph.jobs[key] for key in plan.direct if source.store.result(key) is not None]
    origins = {source.cell(place).origin for place in plan.cells} | {network_origin({job.run}, scale) for job in read}
    return tuple(origin for origin in get_args(Origin) if origin in origins - {"not run", "printed in the paper only"})


def progress(plan: FigurePlan, store: Store) -> tuple[int, int]:
    """How many values jobs make for the figure, and how many of them are not there: ``(wanted, pending)``."""
    needed = [cell.keys for cell in plan.cells.values() if cell.keys] + [(key,) for key in plan.direct]
    there = {key: store.result(key) is not None for key in plan.keys}
    return len(needed), sum(not all(there[key] for key in keys) for keys in needed)


def _digest(plan: FigurePlan, store: Store) -> str:
    """Changes when the spec, a table it reads or any result behind it does; not with dates or machines."""
    results = {key: store.result(key) for key in plan.keys}
    tables = plan.tables.specs.tables
    body = {
        "spec": plan.spec.model_dump(mode="json"),
        "tables": {table_id: tables[table_id].model_dump(mode="json") for table_id in plan.tables.cells},
        "results": {key: dict(result.files) if result else None for key, result in results.items()},
    }
    return sha256(canonical(body)).hexdigest()[:16]
