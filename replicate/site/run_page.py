"""The pages of runs and data sets: what a run is made of, its recipe, the numbers that rest on it, and its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from replicate import text
from replicate.jobs.measure import Measure
from replicate.jobs.train import Train
from replicate.jobs.weights import Weights
from replicate.judge.table import Cell, Table
from replicate.site.book import Book, JobFacts
from replicate.site.recipe import RUNS, blocks
from replicate.specs.run import RunSpec
from replicate.store.code import UNKNOWN
from replicate.store.provenance import Provenance


def context(book: Book, name: str) -> dict[str, object]:
    """What the template of a run's page is given."""
    jobs = [book.jobs[key] for key in book.runs[name]]
    run = book.plan.specs.runs.runs.get(name)
    return {
        "name": name,
        "comment": book.sources.of(RUNS, "runs", name),
        "what": _what(book, name, run, jobs) if run else [],
        "blocks": blocks(book.plan, book.sources, name) if run else [],
        "jobs": jobs,
        "numbers": _numbers(book, jobs, name),
    }


def data_context(book: Book, key: str) -> dict[str, object]:
    """What the template of a data set's page is given."""
    facts = book.jobs[key]
    bound = facts.job.own()["data"]
    named = {name: data.model_dump() for name, data in book.plan.specs.scale.data.items()}
    # Corrected labels name the data set they are of; in a job that is spelt out.
    full = {name: body | ({"of": named[body["of"]]} if "of" in body else {}) for name, body in named.items()}
    names = [name for name, body in full.items() if body == bound]
    validation = not names and bound.get("train") == 0
    if validation:
        # What networks are evaluated on is read without the training images of its data set (`Expander.test_data`).
        names = [name for name, body in full.items() if body | {"train": 0} == bound]
        del bound["train"]
    return {
        "heading": "Validation images" if validation else "Data",
        "names": names,
        "bound": bound,
        "facts": facts,
        "without": ["train"] if validation else [],
        "users": [name for name in book.runs if key in _inputs(book, name)],
    }


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in the list of runs; ``run`` is None for what only the jobs know by that name."""

    name: str
    run: RunSpec | None
    published: bool
    jobs: tuple[JobFacts, ...]

    @property
    def recipe(self) -> str:
        return "published weights" if self.published else (self.run.recipe if self.run else None) or "not trained"

    @property
    def trainings(self) -> list[JobFacts]:
        return [facts for facts in self.jobs if facts.job.trains and facts.job.run == self.name]

    @property
    def loss(self) -> float | None:
        """The mean over seeds."""
        results = [facts.result for facts in self.trainings if facts.result]
        losses = [loss for result in results if (loss := result.summary.get("loss")) is not None]
        return sum(losses) / len(losses) if losses else None

    @property
    def wall(self) -> float | None:
        costs = [facts.wall for facts in self.jobs if facts.wall is not None]
        return sum(costs) if costs else None


def run_lines(book: Book) -> list[RunLine]:
    """Every run, in the order of runs.toml."""
    runs, released = book.plan.specs.runs.runs, book.plan.specs.scale.released
    return [
        RunLine(name, runs.get(name), name in released, tuple(book.jobs[key] for key in keys))
        for name, keys in book.runs.items()
    ]


def _what(book: Book, name: str, run: RunSpec, jobs: list[JobFacts]) -> list[tuple[str, str, str]]:
    """Name, value and address of what the run is made of."""
    scale = book.plan.specs.scale
    pixels = scale.resolutions.get(str(run.resolution))
    model = scale.models.get(run.model)
    built = next((each.job.model.timm for each in jobs if isinstance(each.job, Train | Weights | Measure)), None)
    published = name in scale.released
    before = "in the paper, " if published else ""
    parts = [
        ("model", run.model + (f", here {built}" if built else ""), ""),
        ("resolution", f"{run.resolution} in the paper, here {pixels} pixels", ""),
        ("data", run.data, ""),
        (f"{before}starts from", run.init or "random weights", _address(book, run.init)),
        (f"{before}teacher", run.teacher or "none", _address(book, run.teacher)),
    ]
    if published:
        parts.append(("read, not trained", f"published weights, {scale.released[name]}", ""))
    if model and model.args:
        parts.insert(1, ("dimensions", text.value(dict(model.args)), ""))
    return parts


def _address(book: Book, name: str | None) -> str:
    return book.addresses.run(name) if name is not None and name in book.runs else ""


def _numbers(book: Book, jobs: list[JobFacts], name: str) -> list[tuple[Table, Cell]]:
    """The cells read from these jobs or that are about this run, each once, in the order of the tables."""
    places = {place for facts in jobs for place in facts.readers}
    return [
        (table, cell)
        for table in book.tables
        for ref, cell in table.cells.items()
        if cell.state != "text" and (book.run_of(cell) == name or ref in places)
    ]


def _inputs(book: Book, name: str) -> set[str]:
    return {key for job in book.runs[name] for key in book.jobs[job].job.inputs.values()}


def environment_of(provenance: Mapping[str, object]) -> list[tuple[str, str]]:
    """What made a result: the code first, the packages last."""
    made = Provenance.of(provenance)
    dirty = {True: "yes", False: "no", None: "not known"}[made.dirty]
    first = ("code_digest", "commit", "dirty", "packages", "machine", "processes")
    rest = {name: given for name, given in provenance.items() if name not in first}
    return [
        ("digest of the code", made.code_digest),
        ("commit", made.commit),
        ("uncommitted changes", dirty),
        *((name.replace("_", " "), text.value(given)) for name, given in rest.items()),
        ("device", made.machine.hardware),
        ("host", made.machine.host),
        ("processes", text.value(provenance.get("processes") or made.machine.processes or UNKNOWN)),
        ("computed with", made.machine.precision),
        *made.versions.items(),
    ]
