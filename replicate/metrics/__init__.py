"""Metrics: what a cell can read. One entry each, found by name; packages from outside `register` their own."""

from replicate.metrics import decided, stated  # noqa: F401  (they fill the registry)
from replicate.metrics.metric import Decisions, Metric, Number, Reading, Stored, find, from_decisions, names, register

__all__ = ["Decisions", "Metric", "Number", "Reading", "Stored", "find", "from_decisions", "names", "register"]
