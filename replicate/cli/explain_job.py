"""What `explain` says of one job: what it computes, what came out, what it was made with, how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from replicate.cli.workspace import Workspace
from replicate.metrics.stated import TIMES
from replicate.plan.graph import Graph
from replicate.plan.job import Job, Kind
from replicate.store.files import read_json
from replicate.store.result import Result
from replicate.store.store import Store
from replicate.text import number, pairs, plural, said

Line = tuple[str, str]
"""A word and what it is about."""

SIZES = {"train": "training image", "test": "test image"}


def lines(workspace: Workspace, store: Store, graph: Graph, job: Job) -> list[str]:
    """A paragraph about ``job``; ``graph`` holds what it reads."""
    state, result = store.state(job.key), store.result(job.key)
    known = replace(job, seed=graph.seed_of(job))
    found = [*_KINDS[job.kind](known, result), *(_made(workspace, result) if result else ())]
    waiting = _waiting(store, graph, job)
    if waiting:
        missing = f"{plural(waiting, 'job')} that it reads {'has' if waiting == 1 else 'have'} no result"
        found.append(("first", f"{missing}: the command below begins there"))
    found.append(("alone" if state == "done" else "to run it", command(workspace, store, graph, job)))
    head = f"{job.key}  [{'not run' if state == 'absent' else state}]"
    return [head, *(f"  {name:<11} {text}" for name, text in found)]


def command(workspace: Workspace, store: Store, graph: Graph, job: Job) -> str:
    """The whole command that makes ``job`` (again) where this call looks for it; ``graph`` holds what it reads."""
    state = store.state(job.key)
    again = ["--again"] if state == "done" else []
    if state == "failed" and store.fails_again(job.key):
        again = ["--retry"]
    seed = graph.seed_of(job)
    seeds = ["--seeds", str(seed)] if seed else []
    return shlex.join(["python", "-m", "replicate", "run", job.key, *again, *seeds, *workspace.given])


def _waiting(store: Store, graph: Graph, job: Job) -> int:
    return sum(one.key != job.key and store.result(one.key) is None for one in graph.needed_for([job.key]))


def _data(job: Job, result: Result | None) -> Iterator[Line]:
    body = dict(job.payload["data"])
    # No training images: whoever evaluates reads none (`Expander.test_data`).
    sizes = [plural(size, noun) for name, noun in SIZES.items() if (size := body.pop(name, 0))]
    yield "sizes", ", ".join([*sizes, f"{body.pop('classes')} classes"])
    yield "data", pairs(body)
    yield from _summary(result)


def _weights(job: Job, result: Result | None) -> Iterator[Line]:
    payload = job.payload
    yield "run", f"{job.run} (tables/runs.toml), published weights in place of its training, {payload['size']} pixels"
    yield "model", _model(payload["model"])
    yield "file", payload["file"]
    yield from _summary(result)


def _train(job: Job, result: Result | None) -> Iterator[Line]:
    payload = job.payload
    yield "run", f"{job.run} (tables/runs.toml), seed {job.seed}, {payload['size']} pixels"
    yield "model", _model(payload["model"])
    if payload["distillation"]:
        yield "distilled", pairs(payload["distillation"])
    yield "recipe", pairs(payload["recipe"])
    yield from _summary(result)


def _predict(job: Job, result: Result | None) -> Iterator[Line]:
    yield "evaluation", f"{pairs(job.payload['evaluation'])}, {job.payload['size']} pixels"
    yield from _summary(result)


def _measure(job: Job, result: Result | None) -> Iterator[Line]:
    payload, how = job.payload, job.payload["protocol"]
    yield "model", f"{_model(payload['model'])}, {payload['size']} pixels, {payload['classes']} classes"
    if reference := how.get("reference"):
        yield "reference", f"{_model(reference['model'])}, {reference['size']} pixels"
    timed = (
        f"{how['windows']} windows of {said(how['window_seconds'])} s of each, in turn"
        if how["name"] == "paired"
        else f"mean of {how['runs']} runs"
    )
    batches = f"batches of {' / '.join(map(str, how['batches']))}"
    largest = ", the largest that fits" if len(how["batches"]) > 1 else ""
    yield "protocol", f"{how['name']}: {timed}; {batches}{largest}"
    if result is None:
        return
    summary = result.summary
    seen = read_json(result.path(TIMES)).get("conditions", {})
    precision = seen.get("precision", "precision not recorded")
    yield "device", f"{summary['device']}, {precision}, batches of {summary['batch']}"
    yield "measured", f"{number(summary['images_per_second'])} images/s"
    yield "ratio", _ratio(summary["ratio"])
    yield "network", pairs({"parameters": summary["parameters"], **summary["architecture"]})


def _ratio(ratio: Mapping[str, Any] | None) -> str:
    if not ratio:
        return "none: this protocol times the network alone"
    steadiness = "steady" if ratio["steady"] else "unsteady, its interval is wider than ±2 %"
    interval = f"95 % interval {number(ratio['low'], 3)} to {number(ratio['high'], 3)}"
    half = f"±{ratio['half_width_percent']:.1f} %"
    return f"{number(ratio['median'], 3)} times as fast as the reference ({interval}, {half}): {steadiness}"


def _probe(job: Job, result: Result | None) -> Iterator[Line]:
    payload = job.payload
    how = f", {pairs(payload['evaluation'])}" if "evaluation" in payload else ""
    images = plural(payload["images"], "test image")
    yield "run", f"{job.run} (tables/runs.toml)" + ("" if job.seed is None else f", seed {job.seed}")
    yield "probe", f"cosine of the two tokens, {images}, {payload['size']} pixels{how}"
    if result is None:
        return
    summary = result.summary
    yield "input", f"{number(summary['input'])}, with position {number(summary['input_with_position'])}"
    errors = summary["errors"]
    layers = zip(summary["layers"], errors["layers"], strict=True)
    yield "layers", ", ".join(_with_error(value, error) for value, error in layers)
    yield "output", _with_error(summary["last"], errors["last"])


def _with_error(value: float, error: float) -> str:
    return f"{number(value)} ± {number(error, 2)}"


_KINDS: Mapping[Kind, Callable[[Job, Result | None], Iterator[Line]]] = {
    "data": _data,
    "weights": _weights,
    "train": _train,
    "predict": _predict,
    "measure": _measure,
    "probe": _probe,
}


def _summary(result: Result | None) -> Iterator[Line]:
    if result is not None:
        yield "result", pairs(result.summary)


def _model(model: Mapping[str, Any]) -> str:
    return f"{model['timm']} {said(model['args'])}" if model["args"] else str(model["timm"])


def _made(workspace: Workspace, result: Result) -> Iterator[Line]:
    made, cost = result.provenance, result.cost
    dirty = " with uncommitted changes" if made["dirty"] else ""
    versions = {name: version for name, version in made["packages"].items() if version}
    yield (
        "made by",
        ", ".join(filter(None, [f"commit {made['commit'][:12]}{dirty}", f"Python {made['python']}", pairs(versions)])),
    )
    yield "on", ", ".join(filter(None, [made["processor"], made["system"], plural(made["threads"], "thread")]))
    seconds = f"{number(cost['wall_seconds'], 3)} s, {number(cost['cpu_seconds'], 3)} s of processors"
    yield "cost", f"{seconds}, {cost['peak_mb']:.0f} MB at most"
    for name, digest in result.files.items():
        yield "file", f"{workspace.shown(result.path(name))}  sha256 {digest}"
