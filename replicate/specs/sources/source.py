"""What every data source has in common, and the registry that finds the model of an entry by its ``source``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar, get_args

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, SerializeAsAny, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from replicate.specs.recipe import Strict

Size = Annotated[int, Field(ge=0)]
"""Images of a split; a data set that is only evaluated on has no training images."""

Channels = tuple[float, float, float]


class DataSpec(Strict):
    """An entry of ``[data]``. Every field enters the key of the data job, so a change of any makes other data.

    A source says ``source: Literal["its name"]``, ``version: Literal[1]`` (raised when the engine makes other data of
    the same fields) and ``classes``, in the order in which `replicate explain` prints them.
    """

    if TYPE_CHECKING:
        source: str
        version: int
        classes: int

    engine: ClassVar[str]
    """The `replicate.engine.data.Source` that makes it, as ``module:class``; imported only where something runs."""

    @property
    def folder(self) -> str:
        """The folder under ``$REPLICATE_DATA`` that it is read from; empty where it is generated."""
        return ""

    def for_evaluation(self) -> Self:
        """What networks are evaluated on, if that can be had without the rest."""
        return self


class ImageData(DataSpec):
    """A data set with images, of which ``train`` and ``test`` are the numbers."""

    if TYPE_CHECKING:
        train: int
        test: int

    mean: ClassVar[Channels]
    """``mean`` and ``std`` of the channels, for pixel values in 0..1: what images are normalised by."""
    std: ClassVar[Channels]


class ArrayData(ImageData):
    """Images of one ``size`` (their edge in pixels), which the data job stores in arrays."""

    if TYPE_CHECKING:
        size: int


class LabelData(DataSpec):
    """Corrected labels of the test images of the data set ``of`` of the same scale; no images, so nothing learns."""

    if TYPE_CHECKING:
        of: str


D = TypeVar("D", bound=type[DataSpec])

_SOURCES: dict[str, type[DataSpec]] = {}


def register(spec: D) -> D:
    """Make the model ``spec`` known by its ``source``. Raises TypeError for one that lacks a fact or a name of its own.

    Packages from outside decorate theirs with it, too.
    """
    what, fields = f"data source {spec.__name__}", dict[str, FieldInfo](spec.__pydantic_fields__)
    needed = {"source", "version", "classes"}
    if issubclass(spec, ImageData):
        needed |= {"train", "test", *(("size",) if issubclass(spec, ArrayData) else ())}
        if not (len(getattr(spec, "mean", ())) == len(getattr(spec, "std", ())) == 3):
            raise TypeError(f"{what}: mean and std of its three channels are missing")
    elif issubclass(spec, LabelData):
        needed |= {"of"}
    else:
        raise TypeError(f"{what}: neither an ImageData nor a LabelData")
    if missing := sorted(needed - fields.keys()):
        raise TypeError(f"{what}: fields are missing: {', '.join(missing)}")
    name = get_args(fields["source"].annotation)
    if len(name) != 1 or not isinstance(name[0], str) or len(get_args(fields["version"].annotation)) != 1:
        raise TypeError(f'{what}: source and version are not one Literal each, such as Literal["{spec.__name__}"]')
    if getattr(spec, "engine", "").count(":") != 1:
        raise TypeError(f"{what}: engine does not name its maker as 'module:class'")
    if name[0] in _SOURCES:
        raise TypeError(f"{what}: '{name[0]}' is the name of {_SOURCES[name[0]].__name__} already")
    _SOURCES[name[0]] = spec
    return spec


def names() -> tuple[str, ...]:
    return tuple(_SOURCES)


def find(name: str) -> type[DataSpec]:
    """The model of the source ``name``. Raises KeyError."""
    return _SOURCES[name]


def _found(value: object, info: ValidationInfo) -> object:
    """The entry ``value`` as the model of its source; what is no table is left to pydantic."""
    if not isinstance(value, Mapping):
        return value
    source = value.get("source")
    if source is None:
        missing = InitErrorDetails(type="missing", loc=("source",), input=value)
        raise ValidationError.from_exception_data("data", [missing])
    if (spec := _SOURCES.get(str(source))) is None:
        known = {"name": str(source), "plural": "sources", "known": names()}
        unknown = PydanticCustomError("unknown_name", "there is no data source '{name}'", known)
        raise ValidationError.from_exception_data("data", [{"type": unknown, "loc": ("source",), "input": source}])
    # Strict models take no list for a tuple, which JSON has not.
    return spec.model_validate_json(json.dumps(value)) if info.mode == "json" else spec.model_validate(value)


class _Alternatives:
    """The JSON schema of `AnyData`, from which a misspelt key gets its suggestions."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, object]:
        return {"oneOf": [spec.model_json_schema() for spec in _SOURCES.values()]}


AnyData = Annotated[SerializeAsAny[DataSpec], BeforeValidator(_found), _Alternatives()]
"""An entry of any source that is registered."""
