"""Checks every spec at every scale, without running anything."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from replicate.actions.paper import Paper
from replicate.actions.texts import shared_macros, unprintable
from replicate.errors import Fault, SpecError
from replicate.figures.load import figures_of, load_with_figures
from replicate.figures.plan import with_figures
from replicate.specs.load import scales
from replicate.specs.scale import Scale


@dataclass(frozen=True, slots=True)
class Checked:
    """``faults``, sorted; ``scales``: those at which everything was read; ``counts``: how many of what there are."""

    faults: list[Fault]
    scales: list[str]
    counts: Mapping[str, int]


def check_specs(paper: Paper) -> Checked:
    """Read and plan everything at every scale, and look for words that a format cannot show.

    Where timm is installed, look up the networks that scales name.
    """
    names = scales(paper.tables) or [paper.scale]
    faults: dict[Fault, None] = {}
    read: dict[str, Scale] = {}
    counts: dict[str, int] = {}
    for name in names:
        try:
            specs = load_with_figures(paper.tables, name)
            read[name] = specs.scale
            with_figures(paper.plan(specs.ordered, specs))
            faults |= dict.fromkeys(shared_macros(specs))
        except SpecError as error:
            faults |= dict.fromkeys(error.faults)
            continue
        counts = {
            "table": len(specs.tables),
            "figure": len(figures_of(specs).specs),
            "cell": sum(len(spec.rows) * len(spec.table.columns) for spec in specs.tables.values()),
            "claim": sum(len(spec.claims) for spec in specs.tables.values()),
            "run": len(specs.runs.runs),
        }
    faults |= dict.fromkeys((*_misspelt(read), *unprintable(paper.tables)))
    return Checked(sorted(faults), names, counts)


_MODEL = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)", re.MULTILINE)
_DEPRECATED = re.compile(r"^register_model_deprecations\(__name__, \{(.*?)\}\)", re.MULTILINE | re.DOTALL)
_OLD_NAME = re.compile(r"'(\w+)'\s*:")


def _timm_names() -> set[str]:
    """Every network of the installed timm, from its source: to import it costs seconds. Empty where there is none."""
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        return set()
    names: set[str] = set()
    for path in (Path(spec.origin).parent / "models").glob("[!.]*.py"):
        text = path.read_text(encoding="utf-8")
        names.update(_MODEL.findall(text))
        for block in _DEPRECATED.findall(text):
            names.update(_OLD_NAME.findall(block))
    return names


def _misspelt(scales: Mapping[str, Scale]) -> Iterator[Fault]:
    """Networks of ``scales`` that the installed timm does not have, each said of the file that names it."""
    networks = _timm_names()
    if not networks:
        return
    for scale in scales.values():
        base = scales.get(scale.extends or "")
        for name, model in scale.models.items():
            if base is not None and base.models.get(name) == model:
                continue
            for field, value in (("timm", model.timm), ("timm_distilled", model.timm_distilled)):
                # Behind a point is the tag of weights, which are not used.
                if value is not None and value.partition(".")[0] not in networks:
                    near = difflib.get_close_matches(value, networks, n=1, cutoff=0.5)
                    help = tuple(f"did you mean '{other}'?" for other in near)
                    where = f"scales/{scale.id}.toml: models.{name}.{field}"
                    yield Fault(where, f"the installed timm has no network '{value}'", help)
