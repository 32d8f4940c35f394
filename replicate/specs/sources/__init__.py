"""Data sources, one module each: what an entry of a scale's ``[data]`` may say.

A new one is a file here, with a model that `register` checks, and one in replicate/engine/sources with what makes its
images. No list names either: the model is found by its module, the maker by the model's ``engine``.
"""

from importlib import import_module
from pkgutil import iter_modules

from replicate.specs.sources.source import AnyData, ArrayData, DataSpec, ImageData, LabelData, names, register

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["AnyData", "ArrayData", "DataSpec", "ImageData", "LabelData", "names", "register"]
