"""Addresses of the pages of the site, and the commands they print."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from replicate.plan.cells import Plan
from replicate.specs import SCALE, SEEDS
from replicate.specs.cell import CellRef

_UNSAFE = re.compile(r"[^a-z0-9.-]+")


def file_names(names: Iterable[str]) -> dict[str, str]:
    """A file name (without its suffix) for each of ``names``: lower case ASCII, each once on every file system."""
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(set(names)):
        stem = _UNSAFE.sub("_", name.lower()).strip(".-_")[:80] or "page"
        candidate, number = stem, 2
        while candidate in taken:
            candidate, number = f"{stem}_{number}", number + 1
        taken.add(candidate)
        stems[name] = candidate
    return stems


def fragment(anchor: str) -> str:
    """The part of an address after ``#`` that leads to the element with the id ``anchor``."""
    return quote(anchor, safe="@.~-_/")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses are relative to the root of the site; a template puts ``../`` before them where it must.

    ``jobs`` maps a job to the page that shows it, a run's or a data set's.
    """

    tables: Mapping[str, str]
    figures: Mapping[str, str]
    runs: Mapping[str, str]
    data: Mapping[str, str]
    jobs: Mapping[str, str]

    def table(self, table_id: str) -> str:
        return f"tables/{self.tables[table_id]}.html"

    def figure(self, figure_id: str) -> str:
        return f"figures/{self.figures[figure_id]}.html"

    def run(self, name: str) -> str:
        return f"runs/{self.runs[name]}.html"

    def data_set(self, key: str) -> str:
        return f"data/{self.data[key]}.html"

    def job(self, key: str) -> str:
        """The job's own part of the page that shows it."""
        return f"{self.jobs[key]}#{fragment(key)}"

    def cell(self, ref: CellRef) -> str:
        """The line of the table's page that says what a number rests on; its id is the address within the table."""
        return f"{self.table(ref.table)}#{fragment(ref.within)}"


def command(plan: Plan, *words: str, seed: int | None = None) -> str:
    """``python -m replicate WORDS`` with the options that find the jobs of ``plan``: scale, origin, seeds.

    seed: of a job that rests on this one alone; None is all seeds of the plan.
    """
    scale, seeds = plan.specs.scale, plan.seeds if seed is None else (seed,)
    options = [] if scale.id == SCALE else ["--scale", scale.id]
    options += ["--from", "released"] if scale.released else []
    options += [] if seeds == SEEDS else ["--seeds", ",".join(map(str, seeds))]
    return shlex.join(["python", "-m", "replicate", *words, *options])
