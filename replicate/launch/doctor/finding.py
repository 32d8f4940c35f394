"""One thing that was looked at, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``warn`` costs time or comfort; with ``fail`` jobs would not run or would be lost."""

    level: Level
    subject: str
    text: str
    help: str = ""

    def __str__(self) -> str:
        advice = f"; {self.help}" if self.help else ""
        return f"{self.level:<4}  {self.subject}: {self.text}{advice}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def ok(subject: str, text: str) -> Finding:
    return Finding("ok", subject, text)


def warn(subject: str, text: str, help: str = "") -> Finding:
    return Finding("warn", subject, text, help)


def fail(subject: str, text: str, help: str = "") -> Finding:
    return Finding("fail", subject, text, help)
