"""One night from its beginning to its summary: settle, plan, compute, render, compare, write."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import click

from replicate.cli.all_command import NUMBERS, draw_figures
from replicate.cli.files import DEFAULT, MACROS, write_tables
from replicate.cli.report_command import write_report
from replicate.cli.workspace import Workspace
from replicate.errors import UserError
from replicate.figures.plan import with_figures
from replicate.judge.finish import Finisher
from replicate.judge.table import Table
from replicate.nightly.agenda import HOUR, Agenda, AgendaInputs, agenda
from replicate.nightly.backend import Place, place_of
from replicate.nightly.changes import Changes, changes
from replicate.nightly.history import CELLS, REPORT, SUMMARY, Nights
from replicate.nightly.recheck import Recheck, Rechecks
from replicate.nightly.snapshot import snapshot
from replicate.nightly.summary import Summary, as_json, as_markdown
from replicate.plan.cells import Plan
from replicate.plan.graph import Graph
from replicate.store.provenance import provenance
from replicate.store.result import JOB, RESULT
from replicate.store.store import Store
from replicate.text import STATES

SAME, MOVED, FAILED, INFRASTRUCTURE = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class NightlyOptions:
    """``budget`` in hours of one processor of the scale. Without ``run`` it is a look, of which nothing is kept."""

    budget: float
    train: bool = False
    again: bool = False
    run: bool = True


@dataclass(slots=True)
class Night:
    """Everything one night knows. What goes wrong around it is collected in ``faults``, and the night goes on."""

    workspace: Workspace
    wishes: NightlyOptions
    plan: Plan
    store: Store
    nights: Nights
    graph: Graph = field(init=False)
    made: dict[str, Any] = field(init=False)
    place: Place = field(init=False)
    faults: list[str] = field(default_factory=list)
    compared: list[Recheck] = field(default_factory=list)
    when: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.graph = with_figures(self.plan)
        self.made = provenance(self.workspace.root)

    def run(self) -> Summary:
        before = self.nights.last()
        self.place = place_of(self.workspace, self.plan, self.graph, self.store)
        planned = Agenda()
        try:
            # Whatever is said on the way belongs to the log; standard output is the summary's.
            with redirect_stdout(sys.stderr):
                self.place.look()
                planned = self._compute(before)
        except UserError as error:
            self.faults.append(str(error))
        tables, files = self._render()
        counts = Counter[str](cell.state for table in tables for cell in table.cells.values())
        now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.when))
        states = {job.key: self.place.state(job.key) for job in self.graph}
        owed = [key for key in planned.owed if states[key] != "done"]
        cells = snapshot(self.plan, self.graph, tables, self.store, states, self.made, owed, now, before)
        found = changes(before, cells)
        failed = {key: self.place.why(key) for key, state in states.items() if state == "failed"} | self.place.failed
        return self._written(
            Summary(
                code=self._code(found, failed),
                when=now,
                scale=self.plan.specs.world,
                seeds=self.plan.seeds,
                where=self.workspace.profile.name if self.workspace.profile else socket.gethostname(),
                made=self.made,
                budget=self.wishes.budget,
                run=self.wishes.run,
                changes=found,
                agenda=planned,
                rechecks=self.compared,
                computed=self.place.computed,
                submitted=self.place.submitted,
                failed=failed,
                recovered=self.place.recovered,
                counts={state: counts[state] for state in STATES if state in counts and state != "paper-only"},
                faults=self.faults,
                notes=[*self.place.notes, *self.store.damage.values()],
                files=files,
                digest=cells["values"],
            ),
            cells,
        )

    def _compute(self, before: Mapping[str, Any] | None) -> Agenda:
        """Settle what earlier nights began, then run or submit what is due; a dry run only lists it."""
        rechecks = Rechecks(self.store, self.nights.again)
        if self.wishes.run:
            rechecks.drop(self.graph)
            self._settle(rechecks, rechecks.waiting(self.graph))
        underway = rechecks.waiting(self.graph)
        planned = agenda(self.graph, self._circumstances(before, underway), self.wishes.budget * HOUR)
        if not self.wishes.run:
            planned.left += [*planned.missing, *planned.again]
            planned.missing, planned.again, planned.seconds = [], [], 0.0
            return planned
        missing = [due.job.key for due in planned.missing]
        if missing:
            self.place.bring(self.graph.needed_for(missing), self.store)
        again = [*underway, *(due.job.key for due in planned.again)]
        if again:
            self.place.repeat(rechecks.begin(self.graph, again, self.made), rechecks.again)
            self._settle(rechecks, again)
        return planned

    def _settle(self, rechecks: Rechecks, keys: list[str]) -> None:
        found, asked = rechecks.settle(self.graph, keys)
        self.compared += found
        now = time.time()
        if asked:
            self.nights.note_checked({key: {"when": now, "asked": asker or self.made} for key, asker in asked.items()})

    def _circumstances(self, before: Mapping[str, Any] | None, underway: list[str]) -> AgendaInputs:
        past = before or {"jobs": {}, "owed": []}
        return AgendaInputs(
            standing=self.place.standing,
            begun=lambda key: (self.store.folder(key) / JOB).exists(),
            past=past["jobs"],
            owed=past["owed"],
            made=self.made,
            checked=self.nights.checked(),
            written=self._finished,
            now=self.when,
            underway=frozenset(underway),
            chained=self.workspace.profile is not None,
            train=self.wishes.train,
            again=self.wishes.again,
        )

    def _finished(self, key: str) -> tuple[Mapping[str, Any], float]:
        result = self.store.result(key)
        try:
            return (result.provenance if result else {}), (self.store.folder(key) / RESULT).stat().st_mtime
        except OSError:
            return {}, 0.0

    def _render(self) -> tuple[list[Table], int]:
        finisher = Finisher(self.plan, self.store, self.place.elsewhere)
        names = self.plan.specs.ordered
        tables = [finisher.finish(name) for name in names]
        files = 0
        with redirect_stdout(sys.stderr):
            try:
                files += len(write_tables(self.workspace, tables, (*DEFAULT, MACROS), NUMBERS))
                files += len(draw_figures(self.workspace, self.plan.specs, self.store)[0])
                files += len(write_report(self.workspace, self.plan, self.store))
            except UserError as error:
                self.faults.append(str(error))
        return tables, files

    def _code(self, found: Changes, failed: Mapping[str, str]) -> int:
        if self.faults:
            return INFRASTRUCTURE
        if failed:
            return FAILED
        # A measurement is judged by its ratio to the reference, of which its cell shows one side only.
        another = any(one.outcome == "moved" and one.kind == "measure" for one in self.compared)
        return MOVED if found.beyond or another else SAME

    def _written(self, summary: Summary, cells: Mapping[str, Any]) -> Summary:
        if not self.wishes.run:
            # The next night compares with the last one that was recorded, however often somebody looks in between.
            return summary
        texts = {
            REPORT: as_markdown(summary),
            SUMMARY: as_json(summary),
            CELLS: json.dumps(cells, indent=1, ensure_ascii=False, sort_keys=True) + "\n",
        }
        folder = self.nights.write(self.when, texts)
        click.echo(f"written: {self.workspace.shown(folder)}", err=True)
        return summary
