"""``check``: validate every spec without running anything."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from replicate.cli import DONE
from replicate.cli.workspace import Workspace, with_workspace
from replicate.errors import Fault, SpecError, UnknownName
from replicate.specs.scale import Scale
from replicate.text import plural

if TYPE_CHECKING:
    from replicate.specs.scale import Scale


@click.command(name="check")
@with_workspace
def command(workspace: Workspace) -> int:
    """Validate every spec at every scale. All faults are reported together; exit code 2 if there are any.

    Where timm is installed, the networks that the scales name must be among its own.
    """
    from replicate.figures.load import figures_of, load_with_figures
    from replicate.figures.plan import with_figures
    from replicate.specs.load import scales

    names = scales(workspace.tables) or [workspace.scale]
    given = click.get_current_context().get_parameter_source("scale") is ParameterSource.COMMANDLINE
    if given and workspace.scale not in names:
        raise UnknownName("scale", workspace.scale, names)
    faults: dict[Fault, None] = {}
    bound: dict[str, Scale] = {}
    for name in names:
        try:
            specs = load_with_figures(workspace.tables, name)
            bound[name] = specs.scale
            with_figures(workspace.plan(sorted(specs.tables), specs))
        except SpecError as error:
            faults |= dict.fromkeys(error.faults)
    faults |= dict.fromkeys(misspelt(bound))
    if workspace.json:
        entries = [{"where": fault.where, "what": fault.what, "help": list(fault.help)} for fault in sorted(faults)]
        click.echo(json.dumps({"faults": entries}, indent=1, ensure_ascii=False))
        return SpecError.exit_code if faults else DONE
    if faults:
        raise SpecError(sorted(faults))
    found = {
        "table": len(specs.tables),
        "figure": len(figures_of(specs).specs),
        "cell": sum(len(spec.rows) * len(spec.table.columns) for spec in specs.tables.values()),
        "claim": sum(len(spec.claims) for spec in specs.tables.values()),
        "run": len(specs.runs.runs),
    }
    said = ", ".join(plural(number, noun) for noun, number in found.items())
    click.echo(f"{said}: no fault at the scale{'s' if len(names) > 1 else ''} {', '.join(names)}")
    return DONE


_MODEL = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)", re.MULTILINE)
_DEPRECATED = re.compile(r"^register_model_deprecations\(__name__, \{(.*?)\}\)", re.MULTILINE | re.DOTALL)
_OLD_NAME = re.compile(r"'(\w+)'\s*:")


def known_names() -> set[str]:
    """Empty where timm is not installed."""
    found = find_spec("timm")
    if found is None or found.origin is None:
        return set()
    names: set[str] = set()
    for path in (Path(found.origin).parent / "models").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        names.update(_MODEL.findall(text))
        for block in _DEPRECATED.findall(text):
            names.update(_OLD_NAME.findall(block))
    return names


def misspelt(scales: Mapping[str, Scale]) -> Iterator[Fault]:
    """Networks of ``scales`` that the installed timm does not have, each said of the file that names it."""
    known = known_names()
    if not known:
        return
    for scale in scales.values():
        base = scales.get(scale.extends or "")
        for name, model in scale.models.items():
            if base is not None and base.models.get(name) == model:
                continue
            for field, value in (("timm", model.timm), ("timm_distilled", model.timm_distilled)):
                # Behind a point is the tag of weights, which are not used.
                if value is not None and value.partition(".")[0] not in known:
                    near = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
                    help = tuple(f"did you mean '{other}'?" for other in near)
                    where = f"scales/{scale.id}.toml: models.{name}.{field}"
                    yield Fault(where, f"the installed timm has no network '{value}'", help)
