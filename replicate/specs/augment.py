"""Notations of augmentation policies, such as ``rand-m9-mstd0.5-inc1``, by their first word.

They are read here, so that a misspelt one is found where torch is not installed. The engine carries them out.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, TypeVar

MAX_LEVEL = 10
"""timm's scale of magnitudes is 0 to this."""

_SECTION = re.compile(r"([a-z]+)(\d+(?:\.\d+)?)", re.ASCII)


class Policy(ABC):
    """What a notation says."""

    engine: ClassVar[str]
    """What makes an augmentation of it, as ``module:function``; imported only where something trains."""

    @classmethod
    @abstractmethod
    def read(cls, name: str, sections: Sequence[str]) -> Self:
        """The policy ``name``, of which ``sections`` follow between dashes. Raises ValueError, which says why not."""

    @abstractmethod
    def printed(self) -> str:
        """As the paper's Table 9 prints it."""


P = TypeVar("P", bound=type[Policy])

_POLICIES: dict[str, type[Policy]] = {}


def register(*names: str) -> Callable[[P], P]:
    """Make a policy known by the first words of its notation. Raises TypeError for one that lacks a fact."""

    def registered(policy: P) -> P:
        for name in names:
            if not name.isalnum() or name in _POLICIES:
                raise TypeError(f"policy '{name}': a new word without dashes expected; the known ones: {known()}")
        if getattr(policy, "engine", "").count(":") != 1:
            raise TypeError(f"policy '{names[0]}': engine does not name what makes it as 'module:function'")
        _POLICIES.update(dict.fromkeys(names, policy))
        return policy

    return registered


def known() -> str:
    return ", ".join(_POLICIES)


def policy_of(text: str) -> Policy:
    """Read a notation. Raises ValueError for what is none, the empty text included."""
    name, *sections = text.split("-")
    try:
        if name not in _POLICIES:
            raise ValueError(f"'{name}' is none of {known()}")
        return _POLICIES[name].read(name, sections)
    except ValueError as error:
        form = "should be written as in 'rand-m9-mstd0.5-inc1' or 'original-mstd0.5', or left empty"
        raise ValueError(f"{form} ({error})") from None


def printed(text: str) -> str:
    """``9/0.5`` of ``rand-m9-mstd0.5-inc1``; a cross where nothing is augmented so."""
    return policy_of(text).printed() if text else "✗"


def numbers(sections: Sequence[str], allowed: Sequence[str]) -> dict[str, str]:
    """The numbers of ``sections`` such as ``m9`` by their letters, each at most once. Raises ValueError."""
    values: dict[str, str] = {}
    for section in sections:
        number = _SECTION.fullmatch(section)
        if number is None or number[1] not in allowed:
            raise ValueError(f"'{section}' is no number of {' or '.join(allowed)}")
        if number[1] in values:
            raise ValueError(f"{number[1]} stands twice")
        values[number[1]] = number[2]
    return values


@register("rand")
@dataclass(frozen=True, slots=True)
class RandPolicy(Policy):
    """timm's RandAugment: ``rand-...`` with m (required, 0 to 10), n, mstd, p and inc1 (required)."""

    magnitude: int
    layers: int = 2
    deviation: float = 0.0
    probability: float = 0.5

    engine = "replicate.engine.augmentation:RandAugment.of"

    @classmethod
    def read(cls, name: str, sections: Sequence[str]) -> Self:
        values = numbers(sections, ("m", "n", "mstd", "p", "inc"))
        if values.get("inc") != "1":
            raise ValueError("'rand' needs inc1, magnitudes that grow with m")
        magnitude, layers = values.get("m", ""), values.get("n", "2")
        if not magnitude.isdigit() or int(magnitude) > MAX_LEVEL:
            raise ValueError(f"'rand' needs a whole m from 0 to {MAX_LEVEL}")
        if not layers.isdigit() or int(layers) < 1:
            raise ValueError("n is a whole number from 1 on")
        probability = float(values.get("p", "0.5"))
        if probability > 1:
            raise ValueError("p is at most 1")
        return cls(int(magnitude), int(layers), float(values.get("mstd", "0")), probability)

    def printed(self) -> str:
        return f"{self.magnitude}/{self.deviation:g}"


@register("original", "v0")
@dataclass(frozen=True, slots=True)
class AutoPolicy(Policy):
    """AutoAugment's ``original`` or ``v0``, with ``-mstd0.5`` for noise on the magnitudes."""

    name: str
    deviation: float = 0.0

    engine = "replicate.engine.augmentation:AutoAugment.of"

    @classmethod
    def read(cls, name: str, sections: Sequence[str]) -> Self:
        return cls(name, float(numbers(sections, ("mstd",)).get("mstd", "0")))

    def printed(self) -> str:
        return f"{self.name}-mstd{self.deviation:g}" if self.deviation else self.name
