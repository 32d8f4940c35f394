"""Metrics: what a cell can read. A new one is an entry in a module here; packages from outside `register` their own."""

from importlib import import_module
from pkgutil import iter_modules

from replicate.metrics.metric import Decisions, Metric, Number, Reading, Stored, find, from_decisions, names, register

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Decisions", "Metric", "Number", "Reading", "Stored", "find", "from_decisions", "names", "register"]
