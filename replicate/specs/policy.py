"""timm's notation of an augmentation policy, which specs write and the engine carries out.

Its grammar is here and not beside the augmentation, so that a misspelt one is found where torch is not installed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LEVEL = 10
"""timm's scale of magnitudes is 0 to this."""

_FORM = "should be written as in 'rand-m9-mstd0.5-inc1' or 'original-mstd0.5', or left empty"
_SECTION = re.compile(r"(mstd|inc|m|n|p)(\d+(?:\.\d+)?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Policy:
    """``rand``: RandAugment; ``original`` and ``v0``: AutoAugment, of which only ``deviation`` can be chosen."""

    name: str
    deviation: float = 0.0
    magnitude: int = 0
    layers: int = 2
    probability: float = 0.5


def policy_of(text: str) -> Policy:
    """``rand-...`` with m (required, 0 to 10), n, mstd, p and inc1; or ``original`` or ``v0``, with ``-mstd0.5``.

    Raises ValueError for any other text, the empty one included.
    """
    name, *sections = text.split("-")
    if name in ("original", "v0"):
        return Policy(name, float(_values(sections, ("mstd",)).get("mstd", "0")))
    if name != "rand":
        raise _unreadable(f"'{name}' is none of rand, original and v0")
    values = _values(sections, ("m", "n", "mstd", "p", "inc"))
    if values.get("inc") != "1":
        raise _unreadable("'rand' needs inc1, magnitudes that grow with m")
    magnitude, layers = values.get("m", ""), values.get("n", "2")
    if not magnitude.isdigit() or int(magnitude) > MAX_LEVEL:
        raise _unreadable(f"'rand' needs a whole m from 0 to {MAX_LEVEL}")
    if not layers.isdigit() or int(layers) < 1:
        raise _unreadable("n is a whole number from 1 on")
    probability = float(values.get("p", "0.5"))
    if probability > 1:
        raise _unreadable("p is at most 1")
    return Policy("rand", float(values.get("mstd", "0")), int(magnitude), int(layers), probability)


def _values(sections: list[str], known: tuple[str, ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    for section in sections:
        found = _SECTION.fullmatch(section)
        if found is None or found[1] not in known:
            raise _unreadable(f"'{section}' is no number of {' or '.join(known)}")
        if found[1] in values:
            raise _unreadable(f"{found[1]} stands twice")
        values[found[1]] = found[2]
    return values


def _unreadable(why: str) -> ValueError:
    return ValueError(f"{_FORM} ({why})")
