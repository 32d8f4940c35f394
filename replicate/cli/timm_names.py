"""The networks that the installed timm has, read from its source: importing timm and torch takes 10 CPU-seconds."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from replicate.errors import Fault
from replicate.spec.scale import Scale

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
