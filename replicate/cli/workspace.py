"""The options that all commands share, and what they lead to: specs, a store, a plan."""

from __future__ import annotations

import gc
import os
import re
import shlex
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from replicate.errors import UserError

# Whatever pydantic, numpy or rich stand behind is imported when a command runs: the help of a command and
# completion must answer at once (0.05 s, against 0.3 s with all of them).
if TYPE_CHECKING:
    from replicate.backends.slurm.profile import Profile
    from replicate.plan.cells import Plan
    from replicate.specs.load import Specs
    from replicate.store.store import Store

SCALE = "mini"
TRAINING, RELEASED = "training", "released"
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where things are, and what was asked for."""

    root: Path
    tables: Path
    results: Path
    out: Path
    scale: str
    seeds: tuple[int, ...]
    workers: int | None
    """Jobs at once; None is what `replicate.backends.devices.at_once` makes of it."""
    json: bool
    released: bool = False
    """Published weights are read where the scale names some, in place of training."""
    profile: Profile | None = None
    """Of the cluster to use; None is this machine."""
    given: tuple[str, ...] = ()
    """The options of this call that another command needs to find the same things, as they were typed."""

    @property
    def rendered(self) -> Path:
        """The folder of the files that are rendered."""
        from replicate.specs.load import world

        return self.out / world(self.scale, self.released)

    def specs(self) -> Specs:
        from replicate.figures.load import load_with_figures

        if not self.tables.is_dir():
            raise UserError(f"{self.tables}: no such folder\n  name the folder of the specs with --tables DIR")
        if self.released and len(self.seeds) > 1:
            raise UserError(
                f"--from released: one seed, got {','.join(map(str, self.seeds))}\n"
                "  published weights are of one training each; several seeds are for networks that are trained here"
            )
        return load_with_figures(self.tables, self.scale, self.released)

    def plan(self, tables: Sequence[str], specs: Specs | None = None) -> Plan:
        from replicate.plan.cells import plan_tables

        plan = plan_tables(specs or self.specs(), tables, self.seeds)
        # It lives as long as the command. Searching 200,000 jobs for garbage takes 0.8 s each time.
        gc.freeze()
        return plan

    def store(self) -> Store:
        from replicate.store.store import Store

        return Store(self.results)

    def call(self, *words: str) -> str:
        """Another command that finds the same things as this one, and writes to the same place."""
        seeds = [] if self.seeds == (0,) else ["--seeds", ",".join(map(str, self.seeds))]
        out = [] if self.out == self.root / "out" else ["--out", str(self.out)]
        return shlex.join(["python", "-m", "replicate", *words, *self.given, *seeds, *out])

    def shown(self, path: Path) -> str:
        """As short as it can be typed from here."""
        try:
            return str(path.relative_to(Path.cwd()))
        except ValueError:
            return str(path)


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


class Amount(click.FloatRange):
    """A finite number: no range excludes ``nan``, which is neither below nor above anything."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"a finite number, got '{value}'", param, ctx)
        return number


def repository() -> Path:
    """The folder with the specs: the nearest one from here upwards, else the one this package lies in."""
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise UserError("the current folder is not there any more\n  change to another one") from None
    for folder in (here, *here.parents):
        if (folder / "tables" / "runs.toml").is_file():
            return folder
    return Path(__file__).resolve().parents[2]


def complete_table(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    folder = ctx.params.get("tables") or repository() / "tables"
    names = sorted(path.stem for path in Path(folder).glob("*.toml") if path.name != "runs.toml")
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_scale(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    folder = ctx.params.get("tables") or repository() / "tables"
    names = sorted(path.stem for path in (Path(folder) / "scales").glob("*.toml"))
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


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
    @click.option("--seeds", type=Seeds(), default="0", show_default=True, help="Seeds, such as 0,1,2.")
    @click.option(
        "--workers", type=click.IntRange(1, 256), default=None, help="Jobs at once.  [default: GPUs or cores]"
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
        results: Path | None,
        out: Path | None,
        tables: Path | None,
        cluster: str | None,
        json: bool,
        **rest: Any,
    ) -> Any:
        root = repository()
        profile = _profile(cluster, root)
        shared = Path(profile.paths.shared) if profile else root
        workspace = Workspace(
            root=root,
            tables=tables or root / "tables",
            results=(results or shared / "results").absolute() if profile else results or root / "results",
            out=out or root / "out",
            scale=scale,
            seeds=seeds,
            workers=workers,
            json=json,
            released=source == RELEASED,
            profile=profile,
            given=_given(
                ("--scale", scale if scale != SCALE else None),
                ("--from", source if source != TRAINING else None),
                ("--results", results),
                ("--tables", tables),
                ("--cluster", cluster),
            ),
        )
        return function(workspace, **rest)

    return wrapped


def _given(*options: tuple[str, object]) -> tuple[str, ...]:
    return tuple(part for name, value in options if value is not None for part in (name, str(value)))


def _profile(name: str | None, root: Path) -> Profile | None:
    from replicate.backends.slurm.profile import find_profile

    if name == "":
        # Of a script whose variable is not set: going on here would train on a login node.
        raise UserError("--cluster: the name of a profile, got ''\n  this machine is --cluster local")
    return find_profile(name, root / "slurm", os.environ, socket.gethostname())


def table_id_option(required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--id", "table_id", required=required, shell_complete=complete_table, metavar="ID", help="Which table."
    )
