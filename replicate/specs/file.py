"""A TOML file to a checked value; whatever is wrong with it is collected in the house form, with its place."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ValidationError
from pydantic_core import ErrorDetails

from replicate.errors import Fault, suggestion

M = TypeVar("M", bound=BaseModel)


def read_toml(path: Path, faults: list[Fault]) -> dict[str, Any] | None:
    """The file as it stands, or None with a fault added to ``faults``."""
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith("\ufeff"):
            faults.append(Fault(shown_path(path), "begins with a byte-order mark; save it as UTF-8 without one"))
            # The rest is read, for its own faults.
            text = text[1:]
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        faults.append(Fault(shown_path(path), f"not TOML: {error}"))
    except UnicodeDecodeError as error:
        faults.append(Fault(shown_path(path), f"not UTF-8: {error.reason} at byte {error.start}"))
    except OSError as error:
        faults.append(Fault(shown_path(path), f"cannot be read: {error.strerror}"))
    return None


def read(path: Path, model: type[M], faults: list[Fault]) -> M | None:
    """The file as a ``model``, or None with its faults added to ``faults``."""
    raw = read_toml(path, faults)
    return None if raw is None else validated(path, model, raw, faults)


def validated(path: Path, model: type[M], raw: dict[str, Any], faults: list[Fault]) -> M | None:
    """``raw`` as a ``model``, or None with every fault added to ``faults`` in the house form."""
    try:
        # Strict mode refuses a list where a tuple is meant; TOML has lists only.
        return model.model_validate(_tuples(raw))
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # pydantic also reports the list of a faulty entry as too short; the entry's fault is enough.
        deeper = {each["loc"][:depth] for each in errors for depth in range(len(each["loc"]))}
        own = [each for each in errors if each["type"] != "too_short" or each["loc"] not in deeper]
        faults += [_fault(path, model, raw, each) for each in own]
        return None


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


def _fault(path: Path, model: type[BaseModel], raw: dict[str, Any], error: ErrorDetails) -> Fault:
    # pydantic adds a last step "[key]" where a name itself is at fault.
    loc = error["loc"][:-1] if error["loc"][-1:] == ("[key]",) else error["loc"]
    where = f"{shown_path(path)}: {_dotted(loc)}" if loc else shown_path(path)
    kind, got = error["type"], error.get("input")
    if kind == "extra_forbidden":
        known = _fields_at(model, raw, loc[:-1])
        return Fault(where, f"unknown key '{loc[-1]}'", tuple(suggestion(str(loc[-1]), known, plural="keys")))
    if kind == "missing":
        return Fault(where, "this key is required")
    if kind == "unknown_name":
        near = suggestion(str(got), error["ctx"]["known"], plural=error["ctx"]["plural"])
        return Fault(where, error["msg"], tuple(near))
    message = str(error["msg"]).removeprefix("Input ").removeprefix("Value error, ")
    if kind == "tuple_type":
        message = "should be a list"
    shown = "" if isinstance(got, dict | tuple) else f", got {got!r}"
    near = suggestion(str(got), _expected(error), plural="") if kind == "literal_error" else []
    return Fault(where, f"{message}{shown}", tuple(line for line in near if line.startswith("did you mean")))


def _expected(error: ErrorDetails) -> list[str]:
    """The words that pydantic lists as the ones allowed."""
    return re.findall(r"'([^']*)'", error["ctx"]["expected"])


def _dotted(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        plain = isinstance(part, str) and part.replace("_", "").replace("-", "").isalnum()
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if plain else f'."{part}"'
    return text.lstrip(".")


def _fields_at(model: type[BaseModel], raw: Any, loc: tuple[int | str, ...]) -> list[str]:
    """Field names allowed at ``loc`` of ``raw``: walks the JSON schema, which knows about nesting, lists and unions."""
    schema = model.model_json_schema()
    node: dict[str, Any] = schema
    for part in loc:
        node = _resolve(schema, node)
        if isinstance(part, int):
            node = node.get("items", {})
        elif part in node.get("properties", {}):
            node = node["properties"][part]
        elif isinstance(node.get("additionalProperties"), dict):
            node = node["additionalProperties"]
        with suppress(LookupError, TypeError):  # a step of pydantic's own, such as the member of a union
            raw = raw[part]
    node = _resolve(schema, node)
    # Of alternatives, the one with most of the constants that are written there.
    node = max(node.get("oneOf", ()), key=lambda branch: _constants(branch, raw), default=node)
    return sorted(node.get("properties", {}))


def _constants(branch: dict[str, Any], raw: dict[str, Any]) -> int:
    fields = branch.get("properties", {})
    return sum("const" in field and raw.get(name) == field["const"] for name, field in fields.items())


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            node = option
    while "$ref" in node:
        path = node["$ref"].lstrip("#/").split("/")
        node = schema
        for step in filter(None, path):
            node = node[step]
    return node


def shown_path(path: Path) -> str:
    """The path as a user would type it: from its parent folder on."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else str(path)


_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MADE_OF = "letters, digits, '.', '_' and '-', a letter or digit first"


def _word(name: str) -> str:
    if not _WORD.fullmatch(name):
        raise ValueError(f"should be a name that a folder can have: {_MADE_OF}")
    return name


def _words(name: str) -> str:
    if not all(_WORD.fullmatch(part) for part in name.split("/")):
        raise ValueError(f"should be a name, or several with '/' between: {_MADE_OF}")
    return name


Word = Annotated[str, AfterValidator(_word)]
"""Of a model, a data set or a distillation: the keys of jobs are made of them, and a key is a folder's name."""

RunName = Annotated[str, AfterValidator(_words)]
"""``deit-b-224/token``: words with slashes between. No folder has it, but addresses of pages do."""
