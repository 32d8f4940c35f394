"""What one number rests on: where it comes from, how sure it is, and every job behind it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from replicate import metrics
from replicate.actions.paper import Paper, check_name
from replicate.jobs.job import Job
from replicate.jobs.measure import Measure
from replicate.judge.finish import Finisher
from replicate.judge.table import Cell, ErrorOf, Table
from replicate.plan.cells import Plan
from replicate.plan.graph import Graph
from replicate.specs.cell import REFERENCE
from replicate.store.store import Store
from replicate.text import number, plural


class CellFacts(TypedDict, total=False):
    """What is known of a cell, for people and programs; of a word of the spec its state and file."""

    state: str
    file: str
    origin: str
    reads: str | None
    means: str | None
    counts: list[str]
    error: str | None
    paper: str | None
    difference: str
    tolerance: str
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """One cell of a finished table, and the plan and store that it was read from."""

    plan: Plan
    store: Store
    table: Table
    cell: Cell

    @property
    def jobs(self) -> Graph:
        """The jobs behind the number, in the order they run in."""
        return self.plan.graph.needed_for(self.cell.jobs)

    def place(self) -> str:
        """The cell in the words of the table: row and header, each with its group where they alone are not enough."""
        table, ref = self.table, self.cell.ref
        if ref.is_reference:
            return next(reference.label for reference in table.references if reference.key == ref.column)
        at = next(known for known in table.rows if known.key == ref.row)
        head = next(known for known in table.columns if known.key == ref.column)
        label = f"{at.group}: {at.label}" if at.group else at.label
        alike = sum(known.header == head.header for known in table.columns) > 1
        header = f"{head.group} {head.header}".strip() if alike else head.header
        return f"{label}, {header or ref.column}"

    def facts(self) -> CellFacts:
        from replicate.render import wording

        cell = self.cell
        if cell.state == "text":
            return {"state": cell.state, "file": self.table.spec}
        read = self.plan.cell(cell.ref).read
        return {
            "state": cell.state,
            "origin": cell.origin,
            "reads": self._reads(),
            "means": metrics.find(read.metric).doc if read else None,
            "counts": [
                wording.of_seed(seed, f"{seed.correct} of {plural(seed.images, 'image')}")
                for seed in cell.seeds
                if seed.correct is not None and seed.images is not None
            ],
            "error": self._error(),
            "paper": f"{cell.paper.text} ({cell.paper_source})" if cell.paper else None,
            "difference": cell.difference_shown,
            "tolerance": cell.tolerance,
            "verdict": cell.verdict,
            "reason": cell.reason,
        }

    def _reads(self) -> str | None:
        read = self.plan.cell(self.cell.ref).read
        if read is None:
            return None
        parts = [f"{read.metric} {read.field}" if read.field else read.metric]
        if read.run:
            parts.append(f"of the run {read.run}")
        if metrics.find(read.metric).headed:
            parts.append(f"at its head {read.head}")
        if read.against:
            parts.append(f"against {read.against[0]} at its head {read.against[1]}")
        return " ".join([*parts, f"on {read.on}"] if read.on else parts)

    def _error(self) -> str | None:
        if self.cell.half is None or self.cell.error is None:
            return None
        over = _OVER[self.cell.error_of]
        if self.cell.error_of == "times":
            job = self.plan.cell(self.cell.ref).jobs[0]
            paired = isinstance(job, Measure) and job.protocol.reference is not None
            over = "the interval of its ratio to the reference network" if paired else over
        return f"±{number(self.cell.half, 3)}, half of the 95 % interval, over {over}"


_OVER: Mapping[ErrorOf, str] = {
    "seeds and test images": "seeds and test images",
    "test images": "test images alone, since nobody knows what another seed does",
    "times": "the times of its runs",
    "": "",
}


def explain(paper: Paper, table_id: str, row: str, column: str) -> Explanation:
    """Explain the number at ``row`` and ``column``; a reference is row ``@``. Raises UnknownName."""
    specs = paper.specs()
    spec = specs.table(table_id)
    if row == REFERENCE:
        check_name("reference", column, [reference.key for reference in spec.references])
    else:
        check_name("row", row, [known.key for known in spec.rows])
        check_name("column", column, [known.key for known in spec.table.columns])
    plan, store = paper.plan([table_id], specs), paper.store()
    table = Finisher(plan, store).finish(table_id)
    return Explanation(plan, store, table, table.cell(row, column))


def command_of(paper: Paper, store: Store, graph: Graph, job: Job) -> str:
    """The whole command that makes ``job`` (again) where ``paper`` looks for it; ``graph`` holds what it reads."""
    state = store.state(job.key)
    again = ["--again"] if state == "done" else []
    if state == "failed" and store.fails_again(job.key):
        again = ["--retry"]
    seed = graph.seed_of(job)
    seeds = ["--seeds", str(seed)] if seed else []
    return shlex.join(["python", "-m", "replicate", "run", job.key, *again, *seeds, *paper.given])
