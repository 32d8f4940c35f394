"""The options that commands share, and the paper that they open."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from replicate.actions.paper import Paper, open_paper, repository
from replicate.errors import UnknownName
from replicate.specs import SCALE, SEEDS, toml_files

if TYPE_CHECKING:
    from replicate.specs.watch import TrackerName

TRAINING, RELEASED = "training", "released"
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Workspace(Paper):
    """A paper as one command works on it."""

    json: bool = False
    """Whether it prints JSON for programs."""


class Seeds(click.ParamType[tuple[int, ...]]):
    name = "LIST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        parts = [part.strip() for part in str(value).split(",")]
        # int() also takes 1_0 and digits of other scripts.
        if not all(re.fullmatch(r"-?\d{1,20}", part, re.ASCII) for part in parts):
            self.fail(f"seeds, got '{value}'; expected whole numbers with commas between, such as 0,1,2", param, ctx)
        seeds = tuple(map(int, parts))
        if min(seeds) < 0 or len(set(seeds)) < len(seeds):
            self.fail(f"seeds, got '{value}'; each must be 0 or more and stand once", param, ctx)
        if max(seeds) > LARGEST_SEED:
            self.fail(f"seeds, got '{max(seeds)}'; the largest is {LARGEST_SEED}", param, ctx)
        return seeds


class Gpus(click.ParamType[tuple[str, ...]]):
    name = "LIST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = tuple(part.strip() for part in str(value).split(","))
        if not all(re.fullmatch(r"\d{1,4}|(GPU|MIG)-[\w/-]+", name, re.ASCII) for name in names):
            self.fail(f"GPUs, got '{value}'; expected their numbers with commas between, such as 0,1", param, ctx)
        if len(set(names)) < len(names):
            self.fail(f"GPUs, got '{value}'; each must stand once", param, ctx)
        return names


class Amount(click.FloatRange):
    """A finite number: no range excludes ``nan``, which is neither below nor above anything."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"a finite number, got '{value}'", param, ctx)
        return number


class Formats(click.ParamType[tuple[str, ...]]):
    """Names of formats with commas between. ``known``: those there are, asked when one is given."""

    name = "LIST"

    def __init__(self, known: Callable[[], Sequence[str]]) -> None:
        self.known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(part.strip() for part in str(value).split(",")))
        for name in names:
            if name not in self.known():
                raise UnknownName("format", name, self.known())
        return names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(f"{before}{comma}{name}") for name in self.known() if name.startswith(last)]


def _complete(folder: str, *without: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Completes the names of TOML files in ``folder``, which is relative to the folder of the specs."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        tables = Path(ctx.params.get("tables") or repository() / "tables")
        names = [path.stem for path in toml_files(tables / folder) if path.stem not in without]
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return complete


complete_table = _complete(".", "runs")
complete_scale = _complete("scales")
complete_figure = _complete("../figures")


def with_workspace(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the shared options to a command, which gets a Workspace in their place."""
    folder = click.Path(file_okay=False, path_type=Path)

    @click.option(
        "--scale",
        default=SCALE,
        show_default=True,
        shell_complete=complete_scale,
        help="mini, mini-digits or paper: a file of tables/scales.",
    )
    @click.option(
        "--from",
        "source",
        type=click.Choice((TRAINING, RELEASED)),
        default=TRAINING,
        show_default=True,
        metavar="ORIGIN",
        help="released: published weights in place of training, for networks that have some.",
    )
    @click.option(
        "--seeds",
        type=Seeds(),
        default=",".join(map(str, SEEDS)),
        show_default=True,
        help="Seeds, such as 0,1,2.",
    )
    @click.option(
        "--workers", type=click.IntRange(1, 256), default=None, help="Processes at once.  [default: GPUs or cores]"
    )
    @click.option("--gpus", type=Gpus(), default=None, help="GPUs of this machine, such as 0,1.  [default: all]")
    @click.option(
        "--ranks",
        type=click.IntRange(1, 256),
        default=None,
        help="Processes that share each training.  [default: 1, or GPUs that would idle]",
    )
    @click.option("--results", type=folder, default=None, help="Stored results.  [default: results]")
    @click.option("--out", type=folder, default=None, help="Rendered files.  [default: out]")
    @click.option("--tables", type=folder, default=None, help="Specs.  [default: tables]")
    @click.option("--cluster", default=None, metavar="NAME", help="Profile slurm/NAME.toml.  [default: this machine]")
    @click.option("--json", is_flag=True, help="Print JSON for programs.")
    @wraps(function)
    def wrapped(
        scale: str,
        source: str,
        seeds: tuple[int, ...],
        workers: int | None,
        gpus: tuple[str, ...] | None,
        ranks: int | None,
        results: Path | None,
        out: Path | None,
        tables: Path | None,
        cluster: str | None,
        json: bool,
        **rest: Any,
    ) -> Any:
        paper = open_paper(
            tables,
            results=results,
            out=out,
            scale=scale,
            seeds=seeds,
            released=source == RELEASED,
            workers=workers,
            gpus=gpus or (),
            ranks=ranks,
            cluster=cluster,
        )
        shared = {field.name: getattr(paper, field.name) for field in fields(Paper)}
        return function(Workspace(**shared, json=json), **rest)

    return wrapped


TRACKERS = ("tensorboard", "wandb", "trackio")


def watch_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of commands that train."""
    stop = click.option(
        "--stop-suspicious", is_flag=True, help="End trainings that look doomed; their checkpoints are kept."
    )
    tracker = click.option(
        "--tracker",
        type=click.Choice(TRACKERS),
        default=None,
        metavar="NAME",
        help="Hand each epoch to tensorboard, wandb or trackio.",
    )
    return stop(tracker(function))


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of commands that run what is missing, which get them as RunOptions."""

    @click.option("--no-run", is_flag=True, help="Show what is there; run nothing.")
    @click.option("--no-train", is_flag=True, help="Run only what needs no training that is still to be done.")
    @click.option("--retry", is_flag=True, help="Also run again what diverged.")
    @click.option("--wait", is_flag=True, help="With --cluster: stay until nothing is queued any more.")
    @watch_options
    @wraps(function)
    def wrapped(
        no_run: bool,
        no_train: bool,
        retry: bool,
        wait: bool,
        stop_suspicious: bool,
        tracker: TrackerName | None,
        **rest: Any,
    ) -> Any:
        from replicate.actions.run_missing import RunOptions

        return function(options=RunOptions(not no_run, not no_train, retry, wait, stop_suspicious, tracker), **rest)

    return wrapped


def table_id_option(required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--id", "table_id", required=required, shell_complete=complete_table, metavar="ID", help="Which table."
    )
