"""The reproducibility checklist of the site, filled in from what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from replicate.render import wording
from replicate.render.overview import claims_said
from replicate.site.book import Book, JobFacts
from replicate.site.recipe import blocks
from replicate.store.result import Result
from replicate.text import megabytes, plural, seconds, value

Answer = Literal["yes", "partly", "no", "not recorded"]

NEURIPS, COMPLETENESS = "NeurIPS", "ML Code Completeness"


@dataclass(frozen=True, slots=True)
class Item:
    """``facts`` are sentences, ``listed`` names with what is said of each: values nobody published, failed jobs."""

    group: str
    question: str
    asked_by: str
    answer: Answer
    facts: tuple[str, ...]
    listed: tuple[tuple[str, str], ...] = ()


def splits(book: Book, results: list[Result]) -> Item:
    """What the test images had a say in."""
    facts = []
    if book.jobs_of("train"):
        facts += [
            f"the {book.plan.specs.runs.evaluation.weights} weights of a training are evaluated, once; no training "
            "here is stopped or picked by what it scores on the test images",
            "with several seeds the mean is shown, never the best",
        ]
    if published := book.jobs_of("weights"):
        facts.append(f"{_networks(published)}: by what their trainings were stopped or picked is not known here")
    facts.append(
        "the recipe is an input: on which images its authors chose it is not recorded, and the paper's accuracies "
        "are themselves of ImageNet's validation images (deit#62)"
    )
    return Item("Data", "Are the test images kept out of every choice?", NEURIPS, "partly", tuple(facts))


def seeds(book: Book, results: list[Result]) -> Item:
    """Which seeds there are, of what."""
    used, trained, published = book.plan.seeds, book.jobs_of("train"), book.jobs_of("weights")
    facts = []
    if trained:
        facts += [
            f"{plural(len(used), 'seed')}: {', '.join(map(str, used))}",
            f"n = {len(used)} for every number that depends on a seed",
        ]
    teachers = {facts.job.inputs["teacher"] for facts in trained if "teacher" in facts.job.inputs}
    if any(book.jobs[key].job.kind == "train" for key in teachers):
        facts.append("students of every seed learn from the teacher of seed 0, so their spread is their own")
    if published:
        facts.append(f"{_networks(published)}: one training each, and its seed is not known here")
    answer: Answer = "yes" if len(used) > 1 else "partly"
    return Item("Statistics", "How many runs is a number made of, with which seeds?", NEURIPS, answer, tuple(facts))


def parameters(book: Book, results: list[Result]) -> Item:
    """The values that something here was trained or evaluated with."""
    own: dict[tuple[str, str, str], bool] = {}
    listed: dict[str, str] = {}
    for name in book.runs:
        for block in blocks(book.plan, book.sources, name):
            for row in block.rows if block.used else ():
                own[block.place, row.name, row.paper] = bool(row.source)
                if row.unknown:
                    listed.setdefault(f"{block.title}: {row.name} = {row.paper}", row.source)
    total, sourced = len(own), sum(own.values())
    published = book.jobs_of("weights")
    runs = set(book.runs) - book.plan.specs.scale.released.keys()
    facts = [
        f"{plural(total, 'value')} in the recipes of {plural(len(runs), 'run')}, all of them given",
        f"beside {sourced:,} stands who says so; {total - sourced:,} have only what the head of their block says",
        f"{plural(len(listed), 'value')} nobody published: marked unknown, and chosen here"
        if listed
        else "none is marked unknown",
    ]
    if published:
        facts.append(f"{_networks(published)}: nothing here was trained with their recipes, which are not counted")
    answer: Answer = "partly" if listed or sourced < total else "yes"
    question = "Is every hyper-parameter given, with its source?"
    return Item("Hyper-parameters", question, NEURIPS, answer, tuple(facts), tuple(listed.items()))


def weights(book: Book, results: list[Result]) -> Item:
    """Where the networks behind the numbers are to be had."""
    trained, published = book.jobs_of("train"), book.jobs_of("weights")
    stored = [one for one in trained if one.result and any(name.endswith(".safetensors") for name in one.result.files)]
    read = [one for one in published if one.result]
    facts = []
    if trained:
        facts += [
            f"the weights of {plural(len(stored), 'training')} are stored, each file with its SHA-256",
            "they are not published: the commands make them again",
        ]
    if published:
        facts.append(
            f"{_networks(published)}, {len(read):,} of them read here: each file's SHA-256 must begin with the digits "
            "in its name"
        )
    answer: Answer = "partly" if stored or read else "no"
    if published and not trained and len(read) == len(published):
        answer = "yes"
    question = "Are the trained networks available?"
    return Item("Results", question, COMPLETENESS, answer, tuple(facts), tuple(map(_file, published)))


def _networks(published: list[JobFacts]) -> str:
    return f"{plural(len(published), 'network')} of published weights"


def _file(facts: JobFacts) -> tuple[str, str]:
    digest = f", SHA-256 {facts.result.summary['sha256']}" if facts.result else ", not read yet"
    return facts.job.run, f"{facts.job.payload['file']}{digest}"


def checklist(book: Book) -> list[Item]:
    """Every item, in the order of the page."""
    results = [facts.result for facts in book.jobs.values() if facts.result is not None]
    return [ask(book, results) for ask in _ITEMS]


def _hardware(book: Book, results: list[Result]) -> Item:
    machines = Counter(
        f"{made['processor'] or 'processor not named'}, {made['system'] or 'system not named'}, "
        f"{plural(made['threads'], 'thread')} a job"
        for made in _made(results)
    )
    devices = Counter(str(result.summary["device"]) for result in results if result.summary.get("device"))
    facts = [f"{plural(number, 'job')}: {machine}" for machine, number in sorted(machines.items())]
    facts += [f"{plural(number, 'measurement')} on {device}" for device, number in sorted(devices.items())]
    return Item("Computing", "On which hardware was it made?", NEURIPS, _recorded(results), tuple(facts))


def _compute(book: Book, results: list[Result]) -> Item:
    wall = sum(result.cost["wall_seconds"] for result in results)
    cpu = sum(result.cost["cpu_seconds"] for result in results)
    peak = max((result.cost["peak_mb"] for result in results), default=0.0)
    missing = [facts for facts in book.jobs.values() if facts.state != "done"]
    facts = []
    if results:
        facts.append(
            f"{plural(len(results), 'job')} took {seconds(wall)} of wall time, {seconds(cpu)} of processor time"
        )
        facts.append(f"the largest job took {megabytes(peak)} of memory")
    if missing:
        left = sum(facts.job.seconds for facts in missing)
        processor = book.plan.specs.scale.processor
        facts.append(f"{plural(len(missing), 'job')} to go, estimated at {seconds(left)} of one {processor}")
    return Item("Computing", "How much computing did it take?", NEURIPS, _recorded(results), tuple(facts))


def _versions(book: Book, results: list[Result]) -> Item:
    sets = Counter(
        f"Python {made['python']}, "
        + ", ".join(f"{name} {version}" for name, version in sorted(made["packages"].items()) if version)
        for made in _made(results)
    )
    facts = [f"{plural(number, 'job')}: {versions}" for versions, number in sorted(sets.items())]
    if len(sets) > 1:
        facts.append("the results are not all of one environment")
    facts.append("requirements.txt pins every package with its hash")
    answer: Answer = _recorded(results) if len(sets) <= 1 else "partly"
    return Item("Code", "Which software, in which versions?", COMPLETENESS, answer, tuple(facts))


def _code(book: Book, results: list[Result]) -> Item:
    commits = Counter(made["commit"] for made in _made(results))
    dirty = sum(made["dirty"] is True for made in _made(results))
    unknown = sum(made["dirty"] is None for made in _made(results))
    facts = [f"{plural(number, 'job')}: commit {commit[:12]}" for commit, number in sorted(commits.items())]
    if dirty:
        facts.append(f"{plural(dirty, 'job')} of them ran with changes that were not committed")
    if unknown:
        facts.append(f"of {plural(unknown, 'job')} the state of the code is not known (no git there)")
    answer: Answer = "partly" if dirty or unknown else _recorded(results)
    return Item("Code", "From which state of the code?", NEURIPS, answer, tuple(facts))


def _commands(book: Book, results: list[Result]) -> Item:
    listed = tuple((table.id, book.command("table", "--id", table.id)) for table in book.tables)
    does = "trains and evaluates what is missing"
    if book.jobs_of("weights"):
        does = "evaluates what is missing, and trains what no published weights stand for unless --no-train is added"
    facts = (f"each command {does}; every job has its own on the page of its run",)
    return Item("Code", "Is there a command for every result?", COMPLETENESS, "yes", facts, listed)


def _data(book: Book, results: list[Result]) -> Item:
    listed = []
    for facts in book.jobs.values():
        if facts.job.kind != "data":
            continue
        found = facts.result.summary if facts.result else {}
        stated = ", ".join(f"{name} {value(item)}" for name, item in found.items()) or "not made yet"
        listed.append((facts.job.key, stated))
    made = sum(stated != "not made yet" for _, stated in listed)
    answer: Answer = "yes" if made == len(listed) else "partly" if made else "not recorded"
    said = ("sizes as found, and a fingerprint of the files",)
    return Item("Data", "Which data, and can it be told from another copy?", NEURIPS, answer, said, tuple(listed))


def _errors(book: Book, results: list[Result]) -> Item:
    scale = book.plan.specs.scale
    several = len(book.plan.seeds) > 1
    own = (
        "± beside a number is its standard error over seeds: the sample standard deviation (n − 1) by the root of n"
        if several
        else "± beside a number is its standard error over test images (binomial); one seed says nothing of other seeds"
    )
    facts = (
        own,
        "± beside a claim is paired over the test images: each image is compared with itself in both networks",
        f"seed noise enters the claims with a standard deviation of {scale.seed_sd:g} points ({scale.seed_sd_source})"
        + (", or with what the seeds show where that is larger" if several else ""),
        "a verdict needs the whole 95 % interval on one side: 1.96 standard errors, or Student's t where seeds are few",
    )
    return Item("Statistics", "Are there error bars, and how are they computed?", NEURIPS, "yes", facts)


def _complete(book: Book, results: list[Result]) -> Item:
    cells = Counter(
        cell.state
        for table in book.tables
        for ref, cell in table.cells.items()
        if not ref.is_reference and cell.state != "text"
    )
    failed = tuple(
        (facts.job.key, facts.trouble) for facts in book.jobs.values() if facts.state in ("failed", "damaged")
    )
    facts = [f"{number} numbers: {state}" for state, number in sorted(cells.items())]
    if failed:
        facts.append(f"{plural(len(failed), 'job')} failed")
    answer: Answer = "yes" if set(cells) <= {"done"} else "partly" if cells["done"] else "no"
    question = "Are all results shown, also failures and what was not run?"
    return Item("Results", question, NEURIPS, answer, tuple(facts), failed)


def _claims(book: Book, results: list[Result]) -> Item:
    verdicts: Counter[str] = Counter(claim.verdict for table in book.tables for claim in table.claims)
    against = tuple(
        (claim.text, f"{table.id}: {wording.claim_here(claim)}, {wording.claim_margin(claim)}")
        for table in book.tables
        for claim in table.claims
        if claim.verdict == "fails"
    )
    answer: Answer = "yes" if verdicts and not verdicts["not run"] else "partly" if len(verdicts) > 1 else "no"
    question = "Is every claim tested, and are those that do not hold listed?"
    return Item("Results", question, NEURIPS, answer, (claims_said(verdicts),), against)


def _made(results: Iterable[Result]) -> list[Mapping[str, Any]]:
    return [{**_NOT_SAID, **result.provenance} for result in results]


_NOT_SAID: Mapping[str, Any] = {
    "commit": "unknown",
    "dirty": None,
    "python": "unknown",
    "packages": {},
    "processor": "",
    "system": "",
    "threads": 1,
}
"""What stands for what an older result did not record."""


_ITEMS: tuple[Callable[[Book, list[Result]], Item], ...] = (
    _commands,
    _code,
    _versions,
    _data,
    splits,
    parameters,
    seeds,
    _errors,
    _hardware,
    _compute,
    weights,
    _complete,
    _claims,
)


def _recorded(results: list[Result]) -> Answer:
    return "yes" if results else "not recorded"
