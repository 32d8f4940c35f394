"""The reproducibility checklist of the site, answered from what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, assert_never

from replicate.render import wording
from replicate.render.overview import claims_said_apart
from replicate.site.book import Book, JobFacts
from replicate.site.recipe import blocks
from replicate.specs.noise import Noise
from replicate.store.code import UNKNOWN
from replicate.store.provenance import Provenance
from replicate.store.result import Result
from replicate.text import megabytes, plural, seconds, value

Answer = Literal["yes", "partly", "no", "not recorded"]
Facts = Iterable[str]
Listed = Iterable[tuple[str, str]]

NEURIPS, COMPLETENESS = "NeurIPS", "ML Code Completeness"


@dataclass(frozen=True, slots=True)
class Item:
    """``facts`` are sentences; ``listed`` are names, each with a text: values nobody published, failed jobs."""

    group: str
    question: str
    asked_by: str
    answer: Answer
    facts: tuple[str, ...]
    listed: tuple[tuple[str, str], ...] = ()


Ask = Callable[[Book], tuple[Answer, Facts, Listed]]
_ITEMS: list[tuple[str, str, str, Ask]] = []


def _asks(group: str, question: str, asked_by: str = NEURIPS) -> Callable[[Ask], Ask]:
    """Add an item to the checklist; the page has them in the order of this file."""

    def add(answer: Ask) -> Ask:
        _ITEMS.append((group, question, asked_by, answer))
        return answer

    return add


def checklist(book: Book) -> list[Item]:
    """Answer every item."""
    items = []
    for group, question, asked_by, ask in _ITEMS:
        answer, facts, listed = ask(book)
        items.append(Item(group, question, asked_by, answer, tuple(facts), tuple(listed)))
    return items


@_asks("Code", "Is there a command for every result?", COMPLETENESS)
def _commands(book: Book) -> tuple[Answer, Facts, Listed]:
    does = "trains and evaluates what is missing"
    if book.jobs_of("weights"):
        does = "evaluates what is missing, and trains what no published weights stand for unless --no-train is added"
    facts = [f"each command {does}; every job has its own on the page of its run"]
    return "yes", facts, [(table.id, book.command("table", "--id", table.id)) for table in book.tables]


@_asks("Code", "From which state of the code?")
def _code(book: Book) -> tuple[Answer, Facts, Listed]:
    results = _made(book)
    codes = Counter((made.code_digest[:12], made.commit[:12]) for made in results)
    facts = [
        f"{plural(number, 'job')}: commit {commit}, digest of the code's files {digest}"
        for (digest, commit), number in sorted(codes.items())
    ]
    if dirty := sum(made.dirty is True for made in results):
        facts.append(f"{plural(dirty, 'job')} of them ran with changes that were not committed")
    if unknown := sum(made.dirty is None for made in results):
        facts.append(f"of {plural(unknown, 'job')} git did not say whether the code was that of a commit")
    return "partly" if dirty or unknown else _recorded(book), facts, ()


@_asks("Code", "Which software, in which versions?", COMPLETENESS)
def _versions(book: Book) -> tuple[Answer, Facts, Listed]:
    sets = Counter(
        f"Python {made.python}, " + ", ".join(f"{name} {version}" for name, version in sorted(made.versions.items()))
        for made in _made(book)
    )
    facts = [f"{plural(number, 'job')}: {versions}" for versions, number in sorted(sets.items())]
    if len(sets) > 1:
        facts.append("the results are not all of one environment")
    facts.append("requirements.txt pins every package with its hash")
    return "partly" if len(sets) > 1 else _recorded(book), facts, ()


@_asks("Data", "Which data, and can it be told from another copy?")
def _data(book: Book) -> tuple[Answer, Facts, Listed]:
    jobs = book.jobs_of("data")
    done = sum(facts.result is not None for facts in jobs)
    listed = [(facts.job.key, _stated(facts.result)) for facts in jobs]
    answer: Answer = "yes" if done == len(jobs) else "partly" if done else "not recorded"
    return answer, ["sizes as found, and a fingerprint of the files"], listed


def _stated(result: Result | None) -> str:
    facts = result.summary.items() if result else ()
    return ", ".join(f"{name} {value(given)}" for name, given in facts) or "not made yet"


@_asks("Data", "Are the test images kept out of every choice?")
def _splits(book: Book) -> tuple[Answer, Facts, Listed]:
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
    return "partly", facts, ()


@_asks("Hyper-parameters", "Is every hyper-parameter given, with its source?")
def _parameters(book: Book) -> tuple[Answer, Facts, Listed]:
    """The values that something here was trained or evaluated with."""
    own: dict[tuple[str, str, str], bool] = {}
    unknown: dict[str, str] = {}
    for name in book.runs:
        for block in blocks(book.plan, book.sources, name):
            for row in block.rows if block.used else ():
                own[block.place, row.name, row.paper] = bool(row.source)
                if row.unknown:
                    unknown.setdefault(f"{block.title}: {row.name} = {row.paper}", row.source)
    total, sourced = len(own), sum(own.values())
    runs = set(book.runs) - book.plan.specs.scale.released.keys()
    facts = [
        f"{plural(total, 'value')} in the recipes of {plural(len(runs), 'run')}, all of them given",
        f"{sourced:,} have a source of their own; {total - sourced:,} only that at the head of their block",
        f"{plural(len(unknown), 'value')} nobody published: marked unknown, and chosen here"
        if unknown
        else "none is marked unknown",
    ]
    if published := book.jobs_of("weights"):
        facts.append(f"{_networks(published)}: nothing here was trained with their recipes, which are not counted")
    return "partly" if unknown or sourced < total else "yes", facts, unknown.items()


@_asks("Statistics", "How many runs is a number made of, with which seeds?")
def _seeds(book: Book) -> tuple[Answer, Facts, Listed]:
    seeds, trained, published = book.plan.seeds, book.jobs_of("train"), book.jobs_of("weights")
    facts = []
    if trained:
        facts += [
            f"{plural(len(seeds), 'seed')}: {', '.join(map(str, seeds))}",
            f"n = {len(seeds)} for every number that depends on a seed",
        ]
    teachers = {facts.job.inputs["teacher"] for facts in trained if "teacher" in facts.job.inputs}
    if any(book.jobs[key].job.trains for key in teachers):
        facts.append("students of every seed learn from the teacher of seed 0, so their spread is their own")
    if published:
        facts.append(f"{_networks(published)}: one training each, and its seed is not known here")
    return "yes" if len(seeds) > 1 else "partly", facts, ()


@_asks("Statistics", "Are there error bars, and how are they computed?")
def _errors(book: Book) -> tuple[Answer, Facts, Listed]:
    facts = [
        "± is half of a 95 % interval, by Student's t. Beside a number it covers what a rerun moves, seeds and test "
        "images, or says what it leaves out; beside a claim, each image is compared with itself in both networks",
        "seed noise is what the specs state and what several seeds of a table show, pooled by degrees of freedom; "
        "where neither says anything, a number and a claim are undecided (docs/statistics.md)",
        *map(_noise_said, book.plan.specs.noise),
    ]
    return "yes", facts, ()


def _noise_said(noise: Noise) -> str:
    """``training of deit-ti: 3.0 points, 48 degrees of freedom (nine seeds of Table 3)``."""
    of = [*noise.metrics, *noise.models, *map(str, noise.resolutions), *noise.data]
    known = "unknown" if noise.sd == "unknown" else f"{noise.sd:g}, {plural(noise.freedom, 'degree')} of freedom"
    what = "between heads" if noise.of == "heads" else "between trainings"
    return f"stated standard deviation {what} of {', '.join(of) or 'all networks'}: {known} ({noise.source})"


@_asks("Computing", "On which hardware was it made?")
def _hardware(book: Book) -> tuple[Answer, Facts, Listed]:
    machines = Counter(
        f"{_device(made)}{made.processor or 'processor not named'}, {made.system or 'system not named'}, "
        f"{plural(made.threads, 'thread')} a job"
        for made in _made(book)
    )
    precisions = Counter(made.machine.precision for made in _made(book))
    devices = Counter(str(device) for result in book.results if (device := result.summary.get("device")))
    facts = [f"{plural(number, 'job')}: {machine}" for machine, number in sorted(machines.items())]
    facts += [f"{plural(number, 'job')} computed with: {how}" for how, number in sorted(precisions.items())]
    facts += [f"{plural(number, 'measurement')} on {device}" for device, number in sorted(devices.items())]
    return "partly" if any(made.machine.kind == UNKNOWN for made in _made(book)) else _recorded(book), facts, ()


def _device(made: Provenance) -> str:
    """The GPU of a job, to stand before its processor."""
    match made.machine.kind:
        case "cpu":
            return ""
        case "cuda":
            return f"{made.machine.hardware}, "
        case "unknown":
            return "device unknown, "
        case _:
            assert_never(made.machine.kind)


@_asks("Computing", "How much computing did it take?")
def _compute(book: Book) -> tuple[Answer, Facts, Listed]:
    done = [facts for facts in book.jobs.values() if facts.result is not None]
    missing = [facts for facts in book.jobs.values() if facts.state != "done"]
    facts = []
    if done:
        wall, cpu = sum(job.wall or 0.0 for job in done), sum(job.cpu or 0.0 for job in done)
        facts += [
            f"{plural(len(done), 'job')} took {seconds(wall)} of wall time, {seconds(cpu)} of processor time",
            f"the largest job took {megabytes(max(job.peak or 0.0 for job in done))} of memory",
        ]
    if missing:
        left = sum(job.job.seconds for job in missing)
        processor = book.plan.specs.scale.processor
        facts.append(f"{plural(len(missing), 'job')} to go, estimated at {seconds(left)} of one {processor}")
    return _recorded(book), facts, ()


@_asks("Results", "Are the trained networks available?", COMPLETENESS)
def _weights(book: Book) -> tuple[Answer, Facts, Listed]:
    trained, published = book.jobs_of("train"), book.jobs_of("weights")
    stored = [job for job in trained if job.result and any(name.endswith(".safetensors") for name in job.result.files)]
    read = [job for job in published if job.result]
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
    return answer, facts, map(_file, published)


def _networks(published: list[JobFacts]) -> str:
    return f"{plural(len(published), 'network')} of published weights"


def _file(facts: JobFacts) -> tuple[str, str]:
    digest = f", SHA-256 {facts.result.summary['sha256']}" if facts.result else ", not read yet"
    return facts.job.run, f"{facts.job.own()['file']}{digest}"


@_asks("Results", "Are all results shown, also failures and what was not run?")
def _complete(book: Book) -> tuple[Answer, Facts, Listed]:
    cells = Counter(
        cell.state
        for table in book.tables
        for ref, cell in table.cells.items()
        if not ref.is_reference and cell.state != "text"
    )
    failed = [(entry.job.key, entry.trouble) for entry in book.jobs.values() if entry.state in ("failed", "damaged")]
    facts = [f"{number} numbers: {state}" for state, number in sorted(cells.items())]
    if failed:
        facts.append(f"{plural(len(failed), 'job')} failed")
    return "yes" if set(cells) <= {"done"} else "partly" if cells["done"] else "no", facts, failed


@_asks("Results", "Is every claim tested, and are those that do not hold listed?")
def _claims(book: Book) -> tuple[Answer, Facts, Listed]:
    verdicts = Counter[str](line.claim.verdict for line in book.claims)
    against = [
        (line.claim.text, f"{line.table.id}: {wording.claim_here(line.claim)}, {wording.claim_margin(line.claim)}")
        for line in book.claims
        if line.claim.verdict == "fails"
    ]
    answer: Answer = "yes" if verdicts and not verdicts["not run"] else "partly" if len(verdicts) > 1 else "no"
    return answer, [claims_said_apart(line.claim for line in book.claims)], against


def _made(book: Book) -> list[Provenance]:
    return [result.made for result in book.results]


def _recorded(book: Book) -> Answer:
    return "yes" if book.results else "not recorded"
