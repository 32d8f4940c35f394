"""Values that no specification expects, and specs or JSON with one of them in a random place."""

from __future__ import annotations

import copy
import json
from datetime import date, datetime
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

WORDS = (
    "",
    " ",
    "..",
    "a/b",
    "/",
    "\0",
    "é",
    "e\u0301",
    "💥",
    "\u202e",
    "\u200b",
    "nan",
    "-1",
    "1e999",
    "$x_{",
    "%",
    "{}",
    "None",
)
"""Strings with a meaning somewhere."""
NUMBERS = (-1, 0, 1, 2**31, 2**63, 2**64, 10**30, -(10**30), 0.0, -0.0, 1e-320, 1e308, float("inf"), -float("inf"))

scalars = st.one_of(
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.just(float("nan")),
    st.integers(),
    st.floats(width=32),
    st.sampled_from(WORDS),
    st.text(max_size=8),
)
dated = scalars | st.sampled_from([date(1979, 5, 27), datetime(1979, 5, 27, 7, 32)])


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=6,
    )


def few(examples: int) -> settings:
    """The same examples at every call."""
    return settings(max_examples=examples, derandomize=True, database=None)


@st.composite
def mutated(draw: st.DrawFn, whole: Any, junk: st.SearchStrategy[Any]) -> Any:
    """A copy of ``whole`` in which up to three places are replaced, removed, added to or put in another place."""
    changed = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        place = changed
        while True:
            names = [*place] if isinstance(place, dict) else [*range(len(place))]
            if not names:
                break
            name = draw(st.sampled_from(names))
            inner = place[name]
            if isinstance(inner, dict | list) and inner and draw(st.integers(0, 4)):
                place = inner
                continue
            match draw(st.sampled_from(["replace", "replace", "remove", "add", "swap"])):
                case "replace":
                    place[name] = draw(junk)
                case "remove":
                    del place[name]
                case "add" if isinstance(place, dict):
                    place[draw(st.text(max_size=6))] = draw(junk)
                case "add":
                    place.append(draw(junk))
                case "swap":
                    place[name] = copy.deepcopy(place[draw(st.sampled_from(names))])
            break
    return changed


def toml(values: dict[str, Any]) -> str:
    return "".join(f"{_string(name)} = {_inline(value)}\n" for name, value in values.items())


def _inline(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{_string(name)} = {_inline(item)}" for name, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_inline, value)) + "]"
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value)
        case date():
            return value.isoformat()
        case _:
            return str(value)


def _string(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    # What UTF-8 cannot hold, no TOML file can.
    return escaped.encode("utf-8", "replace").decode()
