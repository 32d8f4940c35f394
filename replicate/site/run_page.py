"""The page of a run: curves, recipe with its sources, numbers that rest on it, and each of its jobs as it stands."""

from __future__ import annotations

from typing import Any

from replicate import text
from replicate.jobs.measure import Measure
from replicate.jobs.train import Train
from replicate.jobs.weights import Weights
from replicate.judge.table import Cell, Table
from replicate.site.book import Book, JobFacts
from replicate.site.curve import draw, draw_validation
from replicate.site.recipe import blocks
from replicate.specs.run import RunSpec
from replicate.text import plural


def context(book: Book, name: str) -> dict[str, Any]:
    """What the template of a run's page is given."""
    jobs = [book.jobs[key] for key in book.runs[name]]
    run = book.plan.specs.runs.runs.get(name)
    return {
        "name": name,
        "said": book.sources.of("runs.toml", "runs", name),
        "what": _what(book, name, run, jobs) if run else [],
        "blocks": blocks(book.plan, book.sources, name) if run else [],
        "jobs": [job(book, facts) for facts in jobs],
        "numbers": _numbers(book, jobs, name),
        "summary": summary(book, name),
    }


def data_context(book: Book, key: str) -> dict[str, Any]:
    """What the template of a data set's page is given."""
    facts = book.jobs[key]
    bound = facts.job.own()["data"]
    users = [(name, book.addresses.run(name)) for name in book.runs if key in _inputs(book, name)]
    named = {name: data.model_dump() for name, data in book.plan.specs.scale.data.items()}
    # Corrected labels name the data set they are of; in a job that is spelt out.
    full = {name: body | ({"of": named[body["of"]]} if "of" in body else {}) for name, body in named.items()}
    names = [name for name, body in full.items() if body == bound]
    heading, shown = "Data", job(book, facts)
    if not names and bound.get("train") == 0:
        # What networks are evaluated on is read without the training images of its data set (`Expander.test_data`).
        names = [name for name, body in full.items() if body | {"train": 0} == bound]
        heading = "Validation images"
        del bound["train"]
        shown["results"] = [(what, text) for what, text in shown["results"] if what != "train"]
    return {
        "name": key,
        "heading": heading,
        "names": names,
        "bound": _pairs(bound),
        "job": shown,
        "users": users,
    }


def summary(book: Book, name: str) -> dict[str, Any]:
    """A run in one line, for the list of runs."""
    facts = [book.jobs[key] for key in book.runs[name]]
    run = book.plan.specs.runs.runs.get(name)
    published = name in book.plan.specs.scale.released
    trainings = [one for one in facts if one.job.kind == "train" and one.job.run == name]
    states = list(dict.fromkeys(one.shown for one in facts))
    losses = [one.result.summary["loss"] for one in trainings if one.result and "loss" in one.result.summary]
    costs = [one.result.cost["wall_seconds"] for one in facts if one.result]
    return {
        "name": name,
        "href": book.addresses.run(name),
        "model": run.model if run else "",
        "resolution": run.resolution if run else "",
        "recipe": "published weights" if published else (run.recipe if run else None) or "not trained",
        "teacher": (run.teacher if run else None) or "",
        "init": (run.init if run else None) or "",
        "states": states,
        "loss": f"{sum(losses) / len(losses):.3f}" if losses else "",
        "seeds": len(trainings),
        "seconds": sum(costs),
        "wall": text.seconds(sum(costs)) if costs else "",
    }


def job(book: Book, facts: JobFacts) -> dict[str, Any]:
    """A job with all that was recorded of it."""
    result = facts.result
    made = result.provenance if result else {}
    curve = facts.curve()
    seed = "" if facts.seed is None else f", seed {facts.seed}"
    return {
        "facts": facts,
        "key": facts.job.key,
        "title": f"{facts.job.title or facts.job.kind}{seed}",
        "state": facts.shown,
        "picture": draw(curve, f"Training curve of {facts.job.key}"),
        "validation": draw_validation(curve, f"Validation curve of {facts.job.key}"),
        "curve": curve,
        "inputs": [(role, key, book.addresses.job(key)) for role, key in facts.job.inputs.items()],
        "results": _pairs(result.summary) if result else [],
        "cost": _cost(facts),
        "made": _made(made) if made else [],
        "files": _files(facts),
        "served": plural(facts.served, "number"),
    }


def _what(book: Book, name: str, run: RunSpec, jobs: list[JobFacts]) -> list[tuple[str, str, str]]:
    """Name, value and address of what the run is made of."""
    scale = book.plan.specs.scale
    pixels = scale.resolutions.get(str(run.resolution))
    model = scale.models.get(run.model)
    built = next((each.job.model.timm for each in jobs if isinstance(each.job, Train | Weights | Measure)), None)
    published = name in scale.released
    before = "in the paper, " if published else ""
    found = [
        ("model", run.model + (f", here {built}" if built else ""), ""),
        ("resolution", f"{run.resolution} in the paper, here {pixels} pixels", ""),
        ("data", run.data, ""),
        (f"{before}starts from", run.init or "random weights", _address(book, run.init)),
        (f"{before}teacher", run.teacher or "none", _address(book, run.teacher)),
    ]
    if published:
        found.append(("read, not trained", f"published weights, {scale.released[name]}", ""))
    if model and model.args:
        found.insert(1, ("dimensions", text.value(dict(model.args)), ""))
    return found


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


def _cost(facts: JobFacts) -> list[tuple[str, str]]:
    if facts.result is None:
        return []
    cost = facts.result.cost
    return [
        ("wall time", text.seconds(cost["wall_seconds"])),
        ("processor time", text.seconds(cost["cpu_seconds"])),
        ("peak memory", text.megabytes(cost["peak_mb"])),
        ("planned", text.seconds(facts.job.seconds)),
    ]


def _made(made: Any) -> list[tuple[str, str]]:
    dirty = {True: "yes", False: "no", None: "not known"}[made.get("dirty")]
    packages = {name: version for name, version in (made.get("packages") or {}).items() if version}
    rest = {name: item for name, item in made.items() if name not in ("commit", "dirty", "packages")}
    return [
        ("commit", str(made.get("commit", "unknown"))),
        ("uncommitted changes", dirty),
        *_pairs(rest),
        *((name, str(version)) for name, version in packages.items()),
    ]


def _files(facts: JobFacts) -> list[dict[str, Any]]:
    if facts.result is None:
        return []
    found = []
    for name, digest in facts.result.files.items():
        try:
            size = facts.result.path(name).stat().st_size
        except OSError:
            size = 0
        found.append({"name": f"{facts.job.key}/{name}", "bytes": size, "size": text.size(size), "sha256": digest})
    return found


def _pairs(values: Any) -> list[tuple[str, str]]:
    return [(str(name).replace("_", " "), text.value(given)) for name, given in values.items()]


def _inputs(book: Book, name: str) -> set[str]:
    return {key for job in book.runs[name] for key in book.jobs[job].job.inputs.values()}
