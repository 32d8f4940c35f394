"""`replicate` under a name that no other package has, for scripts, notebooks and the program ``deit-replicate``.

Another project has a package called ``replicate``. Where that one would be imported, this module says so in place of
a traceback of somebody else's code.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replicate import Paper, ReplicateError, SpecError, UserError, __version__, open_paper

__all__ = ["Paper", "ReplicateError", "SpecError", "UserError", "__version__", "open_paper"]

OURS = Path(__file__).resolve().with_name("replicate") / "__init__.py"


def another() -> str:
    """Where a package called ``replicate`` would be imported from that is not this one; empty where it is."""
    loaded = sys.modules.get("replicate")
    spec = loaded.__spec__ if loaded is not None else find_spec("replicate")
    origin = spec.origin if spec is not None else None
    if origin is not None and Path(origin).resolve() == OURS:
        return ""
    return origin or "nowhere"


def _check() -> None:
    """Raises ImportError where another package called ``replicate`` would be imported."""
    where = another()
    if where:
        raise ImportError(
            f"another package called 'replicate' is found: {where}\n"
            f"  the one of deit-replicate is {OURS}\n"
            "  install deit-replicate into an environment of its own, or remove the other: pip uninstall replicate",
            name="replicate",
            path=where,
        )


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'deit_replicate' has no attribute '{name}'")
    _check()
    return getattr(import_module("replicate"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def main() -> None:
    """The program ``deit-replicate``: the same as ``python -m replicate``."""
    try:
        _check()
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    from replicate.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
