"""The questions of the checklist about networks: what is said of those trained here is not said of published ones."""

from __future__ import annotations

from replicate.english import count
from replicate.render.site.book import Book, JobFacts
from replicate.render.site.checklist_item import COMPLETENESS, NEURIPS, Answer, Item
from replicate.render.site.recipe import blocks
from replicate.store.result import Result


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
            f"{count(len(used), 'seed')}: {', '.join(map(str, used))}",
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
        f"{count(total, 'value')} in the recipes of {count(len(runs), 'run')}, all of them given",
        f"beside {sourced:,} stands who says so; {total - sourced:,} have only what the head of their block says",
        f"{count(len(listed), 'value')} nobody published: marked unknown, and chosen here"
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
            f"the weights of {count(len(stored), 'training')} are stored, each file with its SHA-256",
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
    return f"{count(len(published), 'network')} of published weights"


def _file(facts: JobFacts) -> tuple[str, str]:
    digest = f", SHA-256 {facts.result.summary['sha256']}" if facts.result else ", not read yet"
    return facts.job.run, f"{facts.job.payload['file']}{digest}"
