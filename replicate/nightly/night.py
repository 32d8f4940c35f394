"""One night from its beginning to its summary: settle, plan, compute, render, compare, write."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import assert_never

from replicate.actions.files import MACROS, NUMBERS, TABLE_FORMATS, write_figures, write_report, write_tables
from replicate.actions.paper import Paper
from replicate.actions.recheck import Rechecks
from replicate.backends.backend import JobStates, JobView, Reporter, RunReport
from replicate.errors import UserError
from replicate.figures.plan import with_figures
from replicate.jobs.job import HOUR, kind_named
from replicate.judge.finish import Finisher
from replicate.judge.table import Table
from replicate.nightly.agenda import Agenda, AgendaInputs, Progress, agenda
from replicate.nightly.changes import changes, new_devices
from replicate.nightly.history import CELLS, REPORT, SUMMARY, Checked, Nights
from replicate.nightly.snapshot import Snapshot, job_record, snapshot
from replicate.nightly.summary import Summary, as_json, as_markdown
from replicate.plan.cells import Plan
from replicate.plan.graph import Graph
from replicate.store.provenance import differences, provenance
from replicate.store.result import JOB, RESULT
from replicate.store.store import Store
from replicate.text import STATES

SAME, MOVED, FAILED, INFRASTRUCTURE = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class NightlyOptions:
    """``budget``: hours of one processor of the scale. ``run=False``: a dry run, of which nothing is stored."""

    budget: float
    train: bool = False
    again: bool = False
    run: bool = True


class Night:
    """One night. What goes wrong around it (Slurm, disk) becomes a fault of its summary, and the night goes on."""

    def __init__(
        self, paper: Paper, options: NightlyOptions, plan: Plan, store: Store, nights: Nights, reporter: Reporter
    ) -> None:
        self.paper = paper
        self.options = options
        self.plan = plan
        self.store = store
        self.nights = nights
        self.graph = with_figures(plan)
        self.backend = paper.backend(plan.specs.scale, reporter)
        # What the store says alone, until the backend answers.
        self.states = JobStates(self.graph, store)
        self.began = time.time()
        self.summary = Summary(
            when=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.began)),
            scale=plan.specs.namespace,
            seeds=plan.seeds,
            where=self.backend.name,
            made=provenance(),
            budget=options.budget,
            run=options.run,
        )

    def run(self) -> Summary:
        before, told = self.nights.last(), self.summary
        try:
            # Messages on the way belong to the log; standard output is the summary's.
            with redirect_stdout(sys.stderr):
                self.states = self.backend.look(self.graph, self.store)
                told.agenda = self._compute(before)
        except UserError as error:
            told.faults.append(str(error))
        tables = self._render()
        counts = Counter[str](cell.state for table in tables for cell in table.cells.values())
        told.counts = {state: counts[state] for state in STATES if state in counts and state != "paper-only"}
        states = {job.key: self.states.in_a_table(job.key) for job in self.graph}
        jobs = {job.key: job_record(job, states[job.key], self.store) for job in self.graph}
        unfinished = [key for key in told.agenda.unfinished if states[key] != "done"]
        after = snapshot(self.plan, jobs, tables, told.made, unfinished, told.when, before)
        failed = {key: self.states.views[key].why for key, state in states.items() if state == "failed"}
        told.failed = failed | told.failed
        told.notes += self.store.damage.values()
        told.changes, told.digest = changes(before, after), after.values
        if before is not None and (other := differences(before.made, told.made, machine=True)):
            told.notes.append(f"changed since the last night: {'; '.join(other)}")
        if before is not None and (devices := new_devices(before.jobs, after.jobs)):
            told.notes.append(f"results of a device that had made none: {', '.join(devices)}")
        told.code = _exit_code(told)
        if self.options.run:
            # A look is not kept: the next night is compared with the last one that ran, however many looks lie between.
            texts = {REPORT: as_markdown(told), SUMMARY: as_json(told), CELLS: after.text()}
            folder = self.nights.write(self.began, texts)
            print(f"written: {self.paper.shown(folder)}", file=sys.stderr)
        return told

    def _compute(self, before: Snapshot | None) -> Agenda:
        """Settle what earlier nights began, then run or submit what is due; a dry run only lists it."""
        rechecks = Rechecks(self.store, self.nights.again)
        if self.options.run:
            rechecks.drop(self.graph)
            self._settle(rechecks, rechecks.waiting(self.graph))
        underway = rechecks.waiting(self.graph)
        planned = agenda(self.graph, self._inputs(before, underway), self.options.budget * HOUR)
        if not self.options.run:
            planned.over_budget += [*planned.missing, *planned.again]
            planned.missing, planned.again, planned.seconds = [], [], 0.0
            return planned
        missing = [due.job.key for due in planned.missing]
        if missing:
            self._run(self.graph.needed_for(missing))
        again = [*underway, *(due.job.key for due in planned.again)]
        if again:
            report = self.backend.rerun(
                rechecks.begin(self.graph, again, self.summary.made), rechecks.again, ["nightly-again"]
            )
            self.summary.failed |= {key: f"computed again: {reason}" for key, reason in report.failed.items()}
            self._note(report)
            self._settle(rechecks, again)
        return planned

    def _run(self, graph: Graph) -> None:
        """Run or submit what is missing of ``graph``."""
        before = dict(self.states.views)
        report = self.backend.run(graph, self.store, ["nightly"])
        self._note(report)
        self.summary.computed += report.done
        if self.backend.chains:
            # What Slurm gave up is in the states, and what it has not given up goes on by itself.
            ended = {key: view.why for key, view in before.items() if view.state in ("failed", "lost")}
            self.summary.recovered |= {key: ended[key] for key in report.submitted if key in ended}
        else:
            self.summary.failed |= report.failed
        if report.states is not None:
            self.states.views.update(report.states.views)

    def _note(self, report: RunReport) -> None:
        self.summary.submitted |= report.submitted
        self.summary.notes += report.notes

    def _settle(self, rechecks: Rechecks, keys: list[str]) -> None:
        settled, asked = rechecks.settle(self.graph, keys)
        self.summary.rechecks += settled
        now = time.time()
        if asked:
            entries = {key: Checked(when=now, asked=asker or self.summary.made) for key, asker in asked.items()}
            self.nights.note_checked(entries)

    def _inputs(self, before: Snapshot | None, underway: list[str]) -> AgendaInputs:
        return AgendaInputs(
            progress_of=lambda key: progress_of(self.states.views[key]),
            begun=lambda key: (self.store.folder(key) / JOB).exists(),
            past=before.jobs if before else {},
            unfinished=before.owed if before else (),
            made=self.summary.made,
            checked=self.nights.checked(),
            written=self._finished,
            now=self.began,
            underway=frozenset(underway),
            chained=self.backend.chains,
            read=self.plan.keys,
            train=self.options.train,
            again=self.options.again,
        )

    def _finished(self, key: str) -> tuple[Mapping[str, object], float]:
        result = self.store.result(key)
        try:
            return (result.provenance if result else {}), (self.store.folder(key) / RESULT).stat().st_mtime
        except OSError:
            return {}, 0.0

    def _render(self) -> list[Table]:
        """Finish all tables, and write all files."""
        finisher = Finisher(self.plan, self.store, self.states.elsewhere())
        tables = [finisher.finish(name) for name in self.plan.specs.ordered]
        told = self.summary
        with redirect_stdout(sys.stderr):
            try:
                told.files += len(write_tables(self.paper, tables, (*TABLE_FORMATS, MACROS), NUMBERS))
                drawn = write_figures(self.paper, self.plan.specs, self.store)
                told.files += len(drawn.paths)
                if drawn.why_not:
                    print(f"no figures: {drawn.why_not}")
                told.files += len(write_report(self.paper, self.plan, self.store))
            except UserError as error:
                told.faults.append(str(error))
        return tables


def _exit_code(told: Summary) -> int:
    if told.faults:
        return INFRASTRUCTURE
    if told.failed:
        return FAILED
    # A measurement is judged by its ratio to the reference, of which its cell shows one side only.
    another = any(recheck.outcome == "moved" and kind_named(recheck.kind).timed for recheck in told.rechecks)
    return MOVED if told.changes.beyond or another else SAME


def progress_of(view: JobView) -> Progress:
    """What a night can do about a job."""
    match view.state:
        case "done":
            return "done"
        case "running" | "pending":
            return "busy"
        case "blocked":
            return "stuck"
        case "failed" | "lost" | "damaged" | "absent":
            return "open" if view.again else "stuck"
        case _:
            assert_never(view.state)
