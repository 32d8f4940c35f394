"""A question of the reproducibility checklist with its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Answer = Literal["yes", "partly", "no", "not recorded"]

NEURIPS, COMPLETENESS = "NeurIPS", "ML Code Completeness"


@dataclass(frozen=True, slots=True)
class Item:
    """``facts`` are sentences, ``listed`` names with what is said of each: values nobody published, failed jobs."""

    group: str
    question: str
    asked_by: str
    answer: Answer
    facts: tuple[str, ...]
    listed: tuple[tuple[str, str], ...] = ()
