"""One night from its beginning to its summary: settle, plan, compute, render, compare, write."""

from __future__ import annotations

import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import assert_never

from replicate.actions.files import MACROS, NUMBERS, TABLE_FORMATS, write_figure, write_report, write_tables
from replicate.actions.paper import Paper
from replicate.actions.recheck import Rechecks
from replicate.actions.run_missing import watched
from replicate.backends.backend import Backend, JobStates, JobView, Reporter, RunReport
from replicate.errors import NotAvailable, ReplicateError, UserError
from replicate.figures.finish import finish_figure
from replicate.figures.load import figures_of
from replicate.figures.plan import plan_figure, with_figures
from replicate.jobs.job import HOUR, kind_named
from replicate.judge.finish import Finisher
from replicate.judge.table import Table
from replicate.nightly.agenda import Agenda, AgendaInputs, Progress, agenda
from replicate.nightly.changes import changes, new_devices
from replicate.nightly.history import CELLS, REPORT, SUMMARY, Checked, Nights
from replicate.nightly.snapshot import Snapshot, job_record, snapshot
from replicate.nightly.summary import Summary, as_json, as_markdown
from replicate.plan.answers import with_answers
from replicate.plan.cells import Plan
from replicate.plan.graph import Graph
from replicate.specs.load import scales
from replicate.specs.watch import TrackerName
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
    stop_suspicious: bool = False
    tracker: TrackerName | None = None


class Night:
    """One night. What goes wrong in it or around it becomes a fault of its summary, and the rest goes on."""

    plan: Plan
    graph: Graph
    backend: Backend
    states: JobStates

    def __init__(self, paper: Paper, options: NightlyOptions, store: Store, nights: Nights, reporter: Reporter) -> None:
        self.paper = paper
        self.options = options
        self.store = store
        self.nights = nights
        self.reporter = reporter
        self.began = time.time()
        self.snapshot: Snapshot | None = None
        self.summary = Summary(
            when=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.began)),
            scale=nights.world,
            seeds=paper.seeds,
            where=paper.profile.name if paper.profile else socket.gethostname(),
            made=provenance(),
            budget=options.budget,
            run=options.run,
        )

    def run(self) -> Summary:
        """Return the summary, which is also kept unless this is a look. Raises UserError where another night runs."""
        told = self.summary
        # Messages on the way belong to the log; standard output is the summary's.
        with ExitStack() as held, redirect_stdout(sys.stderr):
            try:
                if self._opened():
                    self._go(self.options.run and self._alone(held))
            except KeyboardInterrupt:
                told.faults.append("stopped by a signal (SIGTERM, or Ctrl-C)\n  the next night goes on from here")
            told.code = _exit_code(told)
            if self.options.run and told.scale in scales(self.paper.tables):
                self._keep()
                told.code = _exit_code(told)
        return told

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        """A part of the night whose failure is a fault of the summary."""
        try:
            yield
        except ReplicateError as error:
            fault = str(error)
        except OSError as error:
            fault = f"{name} failed: {error.filename or 'a file'} cannot be used: {error.strerror or error}"
        except Exception as error:
            # A mistake of this program: the log has where.
            traceback.print_exc()
            fault = f"{name} failed: {type(error).__name__}: {error}\n  the traceback stands in the log"
        else:
            return
        # A full disk meets every table.
        if fault not in self.summary.faults:
            self.summary.faults.append(fault)

    def _opened(self) -> bool:
        """Read the specs and plan; return whether that succeeded."""
        with self._part("planning"):
            specs = self.paper.specs()
            self.plan = self.paper.plan(specs.ordered, specs)
            self.graph = with_answers(with_figures(self.plan), specs, self.store)
            self.backend = self.paper.backend(specs.scale, self.reporter)
            self.summary.where = self.backend.name
            # What the store says alone, until the backend answers.
            self.states = JobStates(self.graph, self.store)
            return True
        return False

    def _alone(self, held: ExitStack) -> bool:
        """Take the store for this night alone, until ``held`` ends. Return False where it cannot be written."""
        alone = False
        with self._part("preparing the results"):
            self.backend.prepare(self.store)
            alone = held.enter_context(self.nights.sole())
            if alone:
                return True
        if self.summary.faults:
            return False
        raise UserError(
            f"{self.store.root}: another night is running: {self.nights.holder()}\n"
            "  nothing was done here; the next one goes on"
        )

    def _go(self, begins: bool) -> None:
        """All that follows planning. ``begins``: whether jobs may be settled and begun."""
        before, told = None, self.summary
        with self._part("reading the last night"):
            before = self.nights.last()
        planned = False
        with self._part("computing"):
            self.states = self.backend.look(self.graph, self.store)
            if begins or not self.options.run:
                told.agenda = self._compute(before)
                planned = True
        tables = self._finish()
        self._write_files(tables)
        with self._part("comparing"):
            owed = told.agenda.unfinished if planned else before.owed if before else ()
            after = self._compare(before, tables, owed)
            self.snapshot = after if begins else None

    def _compare(self, before: Snapshot | None, tables: list[Table], owed: Sequence[str]) -> Snapshot:
        """Say what is another than ``before``; return what there is now. owed: trainings that nights go on with."""
        told = self.summary
        counts = Counter[str](cell.state for table in tables for cell in table.cells.values())
        told.counts = {state: counts[state] for state in STATES if state in counts and state != "paper-only"}
        states = {job.key: self.states.in_a_table(job.key) for job in self.graph}
        jobs = {job.key: job_record(job, states[job.key], self.store) for job in self.graph}
        unfinished = [key for key in owed if states.get(key) not in (None, "done")]
        after = snapshot(self.plan, jobs, tables, told.made, unfinished, told.when, before)
        failed = {key: self.states.views[key].why for key, state in states.items() if state == "failed"}
        told.failed = failed | told.failed
        told.suspicious = self.states.suspicious()
        told.notes += self.store.damage.values()
        told.changes, told.digest = changes(before, after), after.values
        if before is not None and (other := differences(before.made, told.made, machine=True)):
            told.notes.append(f"changed since the last night: {'; '.join(other)}")
        if before is not None and (devices := new_devices(before.jobs, after.jobs)):
            told.notes.append(f"results of a device that had made none: {', '.join(devices)}")
        return after

    def _keep(self) -> None:
        """Write the summary, and what the next night compares with.

        A look is not kept: the next night is compared with the last one that ran, however many looks lie between.
        """
        with self._part("keeping the summary"):
            texts = {REPORT: as_markdown(self.summary), SUMMARY: as_json(self.summary)}
            if self.snapshot is not None:
                texts[CELLS] = self.snapshot.text()
            folder = self.nights.write(self.began, texts)
            print(f"written: {self.paper.shown(folder)}", file=sys.stderr)

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
        graph = watched(graph, self.options.stop_suspicious, self.options.tracker)
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
        faults = [*map(str, report.refused), *([report.stuck] if report.stuck else [])]
        self.summary.faults += [fault for fault in faults if fault not in self.summary.faults]

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
            begun=lambda key: (self.store.folder(key) / JOB).exists() or bool(self.states.submissions_of(key)),
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

    def _finish(self) -> list[Table]:
        """The tables as they stand now; one that cannot be judged is left out."""
        tables: list[Table] = []
        with self._part("judging"):
            finisher = Finisher(self.plan, self.store, self.states.elsewhere())
            for name in self.plan.specs.ordered:
                with self._part(f"judging table {name}"):
                    tables.append(finisher.finish(name))
        return tables

    def _write_files(self, tables: list[Table]) -> None:
        """Write all files; what cannot be written is left out, and only that."""
        told, specs = self.summary, self.plan.specs
        for table in tables:
            for name in TABLE_FORMATS:
                with self._part(f"table {table.id} ({name})"):
                    told.files += len(write_tables(self.paper, [table], (name,), NUMBERS))
        with self._part(NUMBERS):
            told.files += len(write_tables(self.paper, tables, (MACROS,), NUMBERS, self._part))
        for name in figures_of(specs).specs:
            with self._part(f"figure {name}"):
                try:
                    figure = finish_figure(plan_figure(specs, name, self.paper.seeds), self.store)
                    told.files += len(write_figure(self.paper, figure))
                except NotAvailable as error:
                    print(f"no figures: {error}")
                    break
        with self._part("the report"):
            told.files += len(write_report(self.paper, self.plan, self.store))


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
