"""Replicate the tables and figures of a paper, number by number.

From Python (docs/python.md)::

    from deit_replicate import open_paper

    paper = open_paper("tables", results="results")
    paper.update("distillation_ablation")       # runs what is missing, as the command `table` does
    paper.cells("distillation_ablation")        # a pandas frame: ours, the paper's, the verdict
    paper.claims()                              # every claim of the paper, judged
    paper.decisions("distillation_ablation", "token_both", "b_224")     # image by image

Another project has a package of this name, too: `deit_replicate` is the same under a name that no other has, and says
which one it found.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replicate.actions.paper import Paper, open_paper
    from replicate.errors import ReplicateError, SpecError, UserError

__version__ = "0.1.0"

__all__ = ["Paper", "ReplicateError", "SpecError", "UserError", "__version__", "open_paper"]

_HOMES = {
    "Paper": "replicate.actions.paper",
    "open_paper": "replicate.actions.paper",
    "ReplicateError": "replicate.errors",
    "SpecError": "replicate.errors",
    "UserError": "replicate.errors",
}
"""Where a name is imported from when it is first asked for, so that the command line need not import it."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'replicate' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
