"""One planned cell and what was read for it, to a cell that can be printed."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from fractions import Fraction
from math import inf, sqrt

from replicate import metrics
from replicate.judge.noise import SeedNoise
from replicate.judge.statistics import NO_ERROR, Error, cell_verdict, combined, spread
from replicate.judge.table import Cell, ErrorOf, Origin, SeedValue, State
from replicate.judge.values import NO_DIMENSION, CellValue
from replicate.plan.cells import CellPlan
from replicate.specs.cell import ResolvedSource
from replicate.specs.scale import Scale
from replicate.specs.table import ColumnSpec, ReferenceSpec, RowSpec, TableHead
from replicate.text import exact, half_up, signed

DASH = "–"

EVALUATED_AGAIN, OF_IMAGES = 0.05, 50_000
"""Points by which the accuracy of published weights may differ when it is evaluated again, and on how many images.

No training moves it, only the versions of the libraries (DeiT-B on ImageNet: 81.802 and 81.846, deit#206): decisions
that flip, so of fewer images by the root of their share more. The paper's own crop is part of what is evaluated: with
it the released DeiT-B at 384 reaches 82.9 and not the printed 83.1 (note of Table 5).
"""


def outline(planned: CellPlan) -> Cell:
    """The cell without a value: the paper's number and the jobs."""
    paper = planned.paper
    source = planned.paper_source if paper and paper.text else ""
    return Cell(planned.ref, "done", shown="", paper=paper, paper_source=source, jobs=planned.keys)


def finished(
    table: TableHead,
    column: ColumnSpec,
    planned: CellPlan,
    ours: CellValue,
    scale: Scale,
    noise: SeedNoise,
    paper_device: str = "",
) -> Cell:
    """The cell with the value ``ours``, compared with the paper's where the two can be.

    noise: of its table. paper_device: see `replicate.specs.run.Paper`.
    """
    assert planned.read is not None
    cell = replace(outline(planned), origin=_origin(planned.read, scale))
    if ours.text is not None:
        return _in_words(cell, ours.text, scale)
    decimals, factor = table.places(column), exact(column.factor)
    hits = ours.hits or {}
    has_seed = cell.origin != "released weights"
    seeds = tuple(
        SeedValue(
            seed if has_seed else None,
            value * factor,
            int(hits[seed].sum()) if seed in hits else None,
            len(hits[seed]) if seed in hits else None,
            planned.keys if len(planned.jobs) == 1 else _of_seed(planned, index),
        )
        for index, (seed, value) in enumerate(ours.values.items())
    )
    value = sum((seed.value for seed in seeds), Fraction()) / len(seeds)
    deviation = spread([float(seed.value) for seed in seeds])
    # Published weights are what they are, and no training lies between them and the paper's number.
    of_training = noise.of(ours) if cell.origin == "trained here" else NO_ERROR
    error, error_of = _error(ours, of_training, len(seeds))
    error = error.scaled(column.factor)
    cell = replace(
        cell,
        shown=half_up(value, decimals),
        value=value,
        error=error.standard or None,
        freedom=error.freedom if error.standard and error.freedom < inf else None,
        half=error.half or None,
        error_shown=half_up(exact(error.half), decimals) if error.half else "",
        error_of=error_of if error.half else "",
        spread=deviation,
        seeds=seeds,
    )
    if metrics.find(planned.read.metric).timed:
        # Images/s of two devices say nothing about each other; ratios between rows do, and claims compare those.
        unsteady = "" if ours.steady else "; unsteady: its interval is wider than ±2 %"
        attention = f" with {ours.attention} attention" if ours.attention else ""
        reason = f"measured{attention} on {device_beside(ours.devices, paper_device)}{unsteady}"
        return replace(cell, verdict="not compared", reason=reason)
    of_training = of_training and of_training.scaled(column.factor)
    return _compared(table, column, cell, planned, ours, scale, of_training)


def device_beside(devices: Set[str], paper: str) -> str:
    """What something was timed on, beside the device of the paper, which may not be stated."""
    if not devices or not all(devices):
        return "an unknown device"
    names = " and ".join(sorted(devices))
    if not paper:
        return names
    if all(word in name.lower() for word in paper.lower().split() for name in devices):
        return f"{names}, the paper's device; claims compare ratios"
    return f"another device than the paper's: {names}"


def network_origin(runs: Set[str | None], scale: Scale) -> Origin:
    """Of a value that the networks of all ``runs`` decide: one that was trained here makes it ours."""
    return "released weights" if runs <= scale.released.keys() else "trained here"


def _of_seed(planned: CellPlan, index: int) -> tuple[str, ...]:
    """The jobs behind the value of one of several seeds: with the second network's, where there is one a seed."""
    jobs = [planned.jobs[index]]
    if len(planned.others) == len(planned.jobs):
        jobs.append(planned.others[index])
    return tuple(dict.fromkeys(job.key for job in jobs))


def _origin(read: ResolvedSource, scale: Scale) -> Origin:
    networks = {read.run, *(read.against[:1] if read.against else ())}
    return metrics.find(read.metric).origin or network_origin(networks, scale)


def _error(ours: CellValue, of_training: Error | None, seeds: int) -> tuple[Error, ErrorOf]:
    """How sure the mean over seeds is, in the unit of the metric, and what was counted in."""
    own = Error(ours.own_error or 0.0)
    if ours.design is None:
        return own, "times"
    if of_training is None or not of_training.standard:
        return own, "test images"
    return combined([own, of_training.scaled(1.0 / sqrt(seeds))]), "seeds and test images"


def _in_words(cell: Cell, text: str, scale: Scale) -> Cell:
    cell = replace(cell, shown=text)
    if text == NO_DIMENSION:
        return replace(cell, verdict="not compared", reason="the network has no such dimension")
    if not scale.comparable:
        return replace(cell, verdict="not compared", reason=_another(scale))
    if cell.paper is None:
        return replace(cell, verdict="not compared", reason="the paper gives no value here")
    same = cell.paper.text == text
    return replace(cell, verdict="replicated" if same else "differs", reason=f"the paper prints {cell.paper}")


def _compared(
    table: TableHead,
    column: ColumnSpec,
    cell: Cell,
    planned: CellPlan,
    ours: CellValue,
    scale: Scale,
    of_training: Error | None,
) -> Cell:
    assert planned.read is not None
    metric = metrics.find(planned.read.metric)
    if not scale.comparable:
        return replace(cell, verdict="not compared", reason=_another(scale))
    printed = planned.paper.number if planned.paper else None
    if printed is None or cell.value is None:
        return replace(cell, verdict="not compared", reason="the paper gives no number here")
    paper = exact(printed)
    tolerance = table.tolerance.get(cell.column, table.tolerance["default"])
    if cell.origin == "released weights" and metric.accuracy and ours.hits:
        images = len(next(iter(ours.hits.values())))
        tolerance = min(tolerance, round(EVALUATED_AGAIN * sqrt(OF_IMAGES / images), 2))
    places = table.places(column)
    verdict, reason = cell_verdict(float(cell.value - paper), tolerance, places, of_training, len(cell.seeds))
    return replace(
        cell,
        verdict=verdict,
        reason=reason,
        tolerance=f"±{tolerance:g}",
        difference_shown=signed(cell.value - paper, places),
    )


def unfinished(
    cell: Cell, row: RowSpec | ReferenceSpec | None, states: Mapping[str, State], why: Mapping[str, str]
) -> Cell:
    """A cell without a value. ``states`` are of all jobs it rests on, ``why`` says what is known of some."""
    if not states:
        reason = (row.not_run if row else None) or "no run makes this number"
        if cell.paper is None:
            return replace(
                cell,
                state="text",
                shown=DASH,
                reason=("no number" if cell.ref.is_reference else "a dash") + " in the paper; " + reason,
            )
        return replace(cell, state="paper-only", origin="printed in the paper only", reason=reason)
    worst: tuple[State, ...] = ("failed", "running")
    for state in worst:
        culprits = [key for key, of_job in states.items() if of_job == state]
        if culprits:
            return replace(cell, state=state, reason=why[culprits[0]])
    # A job that is done but has a note is unreadable.
    waiting = [key for key, of_job in states.items() if of_job != "done" or key in why]
    notes = [why[key] for key in waiting if key in why]
    reason = notes[0] if notes else _not_run(len(waiting), len(states))
    return replace(cell, state="pending", reason=reason)


def _not_run(waiting: int, of: int) -> str:
    if of == 1:
        return "its job has not run"
    return f"none of its {of} jobs has run" if waiting == of else f"not run yet: {waiting} of its {of} jobs"


def _another(scale: Scale) -> str:
    return f"another experiment than the paper's: {scale.title}"
