"""A TOML file to a checked value; whatever is wrong with it is collected in the house form, with its place."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ValidationError
from pydantic_core import ErrorDetails

from replicate.errors import Fault, suggestion
from replicate.text import cleaned, named

M = TypeVar("M", bound=BaseModel)


def read_toml(path: Path, faults: list[Fault]) -> dict[str, object] | None:
    """The file as it stands, or None with a fault added to ``faults``."""
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith("\ufeff"):
            faults.append(Fault(shown_path(path), "begins with a byte-order mark; save it as UTF-8 without one"))
            # The rest is read, for its own faults.
            text = text[1:]
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        faults.append(Fault(shown_path(path), f"not TOML: {error}"))
    except UnicodeDecodeError as error:
        faults.append(Fault(shown_path(path), f"not UTF-8: {error.reason} at byte {error.start}"))
    except OSError as error:
        reason = "a link to nowhere" if path.is_symlink() and not path.exists() else error.strerror
        faults.append(Fault(shown_path(path), f"cannot be read: {reason}"))
    return None


def read_spec(path: Path, faults: list[Fault], as_written: Collection[str] = ()) -> dict[str, object] | None:
    """The file with its words and names cleaned (`replicate.text.cleaned`), or None with a fault added to ``faults``.

    as_written: blocks that name files, or something of another program, and are left alone.
    """
    raw = read_toml(path, faults)
    if raw is None:
        return None
    kept = {name: raw.pop(name) for name in as_written if name in raw}
    clean: dict[str, object] = _clean(raw, shown_path(path), (), faults)
    return clean | kept


def _clean(value: Any, file: str, loc: tuple[int | str, ...], faults: list[Fault]) -> Any:
    match value:
        case str():
            text = cleaned(value)
            controls = [named(each) for each in dict.fromkeys(text) if unicodedata.category(each) == "Cc"]
            if controls:
                faults.append(Fault(f"{file}: {dotted(loc)}", f"has {', '.join(controls)}", ("remove it",)))
            return text
        case list():
            return [_clean(item, file, (*loc, index), faults) for index, item in enumerate(value)]
        case dict():
            found: dict[str, Any] = {}
            for name, item in value.items():
                if cleaned(name) in found:
                    where = f"{file}: {dotted(loc)}" if loc else file
                    what = f"{name!a} stands twice, the other time in characters that look the same"
                    faults.append(Fault(where, what, ("rename or remove one of them",)))
                    continue
                found[cleaned(name)] = _clean(item, file, (*loc, name), faults)
            return found
        case _:
            return value


def read(path: Path, model: type[M], faults: list[Fault]) -> M | None:
    """The file as a ``model``, or None with its faults added to ``faults``."""
    raw = read_spec(path, faults)
    return None if raw is None else validated(path, model, raw, faults)


def validated(path: Path, model: type[M], raw: Mapping[str, object], faults: list[Fault]) -> M | None:
    """``raw`` as a ``model``, or None with every fault added to ``faults`` in the house form."""
    try:
        # Strict mode refuses a list where a tuple is meant; TOML has lists only.
        return model.model_validate(_tuples(raw))
    except ValidationError as error:
        errors = [_Error.of(each) for each in error.errors(include_url=False)]
        # pydantic also reports the list of a faulty entry as too short; the entry's fault is enough.
        deeper = {each.loc[:depth] for each in errors for depth in range(len(each.loc))}
        own = [each for each in errors if each.type != "too_short" or each.loc not in deeper]
        faults += [_fault(path, model, raw, each) for each in own]
        return None


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


@dataclass(frozen=True, slots=True)
class _Error:
    """What pydantic says of a fault. expected: of a choice. known, plural: of an `UnknownName`."""

    type: str
    loc: tuple[int | str, ...]
    msg: str
    input: object
    expected: str = ""
    known: Sequence[str] = ()
    plural: str = ""

    @classmethod
    def of(cls, details: ErrorDetails) -> _Error:
        context = {name: value for name, value in details.get("ctx", {}).items() if name in cls.__slots__}
        type_, loc, msg, got = itemgetter("type", "loc", "msg", "input")(details)
        # pydantic adds a last step "[key]" where a name itself is at fault.
        return cls(type_, loc[:-1] if loc[-1:] == ("[key]",) else loc, msg, got, **context)


def _fault(path: Path, model: type[BaseModel], raw: Any, error: _Error) -> Fault:
    loc, got, near = error.loc, error.input, list[str]()
    where = f"{shown_path(path)}: {dotted(loc)}" if loc else shown_path(path)
    message = error.msg.removeprefix("Input ").removeprefix("Value error, ")
    match error.type:
        case "extra_forbidden":
            # Imported only where a key is unknown: its model takes 2 ms.
            from replicate.specs.json_schema import fields_at

            known = fields_at(model, raw, loc[:-1])
            return Fault(where, f"unknown key '{loc[-1]}'", tuple(suggestion(str(loc[-1]), known, plural="keys")))
        case "missing":
            return Fault(where, "this key is required")
        case "unknown_name":
            return Fault(where, error.msg, tuple(suggestion(str(got), error.known, plural=error.plural)))
        case "tuple_type":
            message = "should be a list"
        case "literal_error":
            # The words that are allowed stand quoted in pydantic's message.
            near = suggestion(str(got), re.findall(r"'([^']*)'", error.expected), plural="")
    shown = "" if isinstance(got, dict | tuple) else f", got {got!r}"
    return Fault(where, f"{message}{shown}", tuple(line for line in near if line.startswith("did you mean")))


def dotted(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        plain = isinstance(part, str) and part.replace("_", "").replace("-", "").isalnum()
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if plain else f'."{part}"'
    return text.lstrip(".")


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
