"""Takes pydantic's place where it is not installed: models are filled, their defaults and conversions as pydantic's.

A GPU machine often has torch and timm of its own and nothing else of this project. Installing there may be impossible,
and all that a job needs of pydantic is to become an object. What pydantic would refuse (a misspelt key, a number out of
range) mostly passes here, so nothing but the GPU check may use this. tests/test_gpu_check.py compares the keys of all
jobs.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

MISSING: Any = object()
VALIDATION = "_validation"
"""Attribute of a method: what the decorator said of it."""


def install() -> bool:
    """Make `import pydantic` find this module, where there is no other. Returns whether it was needed."""
    if "pydantic" in sys.modules or find_spec("pydantic") is not None:
        return getattr(sys.modules.get("pydantic"), "BaseModel", None) is BaseModel
    for name in ("pydantic", "pydantic.fields", "pydantic_core"):
        module = types.ModuleType(name)
        vars(module).update({word: value for word, value in globals().items() if not word.startswith("_")})
        sys.modules[name] = module
    return True


class FieldInfo:
    """A field of a model: its type without what is written beside it, that, and its default."""

    def __init__(self, default: Any = MISSING, default_factory: Any = None, **constraints: Any) -> None:
        self.default, self.default_factory, self.annotation = default, default_factory, Any
        self.beside: tuple[Any, ...] = ()

    def is_required(self) -> bool:
        return self.default is MISSING and self.default_factory is None

    def value(self, before: dict[str, Any]) -> Any:
        if self.default_factory is None:
            return self.default
        try:
            return self.default_factory(before)
        except TypeError:
            return self.default_factory()


def Field(default: Any = MISSING, **how: Any) -> Any:
    return FieldInfo(default, how.pop("default_factory", None), **how)


class AfterValidator:
    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func


class BeforeValidator(AfterValidator):
    pass


class PlainValidator(AfterValidator):
    pass


class Info:
    """What a validator is told beside the value."""

    def __init__(self, mode: str) -> None:
        self.mode = mode


class SerializeAsAny:
    def __class_getitem__(cls, item: Any) -> Any:
        return item


def ConfigDict(**values: Any) -> dict[str, Any]:
    return values


class ValidationError(ValueError):
    @classmethod
    def from_exception_data(cls, title: str, line_errors: Sequence[Any]) -> ValidationError:
        return cls(f"{title}: {line_errors}")

    def errors(self, **how: Any) -> list[dict[str, Any]]:
        return [{"type": "value_error", "loc": (), "msg": str(self), "input": None}]


class PydanticCustomError(ValueError):
    def __init__(self, kind: str, message: str, context: Mapping[str, Any] | None = None) -> None:
        super().__init__(message.format(**(context or {})))


def InitErrorDetails(**details: Any) -> dict[str, Any]:
    return details


ErrorDetails = dict
ValidationInfo = Info
GetJsonSchemaHandler = WithJsonSchema = PlainSerializer = object


def model_validator(mode: str) -> Callable[[Any], Any]:
    return _noted(("model", mode, ()))


def field_validator(*names: str, mode: str = "after") -> Callable[[Any], Any]:
    return _noted(("field", mode, names))


def _noted(what: tuple[str, str, tuple[str, ...]]) -> Callable[[Any], Any]:
    def noted(method: Any) -> Any:
        setattr(getattr(method, "__func__", method), VALIDATION, what)
        return method

    return noted


class _Names(type):
    """A model has its fields as soon as someone asks: types may be written before what they name."""

    @property
    def model_fields(cls) -> dict[str, FieldInfo]:
        return _fields_of(cls)

    @property
    def __pydantic_fields__(cls) -> dict[str, FieldInfo]:
        return _fields_of(cls)


class BaseModel(metaclass=_Names):
    model_config: ClassVar[dict[str, Any]] = {}
    __pydantic_fields_set__: set[str]

    def __init__(self, **values: Any) -> None:
        _fill(self, values, "python")

    def __setattr__(self, name: str, value: Any) -> None:
        raise ValidationError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *map(str, vars(self).items())))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    @classmethod
    def model_validate(cls, value: Any) -> Any:
        return _converted(cls, value, "python")

    @classmethod
    def model_validate_json(cls, text: str | bytes) -> Any:
        return _converted(cls, json.loads(text), "json")

    def model_copy(self, update: Mapping[str, Any] | None = None) -> Any:
        copy = type(self).__new__(type(self))
        vars(copy).update({**vars(self), **(update or {})})
        return copy

    def model_dump(self) -> dict[str, Any]:
        return {name: _dumped(getattr(self, name)) for name in _fields_of(type(self))}

    def model_dump_json(self) -> str:
        return json.dumps(self.model_dump())


class TypeAdapter:
    def __init__(self, kind: Any, config: Any = None) -> None:
        self.kind = kind

    def __class_getitem__(cls, item: Any) -> Any:
        return cls

    def validate_python(self, value: Any) -> Any:
        return _converted(self.kind, value, "python")

    def validate_json(self, text: str | bytes) -> Any:
        return _converted(self.kind, json.loads(text), "json")


@cache
def _fields_of(model: Any) -> dict[str, FieldInfo]:
    found = {}
    for name, hint in get_type_hints(model, include_extras=True).items():
        if get_origin(hint) is ClassVar or name.startswith(("_", "model_")):
            continue
        default = getattr(model, name, MISSING)
        info = default if isinstance(default, FieldInfo) else FieldInfo(default)
        info.annotation, info.beside = _apart(hint)
        found[name] = info
    return found


def _apart(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(hint) is Annotated:
        inner, *beside = get_args(hint)
        kind, deeper = _apart(inner)
        return kind, (*deeper, *beside)
    return hint, ()


def _validators(model: Any, what: str, mode: str) -> list[tuple[Any, tuple[str, ...]]]:
    found: dict[str, Any] = {}
    for base in reversed(model.__mro__):
        for name, method in vars(base).items():
            noted = getattr(getattr(method, "__func__", method), VALIDATION, None)
            if noted is not None and noted[:2] == (what, mode):
                found[name] = (name, noted[2])
    return list(found.values())


def _fill(made: Any, values: Mapping[str, Any], mode: str) -> None:
    model, filled = type(made), dict[str, Any]()
    known = _fields_of(model)
    if odd := values.keys() - known.keys():
        raise ValidationError(f"{model.__name__}: unknown {sorted(odd)}")
    checks = _validators(model, "field", "after")
    for name, info in known.items():
        if name in values:
            filled[name] = _converted(Annotated[(info.annotation, *info.beside)] if info.beside else info.annotation,
                                      values[name], mode)  # fmt: skip
            for method, names in checks:
                if name in names:
                    filled[name] = getattr(model, method)(filled[name])
        elif info.is_required():
            raise ValidationError(f"{model.__name__}: '{name}' is required")
        else:
            filled[name] = info.value(filled)
    vars(made).update(filled)
    vars(made)["__pydantic_fields_set__"] = set(values)
    for method, _ in _validators(model, "model", "after"):
        getattr(made, method)()


def _converted(hint: Any, value: Any, mode: str) -> Any:
    kind, beside = _apart(hint)
    for each in beside:
        if isinstance(each, PlainValidator):
            return each.func(value)
        if isinstance(each, BeforeValidator):
            value = _called(each.func, value, mode)
    value = _shaped(kind, value, mode)
    for each in beside:
        if isinstance(each, AfterValidator) and not isinstance(each, BeforeValidator):
            value = _called(each.func, value, mode)
    return value


def _called(check: Callable[..., Any], value: Any, mode: str) -> Any:
    takes = getattr(check, "__code__", None)
    return check(value, Info(mode)) if takes is not None and takes.co_argcount == 2 else check(value)


def _shaped(kind: Any, value: Any, mode: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(inner, value, mode)
    if origin is tuple and isinstance(value, list | tuple):
        each = [inner[0]] * len(value) if inner[1:] == (...,) else inner
        return tuple(_converted(item, part, mode) for item, part in zip(each, value, strict=True))
    if origin in (list, Sequence) and isinstance(value, list | tuple):
        return [_converted(inner[0], part, mode) for part in value]
    if isinstance(value, Mapping):
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {_converted(inner[0], name, mode): _converted(inner[1], part, mode) for name, part in value.items()}
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for method, _ in _validators(kind, "model", "before"):
                value = getattr(kind, method)(value)
            made = kind.__new__(kind)
            _fill(made, value, mode)
            return made
        if is_dataclass(kind):
            hints = get_type_hints(kind, include_extras=True)
            taken = {each.name for each in fields(kind)}
            return kind(**{name: _converted(hints[name], part, mode) for name, part in value.items() if name in taken})
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and kind in (int, str, bool, float) and not isinstance(value, kind):
        raise ValidationError(f"{kind.__name__} expected, got {value!r}")
    if origin is Literal and value not in inner:
        raise ValidationError(f"one of {inner} expected, got {value!r}")
    return value


def _one_of(members: Sequence[Any], value: Any, mode: str) -> Any:
    for member in members:
        if member is type(None) and value is None:
            return None
        if isinstance(_apart(member)[0], type) and type(value) is _apart(member)[0]:
            return _converted(member, value, mode)
    for member in members:
        try:
            if member is not type(None):
                return _converted(member, value, mode)
        except (ValueError, TypeError):
            continue
    raise ValidationError(f"{value!r} is none of {members}")


def _dumped(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _dumped(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {name: _dumped(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_dumped(part) for part in value)
    return value
